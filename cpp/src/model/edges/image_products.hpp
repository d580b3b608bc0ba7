#pragma once
/// Products of one image with the weights of a convolution, for every scalar.

#include <array>
#include <cstdint>
#include <vector>

#include "equiprop/model/convolution.hpp"

namespace equiprop {

/// Signals scale * data of one image.
template <Scalar S>
struct Image {
  S scale;        ///< common factor
  const S* data;  ///< numbers of the image, channels last
};

/// A convolution and the mean over windows of its result, as one convolution with a larger kernel.
class MeanFolding {
 public:
  /// Folds windows of `pool` x `pool` positions into a convolution of this geometry.
  MeanFolding(const ConvolutionShape& shape, Index pool);

  /// Returns the geometry of the convolution itself.
  const ConvolutionShape& original() const { return shape_; }
  /// Returns the geometry with the larger kernel.
  const ConvolutionShape& folded() const { return folded_; }
  /// Returns true if there is nothing to fold.
  bool trivial() const { return pool_ == 1; }
  /// Stores the weights of the larger kernel: the mean of shifted copies.
  template <class T>
  void fold(const T* weights, T* folded) const;
  /// Adds the transposed product of `fold`, which turns a derivative by folded weights into one by the weights.
  template <class T, class G>
  void add_unfolded(const T* folded, G* weights) const;

 private:
  template <class Visit>
  void for_each(const Visit& visit) const;

  ConvolutionShape shape_, folded_;
  Index pool_;
};

/// Number of real parts of a scalar.
template <Scalar S>
inline constexpr int num_parts = std::floating_point<S> ? 1 : 2;

/// The products of images with the weights of one direction.
template <Scalar S>
class ImageProducts {
 public:
  using T = RealOf<S>;  ///< scalar of the weights

  /// The weights must be packed before the first product. `pool` is the size of the windows of a maximum, or 1.
  explicit ImageProducts(const MeanFolding& folding, Index pool = 1)
      : folding_(folding), packed_(folding.folded(), pool) {}

  /// Reads the present weights (target channels, source channels / groups, kernel y, kernel x).
  void pack(const T* weights);
  /// Adds w * u to out, an image before pooling by a maximum.
  void add_forward(const Image<S>& u, S* out) const;
  /// Adds the transposed product with an image before pooling to out, an image of the source.
  void add_transposed(const Image<S>& above, S* out) const;
  /// Adds the maxima of w * u over windows to out, and stores their winners; see PackedConvolution. The scale of the
  /// image is positive.
  void add_pooled(const Image<S>& u, S* out,
                  std::uint8_t* winners) const requires std::floating_point<S>;
  /// Adds the transposed product with the image that has the pooled units at their winners to out.
  void add_from_winners(const Image<S>& pooled, const std::uint8_t* winners,
                        S* out) const requires std::floating_point<S>;
  /// Returns how many numbers an image has after pooling by a maximum.
  Index pooled_size() const { return packed_.pooled_size(); }

 private:
  template <bool Forward>
  void add(const Image<S>& in, S* out) const;
  template <class Multiply>
  void add_scaled(S scale, Index size, const Multiply& multiply, S* out) const;

  MeanFolding folding_;
  PackedConvolution<T> packed_;
  std::vector<T> folded_;
};

/// The derivative by the weights of sums of <above, w * u> over images.
template <Scalar S>
class GradientSums {
 public:
  using T = RealOf<S>;  ///< scalar of the weights

  /// Starts from 0. `pool` is the size of the windows of a maximum, or 1.
  explicit GradientSums(const MeanFolding& folding, Index pool = 1);
  /// Adds the derivative of scale <above, w * u> for one image.
  void add(S scale, const Image<S>& above, const Image<S>& u);
  /// Adds the derivative for an image above that has the pooled units at their winners and 0 elsewhere.
  void add_from_winners(S scale, const Image<S>& pooled, const std::uint8_t* winners,
                        const Image<S>& u) requires std::floating_point<S>;
  /// Adds the sums to grad (weights,) and starts from 0 again.
  void finish(S* grad);

 private:
  MeanFolding folding_;
  std::vector<ConvolutionGradient<T>> sums_;  // by the part of `above`, then by that of u
};

}  // namespace equiprop
