#include "equiprop/base/convolution.hpp"

#include <initializer_list>

#include "base/convolution_geometry.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {
namespace {

constexpr Index most = Index{1} << 31;          ///< largest number of a geometry, and of an image
constexpr Index most_weights = Index{1} << 38;  ///< largest number of weights

/// Returns true if the product of numbers between 1 and 2^31 is at most `limit`; no intermediate product overflows.
bool product_within(Index limit, std::initializer_list<Index> factors) {
  Index product = 1;
  for (const Index factor : factors) {
    if (factor > limit / product) return false;
    product *= factor;
  }
  return true;
}

void check_range(const char* name, Index lowest, Index number) {
  const std::string rule =
      std::string(name) + " is between " + std::to_string(lowest) + " and 2^31.";
  require(number >= lowest && number <= most, "Convolution", rule, number);
}

void check_axis(const char* name, const Axis& axis) {
  const std::string which = name;
  check_range((which + " of the image below").c_str(), 1, axis.in);
  check_range((which + " of the kernel").c_str(), 1, axis.kernel);
  check_range((which + " of the stride").c_str(), 1, axis.stride);
  check_range((which + " of the padding").c_str(), 0, axis.padding);
  check_range((which + " of the dilation").c_str(), 1, axis.dilation);
  const Index out =
      convolved_extent(axis.in, axis.kernel, axis.stride, axis.padding, axis.dilation);
  require(out >= 1, "Convolution",
          "The kernel with its dilation is not larger than the image with its padding.", which,
          ": a kernel of ", axis.dilation * (axis.kernel - 1) + 1, " on ",
          axis.in + 2 * axis.padding);
  require(axis.out == out, "Convolution",
          "The image above has (in + 2 padding - dilation (kernel - 1) - 1) / stride + 1 rows and "
          "columns.",
          which, ": ", axis.out, " instead of ", out);
}

}  // namespace

void ConvolutionShape::check() const {
  check_range("The number of channels below", 1, channels);
  check_range("The number of channels above", 1, out_channels);
  check_range("The number of groups", 1, groups);
  check_axis("Height", vertical(*this));
  check_axis("Width", horizontal(*this));
  require(channels % groups == 0 && out_channels % groups == 0, "Convolution",
          "The number of groups divides the numbers of channels.", groups, " groups of ", channels,
          " and ", out_channels, " channels");
  require(product_within(most, {channels, height, width + 2 * padding.x}), "Convolution",
          "The image below has at most 2^31 numbers with its horizontal padding.", channels, " x ",
          height, " x ", width + 2 * padding.x);
  require(product_within(most, {out_channels, out_height, out_width}), "Convolution",
          "The image above has at most 2^31 numbers.", out_channels, " x ", out_height, " x ",
          out_width);
  require(product_within(most_weights, {out_channels, group_channels(), kernel.y, kernel.x}),
          "Convolution", "A convolution has at most 2^38 weights.", out_channels, " x ",
          group_channels(), " x ", kernel.y, " x ", kernel.x);
}

template <std::floating_point T>
PackedConvolution<T>::PackedConvolution(const ConvolutionShape& shape, const Kernels<T>& kernels)
    : shape_((shape.check(), shape)), kernels_(&kernels), scratch_size_(padded_size(shape)) {
  const Index below = shape.group_channels(), above = shape.group_out_channels();
  forward_size_ = whole_lines<T>(kernels.packed_size(above, run_depth(shape)));
  transposed_size_ = whole_lines<T>(kernels.packed_size(below, above));
}

template <std::floating_point T>
void PackedConvolution<T>::pack_forward(const T* weights, T scale) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  const Index runs = s.kernel.y * runs_per_row(s), depth = run_depth(s), patch = taps * below;
  const Index width = 2 * kernels_->lanes;
  if (forward_.size() == 0) forward_.setZero(s.groups * runs * forward_size_);
  if (stage_.size() < width * taps * std::max(below, above))
    stage_.resize(width * taps * std::max(below, above));
  for (Index g = 0; g < s.groups; ++g)
    for_each_panel(above, kernels_->lanes, [&](Index row, Index rows) {
      for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < below; ++c)
          for (Index k = 0; k < taps; ++k)
            stage_[r * patch + k * below + c] =
                weights[((g * above + row + r) * below + c) * taps + k];
      for (Index run = 0; run < runs; ++run)
        kernels_->pack(stage_.data() + run * depth, patch, true, rows, depth, scale,
                       forward_.data() + (g * runs + run) * forward_size_ + row * depth);
    });
}

template <std::floating_point T>
void PackedConvolution<T>::pack_transposed(const T* weights, T scale) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  const Index width = 2 * kernels_->lanes;
  if (transposed_.size() == 0) transposed_.setZero(s.groups * taps * transposed_size_);
  if (stage_.size() < width * taps * std::max(below, above))
    stage_.resize(width * taps * std::max(below, above));
  for (Index g = 0; g < s.groups; ++g)
    for_each_panel(below, kernels_->lanes, [&](Index row, Index rows) {
      for (Index o = 0; o < above; ++o)
        for (Index r = 0; r < rows; ++r)
          for (Index k = 0; k < taps; ++k)
            stage_[(k * above + o) * rows + r] =
                weights[((g * above + o) * below + row + r) * taps + k];
      for (Index k = 0; k < taps; ++k)
        kernels_->pack(stage_.data() + k * above * rows, rows, false, rows, above, scale,
                       transposed_.data() + (g * taps + k) * transposed_size_ + row * above);
    });
}

template <std::floating_point T>
void PackedConvolution<T>::add_forward(const T* u, T* out, T* scratch) const {
  const T* padded = pad_rows(shape_, u, scratch);
  for (Index g = 0; g < shape_.groups; ++g)
    for (Index row = 0; row < shape_.group_out_channels(); row += 2 * kernels_->lanes)
      add_rows_forward(g, row, padded, out);
}

/// Adds one panel of output channels; `u` is the image with its horizontal padding.
template <std::floating_point T>
void PackedConvolution<T>::add_rows_forward(Index group, Index row, const T* u, T* out) const {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index runs = runs_per_row(s), depth = run_depth(s), above = s.group_out_channels();
  const Index rows = std::min(2 * kernels_->lanes, above - row);
  const T* packed = forward_.data() + group * s.kernel.y * runs * forward_size_ + row * depth;
  u += group * s.group_channels();
  out += group * above + row;
  for (Index y = 0; y < s.out_height; ++y, out += s.out_width * s.out_channels) {
    AddedPulls<T> pulls(*kernels_, rows, s.out_width, out, s.out_channels);
    const Range taps = axis.taps(y);
    for (Index i = taps.begin; i < taps.end; ++i)
      for (Index run = 0; run < runs; ++run)
        pulls.add({packed + (i * runs + run) * forward_size_, depth,
                   u + axis.position(y, i) * padded_row(s) + run * s.dilation.x * s.channels,
                   s.stride.x * s.channels});
    pulls.run();
  }
}

template <std::floating_point T>
void PackedConvolution<T>::add_transposed(const T* above, T* out, T*) const {
  for (Index g = 0; g < shape_.groups; ++g)
    for (Index row = 0; row < shape_.group_channels(); row += 2 * kernels_->lanes)
      add_rows_transposed(g, row, above, out);
}

/// Adds one panel of channels below. The signals of a tap and a row above go to a row below; positions outside the image
/// are left out. The columns of the kernel are in descending order, so that a number adds its columns above in ascending
/// order, as the products from the winners do.
template <std::floating_point T>
void PackedConvolution<T>::add_rows_transposed(Index group, Index row, const T* above,
                                               T* out) const {
  const ConvolutionShape& s = shape_;
  const Axis down = vertical(s), across = horizontal(s);
  const Index depth = s.group_out_channels();
  const Index rows = std::min(2 * kernels_->lanes, s.group_channels() - row);
  const T* packed = transposed_.data() + group * s.taps() * transposed_size_ + row * depth;
  above += group * depth;
  out += group * s.group_channels() + row;
  for (Index i = 0; i < s.kernel.y; ++i)
    for (Index j = s.kernel.x - 1; j >= 0; --j) {
      const Range ys = down.positions(i), xs = across.positions(j);
      if (xs.size() == 0) continue;
      for (Index y = ys.begin; y < ys.end; ++y) {
        const Pull<T> pull{packed + (i * s.kernel.x + j) * transposed_size_, depth,
                           above + (y * s.out_width + xs.begin) * s.out_channels, s.out_channels};
        T* to = out + (down.position(y, i) * s.width + across.position(xs.begin, j)) * s.channels;
        const Index stride = s.stride.x * s.channels;
        kernels_->accumulate({rows, xs.size(), &pull, 1, to, stride, nullptr, to, stride});
      }
    }
}

template class PackedConvolution<float>;
template class PackedConvolution<double>;

}  // namespace equiprop
