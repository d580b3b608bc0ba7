#pragma once
/// The result of an iterative solver for each sample of a batch.

#include <cstdint>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// The status of a sample, ordered from the best to the worst.
enum class Status : std::int8_t {
  converged = 0,       ///< the residual is at most the tolerance
  fixed_steps = 1,     ///< the requested number of steps was run; no tolerance was set
  inaccurate = 2,      ///< converged, but the estimated error of the gradient is above its limit
  max_iterations = 3,  ///< the iteration limit was reached before the tolerance
  indefinite = 4,      ///< negative curvature: the Hessian is not positive definite at this state
  diverged = 5,        ///< a number became infinite or NaN
};

/// Results of all samples of a batch; arrays are (batch,).
struct Report {
  PerSample<Status> status;     ///< how the iteration ended
  PerSample<Index> iterations;  ///< number of steps
  PerSample<double> residual;   ///< residual of the final state
  PerSample<Index> fallbacks;   ///< steps that an acceleration undid or did not extrapolate
  /// Estimated error of the result. Of a relaxation: max |s - s*|, the residual times its amplification. Of a second
  /// phase: error of the sample's term of the gradient, relative to that term. 0 where nothing is estimated.
  PerSample<double> error;

  Report() = default;
  /// Creates the report of a batch before the first step.
  explicit Report(Index batch) { restart(batch); }
  /// Resets the report to that of a batch before the first step; memory of the same size is kept.
  void restart(Index batch) {
    fill(status, Status::max_iterations, batch);
    fill(iterations, 0, batch);
    fill(residual, 0, batch);
    fill(fallbacks, 0, batch);
    fill(error, 0, batch);
  }

  /// Returns the number of samples.
  Index batch() const { return status.size(); }

  /// Stores the report of samples [begin, begin + other.batch()).
  void place(Index begin, const Report& other) {
    status.segment(begin, other.batch()) = other.status;
    iterations.segment(begin, other.batch()) = other.iterations;
    residual.segment(begin, other.batch()) = other.residual;
    fallbacks.segment(begin, other.batch()) = other.fallbacks;
    error.segment(begin, other.batch()) = other.error;
  }
  /// Returns the report of samples [begin, begin + count).
  Report part(Index begin, Index count) const {
    Report out;
    out.status = status.segment(begin, count);
    out.iterations = iterations.segment(begin, count);
    out.residual = residual.segment(begin, count);
    out.fallbacks = fallbacks.segment(begin, count);
    out.error = error.segment(begin, count);
    return out;
  }
  /// Returns the report of the samples `which`, in the order given.
  Report part(Samples which) const {
    Report out(static_cast<Index>(which.size()));
    for (Index i = 0; i < out.batch(); ++i) out.copy(*this, which[static_cast<std::size_t>(i)], i);
    return out;
  }
  /// Stores the report of the samples `which`, in the order given.
  void place(Samples which, const Report& other) {
    for (Index i = 0; i < other.batch(); ++i) copy(other, i, which[static_cast<std::size_t>(i)]);
  }
  /// Stores the report of sample `from` of another report as that of sample `to`.
  void copy(const Report& other, Index from, Index to) {
    status(to) = other.status(from);
    iterations(to) = other.iterations(from);
    residual(to) = other.residual(from);
    fallbacks(to) = other.fallbacks(from);
    error(to) = other.error(from);
  }
  /// Replaces each entry by the worse of the two reports, sample by sample.
  void merge(const Report& other) {
    for (Index j = 0; j < batch(); ++j) {
      status(j) = std::max(status(j), other.status(j));
      iterations(j) = std::max(iterations(j), other.iterations(j));
      fallbacks(j) = std::max(fallbacks(j), other.fallbacks(j));
      raise_to(other.residual(j), residual(j));  // NaN counts as worst
      raise_to(other.error(j), error(j));
    }
  }
};

}  // namespace equiprop
