#pragma once
/// The distance of a state from its fixed point, estimated from the changes of two steps.

#include "device.hpp"

namespace equiprop::cuda {

/// The amplification |s - s*| / |g(s) - s| of a sample; see Iteration::estimate in base/iterate.hpp.
template <class T>
struct Amplification {
  T before = 0, ratio = 1, value = 1;  ///< last change, its ratio to the one before, the estimate

  /// Takes the change of a step after `iterations` earlier ones. `tolerance` is that of a residual, 0 for none, and `rate` the
  /// change of a step per unit of the residual.
  __device__ __forceinline__ void take(T change, int iterations, T tolerance, T rate) {
    if (tolerance == 0) return;
    constexpr T most = 100, kept = T(0.8);
    const T last = before;
    before = change;
    if (iterations < 2 || !(last > 0) || !is_finite(change)) return;
    const T noise = T(0.01) * tolerance * rate;
    const T now = larger(change - noise, T(0)) / (last + noise);
    const T growth = larger(now - ratio, T(0));
    ratio = now;
    const T latest = T(1) / larger(T(1) - now - growth, T(1) / most);
    value = larger(larger(T(1), latest), kept * value);
  }
};

}  // namespace equiprop::cuda
