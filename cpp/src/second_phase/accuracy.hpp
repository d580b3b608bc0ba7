#pragma once
/// The estimated error of a gradient: constants and small functions that both second phases share. The derivation is in
/// docs/notation.md, "Error of a gradient".

#include <limits>

#include "equiprop/base/largest.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::accuracy {

/// Largest number of times that a phase is relaxed further.
inline constexpr int most_rounds = 10;
/// A sample whose estimate exceeds refined * most_gradient_error is relaxed further; each round aims at an estimate of
/// aim * most_gradient_error.
inline constexpr double refined = 0.8, aim = 0.5;
/// A nudged phase stops where its error would be stop * most_gradient_error if the response were as large as the force.
inline constexpr double stop = 1;
/// A nudged phase of few steps, or near the rounding error, measures too small an amplification. At least that of the free
/// phase counts, up to this one: larger ones of accelerated phases are often due to chance.
inline constexpr double most_inherited = 3;
/// Responses ds/dbeta and forces below this fraction of max |s| count as if they had this size: they hardly contribute
/// to the gradient of a batch, and no precision is spent on them.
inline constexpr double negligible = 3e-4;
/// An error e of a state changes (d2E/ds2)^-1, and so adds bend * gain * e to the relative error of the gradient, with
/// the gain |ds/dbeta| / |dC/ds|. A finite beta averages over kinks of the activation; RBP does not: `kink_bend` holds
/// there for samples with units that a bound holds.
inline constexpr double smooth_bend = 3, kink_bend = 15;
/// Near a loss of stability the amplification changes from state to state: where the gain of a finite beta exceeds this one,
/// all errors are larger by the ratio.
inline constexpr double usual_gain = 1.5;
/// The relative error divides by min(size, max(smallest response of a layer, smallest_layer * size) / layer_weight),
/// with `size` the largest response: the residual of a sample is known for all layers together, and most of its error
/// lies in layers with a larger response.
inline constexpr double layer_weight = 0.25, smallest_layer = 0.02;
/// Limits of the precision, in units of eps max |s|.
struct Precision {
  double residual;  ///< smallest residual that a round asks for
  double rounding;  ///< rounding error of a state
};

/// Returns the limits for one way of judging: for single samples those of the worst case, so that a beta which is too
/// small is noticed in each of them; for the root mean square over a batch those that are usual.
constexpr Precision precision(Judging judging) {
  return judging == Judging::batch ? Precision{1, 1} : Precision{16, 4};
}

template <Scalar S>
inline constexpr double epsilon = static_cast<double>(std::numeric_limits<RealOf<S>>::epsilon());

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

/// Returns the factor of all errors of a solver: acceleration hides the slowest modes, and estimates are less certain.
inline double caution(const Solver& solver) {
  return std::visit([](const auto& chosen) { return chosen.anderson > 0 ? 2.0 : 1.0; }, solver);
}

/// Returns true if the root mean square of the estimates is at most `part` of the largest accepted error.
inline bool small_together(const Report& report, double part) {
  return std::sqrt(report.error.square().mean()) <= part * most_gradient_error;
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
