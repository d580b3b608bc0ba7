#pragma once
/// The progress of one sample in a relaxation: the tests of convergence and the reports of base/iterate.hpp.

#include "amplification.cuh"
#include "relax.cuh"

namespace equiprop::cuda {

/// States of a sample: it has stopped, it takes steps, or its last change was small and its residual decides.
enum : int { stopped = 0, stepping = 1, to_confirm = 2 };

template <class T>
struct Stopping {
  T tolerance;  ///< of the residual; 0 takes all steps
  T rate;       ///< change of a step per unit of the residual
  int limit;    ///< number of steps
};

template <class T>
struct SampleProgress {
  Amplification<T> amplification;
  int state, status, iterations;

  __device__ void begin(const Stopping<T>& stopping) {
    amplification = {};
    state = stopping.limit > 0 ? stepping : to_confirm;
    status = max_iterations;
    iterations = 0;
  }
  /// Counts a step that changed the sample by `change`.
  __device__ void count(T change, const Stopping<T>& stopping) {
    amplification.take(change, iterations, stopping.tolerance, stopping.rate);
    ++iterations;
    const bool small = stopping.tolerance > 0 && change <= stopping.rate * stopping.tolerance;
    if (!is_finite(change)) {
      status = diverged;
      state = stopped;
    } else if (small || iterations >= stopping.limit) {
      state = to_confirm;
    }
  }
  /// Ends the sample if its residual is small or it has taken all steps: a small change does not prove convergence.
  __device__ void conclude(T residual, const Stopping<T>& stopping) {
    state = stopped;
    if (!is_finite(residual))
      status = diverged;
    else if (stopping.tolerance == 0)
      status = fixed_steps;
    else if (residual <= stopping.tolerance)
      status = converged;
    else if (iterations < stopping.limit)
      state = stepping;
  }
};

}  // namespace equiprop::cuda
