#pragma once
/// Two-dimensional convolutions of images, their transposed products and their weights' gradients; after max pooling
/// also from the winners alone.
///
/// Images are channels last: number (y, x, c) is at ((y * width) + x) * channels + c. Weights are in C order
/// (out_channels, channels / groups, kernel.y, kernel.x), as in PyTorch. Nothing here starts threads. Memory is
/// allocated by constructors and by the first packing only. The result of an image depends on this image alone. Where
/// two functions are said to give the same bits, zeros may differ in their sign.

#include <concepts>
#include <cstdint>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/kernels.hpp"

namespace equiprop {

/// A vertical and a horizontal number.
struct Extent {
  Index y = 1;  ///< rows
  Index x = 1;  ///< columns

  bool operator==(const Extent&) const = default;  ///< compares all members
};

/// Returns the extent of the image above in one direction:
/// floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, or 0 if the kernel does not fit.
constexpr Index convolved_extent(Index in, Index kernel, Index stride, Index padding,
                                 Index dilation) {
  const Index left = in + 2 * padding - dilation * (kernel - 1) - 1;
  return left < 0 ? 0 : left / stride + 1;
}

/// The geometry of a convolution w * u of an image u (below) to an image (above):
/// (w * u)[Y, X, o] = sum over i, j, c of w[o, c, i, j] u[Y stride.y + i dilation.y - padding.y, X stride.x + ..., c],
/// where u is 0 outside, and c runs over the channels of the group of o.
struct ConvolutionShape {
  Index channels = 1;      ///< channels of the image below
  Index height = 1;        ///< rows of the image below
  Index width = 1;         ///< columns of the image below
  Index out_channels = 1;  ///< channels of the image above
  Index out_height = 1;    ///< rows of the image above, `convolved_extent` of the others
  Index out_width = 1;     ///< columns of the image above
  Extent kernel{1, 1};     ///< rows and columns of the kernel
  Extent stride{1, 1};     ///< distance below between neighbouring positions above
  Extent padding{0, 0};    ///< rows and columns of zeros on each side of the image below
  Extent dilation{1, 1};   ///< distance below between neighbouring positions of the kernel
  Index groups = 1;        ///< channels are divided into this many groups that do not mix

  /// Returns how many numbers the image below holds.
  Index size() const { return channels * height * width; }
  /// Returns how many numbers the image above holds.
  Index out_size() const { return out_channels * out_height * out_width; }
  /// Returns the channels below that one channel above reads.
  Index group_channels() const { return channels / groups; }
  /// Returns the channels above of one group.
  Index group_out_channels() const { return out_channels / groups; }
  /// Returns the positions of the kernel.
  Index taps() const { return kernel.y * kernel.x; }
  /// Returns how many weights there are.
  Index weights() const { return out_channels * group_channels() * taps(); }
  /// Throws InvalidArgument unless every number is in its range and the numbers fit together.
  EQUIPROP_EXPORT void check() const;
};

template <class T>
struct UnitsScratch;

/// The largest window of max pooling, whose positions a byte counts.
inline constexpr Index largest_pool = 16;

/// The weights of a convolution, packed for the kernels of an instruction set. The products need scratch memory of
/// scratch_size() numbers, which belongs to the caller and holds nothing between calls. Calls with different scratch
/// memory may run at the same time. Weights are finite.
template <std::floating_point T>
class EQUIPROP_EXPORT PackedConvolution {
 public:
  /// Throws InvalidArgument if the shape is not valid, or if a window of pool x pool positions does not fit into the
  /// image above. Without max pooling `pool` is 1. The weights must be packed before they are used.
  explicit PackedConvolution(const ConvolutionShape& shape, Index pool = 1,
                             const Kernels<T>& kernels = equiprop::kernels<T>());

  /// Packs scale * weights for the products with w.
  void pack_forward(const T* weights, T scale);
  /// Packs scale * weights for the products with w^T. The weights may differ from those of the other direction.
  void pack_transposed(const T* weights, T scale);

  /// out += w * u, from the image below to the image above. Each number adds its products in the order (kernel row,
  /// kernel column, channel below).
  void add_forward(const T* u, T* out, T* scratch) const { add_forward(1, u, 0, out, 0, scratch); }
  /// out += w^T above, from the image above to the image below. Each number adds its products in the order (kernel row,
  /// column above, channel above).
  void add_transposed(const T* above, T* out, T* scratch) const {
    add_transposed(1, above, 0, out, 0, scratch);
  }
  /// add_forward for several images, which lie `u_stride` and `out_stride` numbers apart. The bits of each are those of
  /// a call of its own; many narrow images are faster.
  void add_forward(Index images, const T* u, Index u_stride, T* out, Index out_stride,
                   T* scratch) const;
  /// add_transposed for several images.
  void add_transposed(Index images, const T* above, Index above_stride, T* out, Index out_stride,
                      T* scratch) const;

  /// out += max of w * u over windows of pool x pool positions, pool positions apart, an image (out_height / pool,
  /// out_width / pool, out_channels); rows and columns that do not fill a window are left out. `winners`, of the same
  /// size, holds the number of the largest position in the window, row by row: of equal numbers the first. The maximum
  /// of a window with NaN is NaN, and its winner is the first NaN. Where most units of u are 0 they are left out, which
  /// changes no bit.
  void add_pooled(const T* u, T* out, std::uint8_t* winners, T* scratch) const;
  /// out += w^T U, where U is the image above that has the pooled units at their winners and 0 elsewhere. Units that
  /// are 0 are left out. The bits are those of add_transposed of U.
  void add_transposed_from_winners(const T* pooled, const std::uint8_t* winners, T* out,
                                   T* scratch) const;

  /// Returns how many numbers an image has after max pooling.
  Index pooled_size() const {
    return shape_.out_height / pool_ * (shape_.out_width / pool_) * shape_.out_channels;
  }
  /// Returns how many numbers of scratch memory a call needs.
  Index scratch_size() const { return scratch_size_; }
  /// Returns the geometry.
  const ConvolutionShape& shape() const { return shape_; }

 private:
  void reserve_stage(Index size);
  void add_positions_forward(Index group, Index row, Index images, const T* u, Index u_stride,
                             T* out, Index out_stride) const;
  void add_positions_transposed(Index group, Index row, Index images, const T* above,
                                Index above_stride, T* out, Index out_stride) const;
  void add_row_forward(Index group, Index row, Index y, Index columns, const T* u, const T* start,
                       T* out, Index stride) const;
  void add_rows_transposed(Index group, Index row, const T* above, T* out) const;
  void add_rows_from_winners(Index group, Index row, const Index* begin, const T* signals,
                             const int* places, T* out) const;
  bool skips_zeros() const;
  bool add_pooled_from_units(const T* u, T* out, std::uint8_t* winners, T* scratch) const;
  void add_rows_from_units(Index group, Index row, const UnitsScratch<T>& units) const;
  void pool_rows(Index group, Index row, const T* u, T* out, std::uint8_t* winners,
                 T* buffer) const;
  void pool_row(Index group, Index row, Index y, const T* buffer, T* out,
                std::uint8_t* winners) const;

  ConvolutionShape shape_;
  Index pool_;
  const Kernels<T>* kernels_;
  Index scratch_size_;
  Index forward_size_;        ///< packed numbers of one run of taps and one group
  Index transposed_size_;     ///< packed numbers of one tap and one group
  Parameters<T> stage_;       ///< weights of one panel in the order of the packed matrices
  Parameters<T> forward_;     ///< packed matrices of the products with w
  Parameters<T> transposed_;  ///< packed matrices of the products with w^T
};

/// The sum over images of scale times the derivative of <above, w * u> by the weights:
/// grad[o, c, i, j] = sum over images and positions (Y, X) of scale above[Y, X, o] u[y, x, c] with
/// y = Y stride.y + i dilation.y - padding.y and x likewise. Each number adds its products in the order (image, Y, X).
/// The image above is given in full, or after max pooling by its winners. One object serves one thread.
template <std::floating_point T>
class EQUIPROP_EXPORT ConvolutionGradient {
 public:
  /// Throws InvalidArgument as PackedConvolution does. The sum is 0.
  explicit ConvolutionGradient(const ConvolutionShape& shape, Index pool = 1,
                               const Kernels<T>& kernels = equiprop::kernels<T>());

  /// Adds the products of one pair of images; pool is 1.
  void add(T scale, const T* above, const T* u) { add(scale, 1, above, 0, u, 0); }
  /// Adds the products of several pairs of images, `above_stride` and `u_stride` numbers apart. The bits of the sum are
  /// those of one call per pair; small images are faster.
  void add(T scale, Index images, const T* above, Index above_stride, const T* u, Index u_stride);
  /// Adds the products of an image above that has the pooled units at their winners and 0 elsewhere; pool is larger
  /// than 1. The bits of the sum are those of `add` if the image below is finite.
  void add_from_winners(T scale, const T* pooled, const std::uint8_t* winners, const T* u) {
    add_from_winners(scale, 1, pooled, winners, 0, u, 0);
  }
  /// add_from_winners for several pairs of images. Pooled units and winners are both `pooled_stride` apart.
  void add_from_winners(T scale, Index images, const T* pooled, const std::uint8_t* winners,
                        Index pooled_stride, const T* u, Index u_stride);
  /// Adds the sum of another gradient of the same geometry and pool.
  void merge(const ConvolutionGradient& other);
  /// grad += the sum, in the order of the weights; then the sum is 0.
  void finish(T* grad);

 private:
  void add_dense(T scale, Index images, const T* above, Index above_stride, const T* u,
                 Index u_stride);
  void pack(T scale, const T* above, T* packed) const;
  void add_columns(Index group, Index kernel_row, Index run, Index images, const T* u,
                   Index u_stride);
  void reserve_rows();
  void reserve_patches();
  void unpool(const T* pooled, const std::uint8_t* winners, T* image) const;
  void list(Index image, Index group, const T* pooled, const std::uint8_t* winners);
  void sort_by_channel(T scale, Index group, Index images);
  void add_patches(Index group);

  ConvolutionShape shape_;
  Index pool_;
  const Kernels<T>* kernels_;
  bool by_patch_;             ///< winners are multiplied with patches, instead of being unpooled
  Index images_at_once_;      ///< images whose products are added in one pass over the sums
  Index packed_row_ = 0;      ///< packed numbers of one row above and one group
  Parameters<T> sums_;        ///< the sum, in the order in which the kernels add to it
  Parameters<T> padded_;      ///< images below with their padding
  Parameters<T> packed_;      ///< rows of the images above
  Parameters<T> unpooled_;    ///< images above with the units at their winners
  Parameters<T> signals_;     ///< units of one group that are not 0, by position
  std::vector<int> places_;   ///< their channels
  std::vector<Index> begin_;  ///< where each position begins
  Parameters<T> sorted_signals_;     ///< the same units by channel
  std::vector<int> sorted_places_;   ///< places of their patches
  std::vector<Index> sorted_begin_;  ///< where each channel begins
};

}  // namespace equiprop
