#pragma once
/// What an iterative solver did to each sample of a batch.

#include <cstdint>

#include "equiprop/base/arrays.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// In the order of how much a caller should worry.
enum class Status : std::int8_t {
  converged = 0,       ///< the residual is at most the tolerance
  fixed_steps = 1,     ///< the requested number of steps was run; nothing was promised
  max_iterations = 2,  ///< the iteration limit came before the tolerance
  indefinite = 3,      ///< negative curvature: the Hessian is not positive definite there
  diverged = 4,        ///< a number became infinite or NaN
};

/// What became of each sample of a batch; arrays are (batch,).
struct Report {
  PerSample<Status> status;
  PerSample<Index> iterations;
  PerSample<double> residual;
  PerSample<Index> fallbacks;  ///< steps that an acceleration took back or left to the plain solver

  Report() = default;
  explicit Report(Index batch) { restart(batch); }
  /// As when nothing has been done yet.
  void restart(Index batch) {
    status.setConstant(batch, Status::max_iterations);
    iterations.setZero(batch);
    residual.setZero(batch);
    fallbacks.setZero(batch);
  }

  Index batch() const { return status.size(); }

  /// Stores the report of samples [begin, begin + other.batch()).
  void place(Index begin, const Report& other) {
    status.segment(begin, other.batch()) = other.status;
    iterations.segment(begin, other.batch()) = other.iterations;
    residual.segment(begin, other.batch()) = other.residual;
    fallbacks.segment(begin, other.batch()) = other.fallbacks;
  }
  /// Keeps, sample by sample, the worse of two runs.
  void merge(const Report& other) {
    for (Index j = 0; j < batch(); ++j) {
      status(j) = std::max(status(j), other.status(j));
      iterations(j) = std::max(iterations(j), other.iterations(j));
      fallbacks(j) = std::max(fallbacks(j), other.fallbacks(j));
      if (!std::isnan(residual(j)) && !(residual(j) >= other.residual(j)))
        residual(j) = other.residual(j);  // NaN is worst
    }
  }
};

}  // namespace equiprop
