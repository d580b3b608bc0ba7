#include "equiprop/base/convolution.hpp"

#include <initializer_list>

#include "base/convolution_scratch.hpp"
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

/// Calls run(row, rows) for each panel of `all` rows.
template <class Run>
void for_each_panel(Index all, Index lanes, const Run& run) {
  for (Index row = 0; row < all; row += 2 * lanes) run(row, std::min(2 * lanes, all - row));
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
  const Index padded_height = height + 2 * padding.y, padded_width = width + 2 * padding.x;
  require(product_within(most, {channels, padded_height, padded_width}), "Convolution",
          "The image below has at most 2^31 numbers with its padding.", channels, " x ",
          padded_height, " x ", padded_width);
  require(product_within(most, {out_channels, out_height, out_width}), "Convolution",
          "The image above has at most 2^31 numbers.", out_channels, " x ", out_height, " x ",
          out_width);
  require(product_within(most_weights, {out_channels, group_channels(), kernel.y, kernel.x}),
          "Convolution", "A convolution has at most 2^38 weights.", out_channels, " x ",
          group_channels(), " x ", kernel.y, " x ", kernel.x);
}

void check_pool(const ConvolutionShape& shape, Index pool) {
  require(pool >= 1 && pool <= largest_pool, "Convolution",
          "A window of max pooling has between 1 and 16 rows and columns.", pool);
  require(pool <= shape.out_height && pool <= shape.out_width, "Convolution",
          "A window of max pooling is not larger than the image above.", pool, " on ",
          shape.out_height, " x ", shape.out_width);
}

void check_winners(Index pool) {
  require(pool > 1, "Convolution", "Winners belong to max pooling.", "a window of ", pool, " x ",
          pool);
}

/// Returns true if add_pooled_from_units supports the geometry, and its lists of channels are long enough to be fast.
template <std::floating_point T>
bool PackedConvolution<T>::skips_zeros() const {
  return shape_.stride.x == 1 && shape_.group_channels() >= kernels_->lanes;
}

template <std::floating_point T>
PackedConvolution<T>::PackedConvolution(const ConvolutionShape& shape, Index pool,
                                        const Kernels<T>& kernels)
    : shape_(shape), pool_(pool), kernels_(&kernels) {
  shape.check();
  check_pool(shape, pool);
  const Index below = shape.group_channels(), above = shape.group_out_channels();
  forward_size_ = whole_lines<T>(kernels.packed_size(above, run_depth(shape)));
  transposed_size_ = whole_lines<T>(kernels.packed_size(below, above));
  Scratch forward(nullptr), winners(nullptr), units(nullptr);
  ForwardScratch<T>(shape, pool, 2 * kernels.lanes, forward);
  if (pool > 1) WinnersScratch<T>(shape, pool, kernels.lanes, winners);
  if (pool > 1 && skips_zeros()) UnitsScratch<T>(shape, pool, kernels.lanes, units);
  scratch_size_ = std::max({forward.size<T>(), winners.size<T>(), units.size<T>()});
}

template <std::floating_point T>
void PackedConvolution<T>::reserve_stage(Index size) {
  if (stage_.size() < size) resize_to(stage_, size);
}

template <std::floating_point T>
void PackedConvolution<T>::pack_forward(const T* weights, T scale) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  const Index runs = s.kernel.y * runs_per_row(s), depth = run_depth(s), patch = taps * below;
  if (forward_.size() == 0) fill(forward_, 0, s.groups * runs * forward_size_);
  reserve_stage(std::min(2 * kernels_->lanes, above) * patch);
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
  if (transposed_.size() == 0) fill(transposed_, 0, s.groups * taps * transposed_size_);
  reserve_stage(std::min(2 * kernels_->lanes, below) * taps * above);
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

#define INSTANTIATE(T)                                                             \
  template PackedConvolution<T>::PackedConvolution(const ConvolutionShape&, Index, \
                                                   const Kernels<T>&);             \
  template bool PackedConvolution<T>::skips_zeros() const;                         \
  template void PackedConvolution<T>::pack_forward(const T*, T);                   \
  template void PackedConvolution<T>::pack_transposed(const T*, T);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
