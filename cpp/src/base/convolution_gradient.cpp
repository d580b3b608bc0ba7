/// The weights' gradient of a convolution from images: products whose depth is the positions of whole images.

#include "base/convolution_geometry.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {
namespace {

/// Positions above that one pass over the sums adds, if there are enough images.
constexpr Index positions_at_once = 256;

}  // namespace

/// Pooled units are few, and each is multiplied with a whole patch of the image below: lanes run over the patch. Dense
/// images have lanes over the channels above.
template <std::floating_point T>
ConvolutionGradient<T>::ConvolutionGradient(const ConvolutionShape& shape, Index pool,
                                            const Kernels<T>& kernels)
    : shape_(shape), pool_(pool), kernels_(&kernels) {
  shape.check();
  check_pool(shape, pool);
  fill(sums_, 0, shape.weights());
  by_patch_ = pool > 1 && patches_are_worth_it(shape, pool, kernels.lanes);
  if (by_patch_)
    reserve_patches();
  else
    reserve_rows();
}

template <std::floating_point T>
void ConvolutionGradient<T>::reserve_rows() {
  const ConvolutionShape& s = shape_;
  images_at_once_ =
      std::clamp(positions_at_once / (s.out_height * s.out_width), Index{1}, Index{16});
  packed_row_ = whole_lines<T>(kernels_->packed_size(s.group_out_channels(), s.out_width));
  resize_to(packed_, images_at_once_ * s.groups * s.out_height * packed_row_);
  resize_to(padded_, images_at_once_ * padded_size(s));
  if (pool_ > 1) resize_to(unpooled_, images_at_once_ * s.out_size());
}

template <std::floating_point T>
void ConvolutionGradient<T>::add(T scale, Index images, const T* above, Index above_stride,
                                 const T* u, Index u_stride) {
  require(pool_ == 1, "ConvolutionGradient",
          "Images above are added as winners if there is max pooling.", "a window of ", pool_,
          " x ", pool_);
  for (Index first = 0; first < images; first += images_at_once_)
    add_dense(scale, std::min(images_at_once_, images - first), above + first * above_stride,
              above_stride, u + first * u_stride, u_stride);
}

/// Adds at most images_at_once_ images.
template <std::floating_point T>
void ConvolutionGradient<T>::add_dense(T scale, Index images, const T* above, Index above_stride,
                                       const T* u, Index u_stride) {
  const ConvolutionShape& s = shape_;
  const Index packed = packed_.size() / images_at_once_, padded = padded_size(s);
  for (Index image = 0; image < images; ++image)
    pack(scale, above + image * above_stride, packed_.data() + image * packed);
  if (padded > 0) {
    for (Index image = 0; image < images; ++image)
      pad_rows(s, u + image * u_stride, padded_.data() + image * padded);
    u = padded_.data(), u_stride = padded;
  }
  for (Index g = 0; g < s.groups; ++g)
    for (Index i = 0; i < s.kernel.y; ++i)
      for (Index run = 0; run < runs_per_row(s); ++run) add_columns(g, i, run, images, u, u_stride);
}

/// Packs each row of an image above as a matrix (channels, columns).
template <std::floating_point T>
void ConvolutionGradient<T>::pack(T scale, const T* above, T* packed) const {
  const ConvolutionShape& s = shape_;
  const Index rows = s.group_out_channels();
  for (Index g = 0; g < s.groups; ++g)
    for (Index y = 0; y < s.out_height; ++y, packed += packed_row_)
      kernels_->pack(above + y * s.out_width * s.out_channels + g * rows, s.out_channels, false,
                     rows, s.out_width, scale, packed);
}

/// Adds to the sums of one run of taps, (channels above, signals of the run). `u` has its horizontal padding.
template <std::floating_point T>
void ConvolutionGradient<T>::add_columns(Index group, Index kernel_row, Index run, Index images,
                                         const T* u, Index u_stride) {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index rows = s.group_out_channels(), depth = run_depth(s), runs = runs_per_row(s);
  u += group * s.group_channels() + run * s.dilation.x * s.channels;
  T* sums = sums_.data() + ((group * s.kernel.y + kernel_row) * runs + run) * depth * rows;
  AddedPulls<T> pulls(*kernels_, rows, depth, sums, sums, rows);
  const Range ys = axis.positions(kernel_row);
  for (Index image = 0; image < images; ++image)
    for (Index y = ys.begin; y < ys.end; ++y)
      pulls.add({packed_.data() + ((image * s.groups + group) * s.out_height + y) * packed_row_,
                 s.out_width, u + image * u_stride + axis.position(y, kernel_row) * padded_row(s),
                 1, s.stride.x * s.channels});
  pulls.finish();
}

template <std::floating_point T>
void ConvolutionGradient<T>::merge(const ConvolutionGradient& other) {
  require(sums_.size() == other.sums_.size() && pool_ == other.pool_, "ConvolutionGradient",
          "Gradients that are added have the same geometry and pool.", sums_.size(), " and ",
          other.sums_.size(), " weights, windows of ", pool_, " and ", other.pool_);
  sums_ += other.sums_;
}

template <std::floating_point T>
void ConvolutionGradient<T>::finish(T* grad) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  const Index of_above = by_patch_ ? taps * below : 1, of_below = by_patch_ ? 1 : above;
  const T* sums = sums_.data();
  for (Index g = 0; g < s.groups; ++g, sums += above * below * taps)
    for (Index o = 0; o < above; ++o)
      for (Index c = 0; c < below; ++c)
        for (Index k = 0; k < taps; ++k) *grad++ += sums[o * of_above + (k * below + c) * of_below];
  sums_.setZero();
}

#define INSTANTIATE(T)                                                                         \
  template ConvolutionGradient<T>::ConvolutionGradient(const ConvolutionShape&, Index,         \
                                                       const Kernels<T>&);                     \
  template void ConvolutionGradient<T>::add(T, Index, const T*, Index, const T*, Index);       \
  template void ConvolutionGradient<T>::add_dense(T, Index, const T*, Index, const T*, Index); \
  template void ConvolutionGradient<T>::merge(const ConvolutionGradient&);                     \
  template void ConvolutionGradient<T>::finish(T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
