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

template <std::floating_point T>
PackedConvolution<T>::PackedConvolution(const ConvolutionShape& shape, Index pool,
                                        const Kernels<T>& kernels)
    : shape_(shape), pool_(pool), kernels_(&kernels) {
  shape.check();
  check_pool(shape, pool);
  const Index below = shape.group_channels(), above = shape.group_out_channels();
  forward_size_ = whole_lines<T>(kernels.packed_size(above, run_depth(shape)));
  transposed_size_ = whole_lines<T>(kernels.packed_size(below, above));
  Scratch forward(nullptr), winners(nullptr);
  ForwardScratch<T>(shape, pool, 2 * kernels.lanes, forward);
  if (pool > 1) WinnersScratch<T>(shape, pool, kernels.lanes, winners);
  scratch_size_ = std::max(forward.size<T>(), winners.size<T>());
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
  const ConvolutionShape& s = shape_;
  Scratch memory(scratch);
  const ForwardScratch<T> buffers(s, pool_, 2 * kernels_->lanes, memory);
  const T* padded = pad_rows(s, u, buffers.padded);
  for (Index g = 0; g < s.groups; ++g)
    for (Index row = 0; row < s.group_out_channels(); row += 2 * kernels_->lanes)
      for (Index y = 0; y < s.out_height; ++y) {
        T* to = out + y * s.out_width * s.out_channels + g * s.group_out_channels() + row;
        add_row_forward(g, row, y, s.out_width, padded, to, to, s.out_channels);
      }
}

/// out = start + row y of w * u, for one panel of channels and the first columns; `u` has its horizontal padding, and
/// `start` is `out` or nullptr.
template <std::floating_point T>
void PackedConvolution<T>::add_row_forward(Index group, Index row, Index y, Index columns,
                                           const T* u, const T* start, T* out, Index stride) const {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index runs = runs_per_row(s), depth = run_depth(s);
  const Index rows = std::min(2 * kernels_->lanes, s.group_out_channels() - row);
  const T* packed = forward_.data() + group * s.kernel.y * runs * forward_size_ + row * depth;
  u += group * s.group_channels();
  AddedPulls<T> pulls(*kernels_, rows, columns, start, out, stride);
  const Range taps = axis.taps(y);
  for (Index i = taps.begin; i < taps.end; ++i)
    for (Index run = 0; run < runs; ++run)
      pulls.add({packed + (i * runs + run) * forward_size_, depth,
                 u + axis.position(y, i) * padded_row(s) + run * s.dilation.x * s.channels,
                 s.stride.x * s.channels});
  pulls.finish();
}

template <std::floating_point T>
void PackedConvolution<T>::add_pooled(const T* u, T* out, std::uint8_t* winners, T* scratch) const {
  const ConvolutionShape& s = shape_;
  check_winners(pool_);
  Scratch memory(scratch);
  const ForwardScratch<T> buffers(s, pool_, 2 * kernels_->lanes, memory);
  const T* padded = pad_rows(s, u, buffers.padded);
  for (Index g = 0; g < s.groups; ++g)
    for (Index row = 0; row < s.group_out_channels(); row += 2 * kernels_->lanes)
      pool_rows(g, row, padded, out, winners, buffers.rows);
}

/// Pools one panel of channels; the rows of a row of windows are computed in `buffer`.
template <std::floating_point T>
void PackedConvolution<T>::pool_rows(Index group, Index row, const T* u, T* out,
                                     std::uint8_t* winners, T* buffer) const {
  const ConvolutionShape& s = shape_;
  const Index panel = 2 * kernels_->lanes, windows = s.out_width / pool_, columns = windows * pool_;
  const Index rows = std::min(panel, s.group_out_channels() - row);
  for (Index y = 0; y < s.out_height / pool_; ++y) {
    for (Index i = 0; i < pool_; ++i)
      add_row_forward(group, row, y * pool_ + i, columns, u, nullptr, buffer + i * columns * panel,
                      panel);
    const Index to = y * windows * s.out_channels + group * s.group_out_channels() + row;
    kernels_->pool({rows, windows, static_cast<int>(pool_), buffer, panel, columns * panel,
                    out + to, winners + to, s.out_channels});
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

template <std::floating_point T>
void PackedConvolution<T>::add_transposed_from_winners(const T* pooled, const std::uint8_t* winners,
                                                       T* out, T* scratch) const {
  const ConvolutionShape& s = shape_;
  check_winners(pool_);
  Scratch memory(scratch);
  const WinnersScratch<T> lists(s, pool_, kernels_->lanes, memory);
  const Index height = s.out_height / pool_, width = s.out_width / pool_;
  for (Index g = 0; g < s.groups; ++g) {
    const Index first = g * s.group_out_channels();
    kernels_->list_winners({s.group_out_channels(), height, width, static_cast<int>(pool_),
                            pooled + first, winners + first, s.out_channels, lists.signals,
                            lists.places, lists.begin});
    for (Index row = 0; row < s.group_channels(); row += 2 * kernels_->lanes)
      add_rows_from_winners(g, row, lists.begin, lists.signals, lists.places, out);
  }
}

/// Adds the products of a group's winners for one panel of channels below.
template <std::floating_point T>
void PackedConvolution<T>::add_rows_from_winners(Index group, Index row, const Index* begin,
                                                 const T* signals, const int* places,
                                                 T* out) const {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index depth = s.group_out_channels(), left = s.group_channels() - row;
  const Index columns = s.out_width / pool_ * pool_;
  WinnersRow<T> winners{std::min(left, 2 * kernels_->lanes),
                        columns,
                        nullptr,
                        signals,
                        places,
                        nullptr,
                        transposed_size_,
                        left <= kernels_->lanes ? kernels_->lanes : 2 * kernels_->lanes,
                        s.kernel.x,
                        s.stride.x,
                        s.padding.x,
                        s.dilation.x,
                        s.width,
                        nullptr,
                        s.channels};
  for (Index i = 0; i < s.kernel.y; ++i) {
    winners.packed =
        transposed_.data() + (group * s.taps() + i * s.kernel.x) * transposed_size_ + row * depth;
    const Range ys = axis.positions(i);
    for (Index y = ys.begin; y < std::min(ys.end, s.out_height / pool_ * pool_); ++y) {
      winners.begin = begin + y * columns;
      winners.out =
          out + axis.position(y, i) * s.width * s.channels + group * s.group_channels() + row;
      kernels_->add_winners(winners);
    }
  }
}

template class PackedConvolution<float>;
template class PackedConvolution<double>;

}  // namespace equiprop
