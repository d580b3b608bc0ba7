#pragma once
/// The result of an iterative solver for each sample of a batch.

#include <cstdint>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// The status of a sample, ordered from the best to the worst.
enum class Status : std::int8_t {
  converged = 0,       ///< the residual is at most the tolerance
  fixed_steps = 1,     ///< the requested number of steps was run; no tolerance was set
  max_iterations = 2,  ///< the iteration limit was reached before the tolerance
  indefinite = 3,      ///< negative curvature: the Hessian is not positive definite at this state
  diverged = 4,        ///< a number became infinite or NaN
};

/// Results of all samples of a batch; arrays are (batch,).
struct Report {
  PerSample<Status> status;     ///< how the iteration ended
  PerSample<Index> iterations;  ///< number of steps
  PerSample<double> residual;   ///< residual of the final state
  PerSample<Index> fallbacks;   ///< steps that an acceleration undid or did not extrapolate

  Report() = default;
  /// Creates the report of a batch before the first step.
  explicit Report(Index batch) { restart(batch); }
  /// Resets the report to that of a batch before the first step; memory of the same size is kept.
  void restart(Index batch) {
    status.setConstant(batch, Status::max_iterations);
    iterations.setZero(batch);
    residual.setZero(batch);
    fallbacks.setZero(batch);
  }

  /// Returns the number of samples.
  Index batch() const { return status.size(); }

  /// Stores the report of samples [begin, begin + other.batch()).
  void place(Index begin, const Report& other) {
    status.segment(begin, other.batch()) = other.status;
    iterations.segment(begin, other.batch()) = other.iterations;
    residual.segment(begin, other.batch()) = other.residual;
    fallbacks.segment(begin, other.batch()) = other.fallbacks;
  }
  /// Replaces each entry by the worse of the two reports, sample by sample.
  void merge(const Report& other) {
    for (Index j = 0; j < batch(); ++j) {
      status(j) = std::max(status(j), other.status(j));
      iterations(j) = std::max(iterations(j), other.iterations(j));
      fallbacks(j) = std::max(fallbacks(j), other.fallbacks(j));
      if (!std::isnan(residual(j)) && !(residual(j) >= other.residual(j)))
        residual(j) = other.residual(j);  // NaN counts as worst
    }
  }
};

}  // namespace equiprop
