#pragma once
/// The estimated error of a gradient: constants and small functions that both second phases share. The derivation is in
/// docs/notation.md, "Error of a gradient".

#include <limits>

#include "equiprop/base/kernels.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::accuracy {

/// Largest number of times that a phase is relaxed further.
inline constexpr int most_rounds = 10;
/// A sample whose estimate exceeds refined * most_gradient_error is relaxed further; each round aims at an estimate of
/// aim * most_gradient_error.
inline constexpr double refined = 0.8, aim = 0.5;
/// Responses ds/dbeta and forces below this fraction of max |s| count as if they had this size: they hardly contribute
/// to the gradient of a batch, and no precision is spent on them.
inline constexpr double negligible = 3e-4;
/// An error e of a state changes (d2E/ds2)^-1, and so adds bend * gain * e to the relative error of the gradient, with
/// the gain |ds/dbeta| / |dC/ds|. A finite beta averages over kinks of the activation; RBP does not.
inline constexpr double finite_bend = 3, kink_bend = 15;
/// The relative error divides by min(size, max(smallest response of a layer, smallest_layer * size) / layer_weight),
/// with `size` the largest response: the residual of a sample is known for all layers together, and most of its error
/// lies in layers with a larger response.
inline constexpr double layer_weight = 0.25, smallest_layer = 0.02;
/// Smallest residual that a round asks for, in units of eps max |s|.
inline constexpr double smallest_residual = 16;

template <Scalar S>
inline constexpr double epsilon = static_cast<double>(std::numeric_limits<RealOf<S>>::epsilon());

/// Returns the largest of `count` |numbers|; NaN counts as larger than any number.
template <Scalar S>
double largest_of(Index count, const S* numbers) {
  if constexpr (std::floating_point<S>) {
    return static_cast<double>(kernels<S>().largest_size(count, numbers));
  } else {
    RealOf<S> largest(0);
    for (Index i = 0; i < count; ++i) raise_to(magnitude(numbers[i]), largest);
    return largest;
  }
}

/// Returns the largest |number| in column j.
template <Scalar S>
double largest_in(const ConstStateRef<S>& s, Index j) {
  return largest_of<S>(s.rows(), s.col(j).data());
}

/// The size of a response: of all units, and the one to which errors are relative.
struct Response {
  double size, resolved;
};

/// Measures the response v (units,) of one sample.
template <Scalar S>
Response measure(const S* v, Index units, std::span<const Block> layers) {
  double size = 0, smallest = std::numeric_limits<double>::infinity();
  for (const Block& layer : layers) {
    const double of_layer = largest_of<S>(layer.rows, v + layer.offset);
    raise_to(of_layer, size);
    smallest = std::min(smallest, of_layer);
  }
  if (layers.empty()) size = smallest = largest_of<S>(units, v);
  return {size, std::min(size, std::max(smallest, smallest_layer * size) / layer_weight)};
}

/// Returns the estimated |s - s*| per unit of residual of a relaxed sample.
inline double amplification(const Report& phase, Index j) {
  return phase.residual(j) > 0 ? phase.error(j) / phase.residual(j) : 1;
}

/// Returns true if a sample converged and its estimate exceeds `part` of the largest accepted error.
inline bool exceeds(const Report& report, Index j, double part) {
  return report.status(j) == Status::converged && !(report.error(j) <= part * most_gradient_error);
}

/// Returns the factor of all errors of a sample whose response is `gain` times the force. Near a loss of stability the
/// amplification changes from state to state, and the estimates are less certain; so they are after acceleration, which
/// hides the slowest modes.
inline double caution(double gain, const Solver& solver) {
  const bool accelerated =
      std::visit([](const auto& chosen) { return chosen.anderson > 0; }, solver);
  return (accelerated ? 2 : 1) * std::max(1.0, gain / 1.5);
}

/// Marks the samples whose estimate is too large.
inline void mark_inaccurate(Report& report) {
  for (Index j = 0; j < report.batch(); ++j)
    if (exceeds(report, j, 1)) report.status(j) = Status::inaccurate;
}

/// Returns true if the status of a sample may become indefinite.
inline bool at_rest(Status status) {
  return status == Status::converged || status == Status::inaccurate;
}

}  // namespace equiprop::accuracy
