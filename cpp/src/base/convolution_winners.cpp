/// Max pooling after a convolution, and transposed products from its winners.

#include "base/convolution_scratch.hpp"

namespace equiprop {

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
  const Index lanes = kernels_->lanes, columns = s.out_width / pool_ * pool_;
  WinnersRow<T> winners{};
  winners.rows = std::min(left, 2 * lanes);
  winners.positions = columns;
  winners.signals = signals;
  winners.places = places;
  winners.packed_step = transposed_size_;
  winners.packed_width = left <= lanes ? lanes : 2 * lanes;
  winners.taps = s.kernel.x;
  winners.stride = s.stride.x, winners.padding = s.padding.x, winners.dilation = s.dilation.x;
  winners.width = s.width;
  winners.out_stride = s.channels;
  out += group * s.group_channels() + row;
  for (Index i = 0; i < s.kernel.y; ++i) {
    winners.packed =
        transposed_.data() + (group * s.taps() + i * s.kernel.x) * transposed_size_ + row * depth;
    const Range ys = axis.positions(i);
    for (Index y = ys.begin; y < std::min(ys.end, s.out_height / pool_ * pool_); ++y) {
      winners.begin = begin + y * columns;
      winners.out = out + axis.position(y, i) * s.width * s.channels;
      kernels_->add_winners(winners);
    }
  }
}

#define INSTANTIATE(T)                                                                           \
  template void PackedConvolution<T>::add_pooled(const T*, T*, std::uint8_t*, T*) const;         \
  template void PackedConvolution<T>::add_transposed_from_winners(const T*, const std::uint8_t*, \
                                                                  T*, T*) const;
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
