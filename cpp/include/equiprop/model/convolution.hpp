#pragma once
/// Couplings between images: convolutions, with mean, maximum or soft pooling.
///
/// With u the signals of both layers and a = w * u_source the convolution, the energy of a coupling is
/// -<u_target, pool(a)>, where pool acts on windows of pool x pool positions of one channel that do not overlap. The
/// rows and columns of `a` that do not fill a window are left out.
///
///   a[y, x, c] = sum_{i, j, d} w[c, d, i, j] u[stride y + dilation i - padding, stride x + dilation j - padding, d]
///
/// Weights are (target channels, source channels / groups, kernel height, kernel width), in C order.

#include "equiprop/base/convolution.hpp"
#include "equiprop/model/coupling.hpp"

namespace equiprop {

/// The windows that a convolution reads.
struct Windows {
  Extent kernel;          ///< height and width of the kernel
  Extent stride{1, 1};    ///< distance between windows
  Extent padding{0, 0};   ///< zeros around the source image, on each side
  Extent dilation{1, 1};  ///< distance between the numbers of a window
  Index groups =
      1;  ///< number of groups of channels; a group of the target reads one of the source
  bool operator==(const Windows&) const = default;  ///< compares all members
};

/// A convolution, followed by the mean over windows of `mean_pool` x `mean_pool` positions. It is linear in the signals
/// of the source: the mean is folded into the weights. If the target is the input, the input drives the source by the
/// transposed convolution. If source and target are one layer, the energy is
/// -<u, (w* + w*^T) u> / 4 without the centre of the kernel between a channel and itself (LateralWeights); the stride is
/// then 1, and there is no mean.
struct EQUIPROP_EXPORT Convolution {
  Index source = 0;     ///< position of the source layer
  Index target = 0;     ///< position of the target layer
  Windows windows;      ///< geometry
  Index mean_pool = 1;  ///< size of the windows of the mean; 1 for none

  static constexpr bool directed = true;                         ///< see CouplingKind
  static std::string_view kind_name() { return "convolution"; }  ///< name of the kind
  /// Returns the shape of the weights. Throws InvalidArgument if the geometry does not fit the layers.
  WeightShape weights_of(const Shape& from, const Shape& to) const;
  /// Returns the layout of the weights within a layer.
  LateralWeights lateral_weights(const Shape& layer) const {
    return {layer.channels, windows.groups, windows.kernel};
  }
  /// Returns the edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const;
  bool operator==(const Convolution&) const = default;  ///< compares all members
};

/// A convolution, followed by the maximum over windows of `pool` x `pool` positions. The winners are those of the
/// present signals of the source; ties go to the first position. Complex and dual numbers are compared by their real
/// part or value. The target is not the input.
struct EQUIPROP_EXPORT MaxPooled {
  Index source = 0;  ///< position of the source layer
  Index target = 0;  ///< position of the target layer
  Windows windows;   ///< geometry of the convolution
  Index pool = 2;    ///< size of the windows of the maximum

  static constexpr bool directed = true;                        ///< see CouplingKind
  static constexpr bool holomorphic = false;                    ///< see CouplingKind
  static std::string_view kind_name() { return "max_pooled"; }  ///< name of the kind
  /// Returns the shape of the weights. Throws InvalidArgument if the geometry does not fit the layers.
  WeightShape weights_of(const Shape& from, const Shape& to) const;
  /// Returns the edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const;
  bool operator==(const MaxPooled&) const = default;  ///< compares all members
};

/// A convolution, followed by sum a e^(sharpness a) / sum e^(sharpness a) over windows of `pool` x `pool` positions,
/// which is complex-differentiable; it approaches the maximum as the sharpness grows. The target is not the input.
struct EQUIPROP_EXPORT SoftPooled {
  Index source = 0;      ///< position of the source layer
  Index target = 0;      ///< position of the target layer
  Windows windows;       ///< geometry of the convolution
  Index pool = 2;        ///< size of the windows
  double sharpness = 4;  ///< factor of the exponents

  static constexpr bool directed = true;                         ///< see CouplingKind
  static std::string_view kind_name() { return "soft_pooled"; }  ///< name of the kind
  /// Returns the shape of the weights. Throws InvalidArgument if the geometry does not fit the layers.
  WeightShape weights_of(const Shape& from, const Shape& to) const;
  /// Returns the edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const;
  bool operator==(const SoftPooled&) const = default;  ///< compares all members
};

}  // namespace equiprop
