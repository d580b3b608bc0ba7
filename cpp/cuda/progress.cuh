#pragma once
/// The progress of one sample in a relaxation: the tests of convergence and the reports of base/iterate.hpp.

#include "relax.cuh"

namespace equiprop::cuda {

/// What a sample does: it has stopped, it takes steps, or its last change was small and its residual decides.
enum : int { stopped = 0, stepping = 1, to_confirm = 2 };

template <class T>
struct Stopping {
  T tolerance;  ///< of the residual; 0 takes all steps
  T rate;       ///< change of a step per unit of the residual
  int limit;    ///< number of steps
};

template <class T>
struct SampleProgress {
  T before, ratio,
      amplification;  ///< last change, its ratio to the one before, |s - s*| / |g(s) - s|
  int state, status, iterations;

  __device__ static bool is_finite(T v) { return v - v == T(0); }

  __device__ void begin(const Stopping<T>& stopping) {
    before = 0;
    ratio = amplification = 1;
    state = stopping.limit > 0 ? stepping : to_confirm;
    status = max_iterations;
    iterations = 0;
  }
  /// Counts a step that changed the sample by `change`.
  __device__ void count(T change, const Stopping<T>& stopping) {
    estimate(change, stopping);
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

 private:
  /// Estimates the amplification from the last two changes; see Iteration::estimate.
  __device__ void estimate(T change, const Stopping<T>& stopping) {
    if (stopping.tolerance == 0) return;
    constexpr T most = 100, kept = T(0.8);
    const T last = before;
    before = change;
    if (iterations < 2 || !(last > 0) || !is_finite(change)) return;
    const T noise = T(0.01) * stopping.tolerance * stopping.rate;
    const T now = larger(change - noise, T(0)) / (last + noise);
    const T growth = larger(now - ratio, T(0));
    ratio = now;
    const T latest = T(1) / larger(T(1) - now - growth, T(1) / most);
    amplification = larger(larger(T(1), latest), kept * amplification);
  }
};

}  // namespace equiprop::cuda
