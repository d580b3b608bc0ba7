#pragma once
/// The weights of a coupling within a layer.

#include <concepts>

#include "equiprop/base/convolution.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// The layout of the weights A of a coupling within a layer, and the matrix W of the layer's units that acts: W has a
/// zero diagonal and, in an energy -<u, W u> / 2, it is the symmetric part of A.
///
/// Weights are the kernel (channels, channels / groups, kernel.y, kernel.x) of a convolution of the layer with itself,
/// whose stride is 1 and whose padding keeps the size. The transposed kernel has its channels exchanged and its rows
/// and columns reversed; the diagonal is the centre of the kernel between a channel and itself. Dense weights are the
/// kernel of one position whose channels are all units.
struct LateralWeights {
  Index channels = 1;   ///< channels of the layer
  Index groups = 1;     ///< groups of channels that do not mix
  Extent kernel{1, 1};  ///< rows and columns of the kernel

  /// Returns how many weights there are.
  Index size() const { return channels * (channels / groups) * kernel.y * kernel.x; }
  /// Replaces the weights (size(),) by those of W: the diagonal becomes 0 and, if `symmetric`, each pair of transposed
  /// weights becomes its mean. A derivative by W becomes one by A.
  template <class S>
  void project(bool symmetric, S* weights) const {
    const Index each = channels / groups, taps = kernel.y * kernel.x;
    for (Index to = 0; to < channels; ++to)
      for (Index from = 0; from < each; ++from)
        for (Index tap = 0; tap < taps; ++tap) {
          const Index first = to / each * each;  // channel of the group
          const Index one = (to * each + from) * taps + tap;
          const Index other = ((first + from) * each + to - first) * taps + taps - 1 - tap;
          if (one == other)
            weights[one] = S(0);
          else if (symmetric && one < other)
            weights[one] = weights[other] = S(0.5) * (weights[one] + weights[other]);
        }
  }
  /// Returns an upper bound of the spectral norm of a symmetric W, given the weights that `project` returned: for each
  /// group of channels the smaller one of the largest sum of a row's absolute values and the sum over all taps w of
  /// |w^T w|^(1/2) in the Frobenius norm, which is the norm of the singular values to the fourth power. For n units of
  /// independent weights it exceeds the spectral norm by (n / 8)^(1/4), the Frobenius norm by n^(1/2) / 2.
  template <std::floating_point T>
  EQUIPROP_EXPORT double norm_bound(const T* weights) const;
};

}  // namespace equiprop
