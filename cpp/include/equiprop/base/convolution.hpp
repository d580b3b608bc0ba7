#pragma once
/// Convolutions of one image. Images are channels last: number (y, x, c) is at (y width + x) channels + c.

#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// A pair of numbers, vertical and horizontal.
struct Extent {
  Index y = 1;  ///< vertical
  Index x = 1;  ///< horizontal
  bool operator==(const Extent&) const = default;
};

/// Geometry of a convolution from one image (below) to another (above):
/// out = (in + 2 padding - dilation (kernel - 1) - 1) / stride + 1, rounded down, in either direction.
struct ConvolutionShape {
  Index channels = 0, height = 0, width = 0;              ///< image below
  Index out_channels = 0, out_height = 0, out_width = 0;  ///< image above
  Extent kernel, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  Index groups = 1;  ///< groups of channels that are convolved separately

  /// Returns the number of weights, (out_channels, channels / groups, kernel y, kernel x).
  Index num_weights() const { return out_channels * (channels / groups) * kernel.y * kernel.x; }
  /// Returns the number of numbers in the image below.
  Index size() const { return channels * height * width; }
  /// Returns the number of numbers in the image above.
  Index out_size() const { return out_channels * out_height * out_width; }
};

/// The products of a convolution with packed weights.
template <std::floating_point T>
class EQUIPROP_EXPORT PackedConvolution {
 public:
  explicit PackedConvolution(const ConvolutionShape& shape) : shape_(shape) {}

  const ConvolutionShape& shape() const { return shape_; }
  void pack_forward(const T* weights, T scale);
  void pack_transposed(const T* weights, T scale);
  Index scratch_size() const { return 0; }
  void add_forward(const T* u, T* out, T* scratch) const;
  void add_transposed(const T* above, T* out, T* scratch) const;

 private:
  ConvolutionShape shape_;
  std::vector<T> forward_, transposed_;
};

template <std::floating_point T>
class EQUIPROP_EXPORT ConvolutionGradient {
 public:
  explicit ConvolutionGradient(const ConvolutionShape& shape);
  void clear();
  void add(T scale, const T* above, const T* u);
  void finish(T* grad) const;

 private:
  ConvolutionShape shape_;
  std::vector<T> sums_;
};

extern template class PackedConvolution<float>;
extern template class PackedConvolution<double>;
extern template class ConvolutionGradient<float>;
extern template class ConvolutionGradient<double>;

}  // namespace equiprop
