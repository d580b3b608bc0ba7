#include "equiprop/model/lateral_weights.hpp"

#include <algorithm>
#include <cmath>

#include "equiprop/base/product.hpp"

namespace equiprop {
namespace {

/// Factor of a bound that covers the rounding of sums in single precision.
constexpr double rounding_margin = 1.001;

/// Returns the square root of the Frobenius norm of w w^T, which is at least the spectral norm of w.
template <class T>
double fourth_norm(const State<T>& w) {
  State<T> gram = State<T>::Zero(w.rows(), w.rows());
  const OuterProduct<T> product{T(1), w, w};
  add_outer_products<T>({&product, 1}, gram);  // by the kernels of the processor
  return std::sqrt(std::sqrt(gram.template cast<double>().array().square().sum()));
}

}  // namespace

template <std::floating_point T>
double LateralWeights::norm_bound(const T* weights) const {
  const Index each = channels / groups, taps = kernel.y * kernel.x;
  double largest = 0;
  for (Index group = 0; group < groups; ++group) {
    const Index begin = group * each * each * taps;
    const Eigen::Map<const State<T>> of_channel(weights + begin, each * taps, each);
    const double rows = of_channel.cwiseAbs().template cast<double>().colwise().sum().maxCoeff();
    double norms = 0;
    for (Index tap = 0; tap < taps; ++tap) {
      using Tap = Eigen::Map<const State<T>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
      norms +=
          fourth_norm<T>(Tap(weights + begin + tap, each, each,
                             Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(each * taps, taps)));
    }
    largest = std::max(largest, std::min(rows, norms));
  }
  return rounding_margin * largest;
}

template double LateralWeights::norm_bound(const float*) const;
template double LateralWeights::norm_bound(const double*) const;

}  // namespace equiprop
