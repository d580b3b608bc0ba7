#pragma once
/// A x = b for every sample of a batch at once, where A is known only through its products.

#include <functional>

#include "equiprop/base/iterate.hpp"
#include "equiprop/base/kernels.hpp"

namespace equiprop {

/// out = A v, one system per column: A may differ from sample to sample.
template <Scalar S>
using LinearOperator = std::function<void(const ConstStateRef<S>& v,  // (units, batch)
                                          StateRef<S> out)>;          // (units, batch)

/// out_j = max_i |a_ij|, NaN if any entry is NaN.
template <Scalar S>
void largest_sizes(const ConstStateRef<S>& a, PerSample<double>& out) {
  out.resize(a.cols());
  for (Index j = 0; j < a.cols(); ++j) {
    if constexpr (std::floating_point<S>)
      out(j) = static_cast<double>(kernels<S>().largest_size(a.rows(), a.col(j).data()));
    else
      out(j) = a.rows() == 0 ? 0.0
                             : a.col(j)
                                   .unaryExpr([](const S& v) { return magnitude(v); })
                                   .template maxCoeff<Eigen::PropagateNaN>();
  }
}

/// A system and the diagonal D it is preconditioned by. D >= 0; where D is 0 the unit does not take
/// part and its x stays 0, so D also restricts A to the free units of a bounded network.
template <Scalar S>
struct LinearSystem {
  const LinearOperator<S>& matrix;  ///< A
  const State<S>& diagonal;         ///< D, (units, batch)
  const State<S>& b;                ///< (units, batch)

  /// max_i |D b| of each sample: tolerances of linear solvers are relative to it.
  PerSample<double> scale() const {
    const State<S> scaled = diagonal.array() * b.array();
    PerSample<double> out;
    largest_sizes<S>(scaled, out);
    return out;
  }
};

}  // namespace equiprop
