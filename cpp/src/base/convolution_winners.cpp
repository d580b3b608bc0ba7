/// Max pooling after a convolution, and transposed products from its winners.

#include "base/convolution_scratch.hpp"

namespace equiprop {

template <std::floating_point T>
void PackedConvolution<T>::add_pooled(const T* u, T* out, std::uint8_t* winners, T* scratch) const {
  const ConvolutionShape& s = shape_;
  check_winners(pool_);
  if (skips_zeros() && add_pooled_from_units(u, out, winners, scratch)) return;
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
  const Index panel = 2 * kernels_->lanes, columns = pooled_columns(s, pool_);
  for (Index y = 0; y < s.out_height / pool_; ++y) {
    for (Index i = 0; i < pool_; ++i)
      add_row_forward(group, row, y * pool_ + i, columns, u, nullptr, buffer + i * columns * panel,
                      panel);
    pool_row(group, row, y, buffer, out, winners);
  }
}

/// Pools one row of windows of one panel of channels, whose rows before pooling are in `buffer`.
template <std::floating_point T>
void PackedConvolution<T>::pool_row(Index group, Index row, Index y, const T* buffer, T* out,
                                    std::uint8_t* winners) const {
  const ConvolutionShape& s = shape_;
  const Index panel = 2 * kernels_->lanes, windows = s.out_width / pool_;
  const Index rows = std::min(panel, s.group_out_channels() - row);
  const Index to = y * windows * s.out_channels + group * s.group_out_channels() + row;
  kernels_->pool({rows, windows, static_cast<int>(pool_), buffer, panel,
                  pooled_columns(s, pool_) * panel, out + to, winners + to, s.out_channels});
}

/// Computes add_pooled from the units that are not 0. Returns false, with nothing added, if there are too many of them.
template <std::floating_point T>
bool PackedConvolution<T>::add_pooled_from_units(const T* u, T* out, std::uint8_t* winners,
                                                 T* scratch) const {
  // Above this fraction of all units, the products with all units are faster.
  constexpr double most_units = 0.45;
  const ConvolutionShape& s = shape_;
  int active = 0;
  for (Index i = 0; i < s.size(); ++i) active += u[i] != T(0) ? 1 : 0;
  if (static_cast<double>(active) > most_units * static_cast<double>(s.size())) return false;
  Scratch memory(scratch);
  const UnitsScratch<T> units(s, pool_, kernels_->lanes, memory);
  std::fill_n(units.winners, s.size(), std::uint8_t{0});
  for (Index g = 0; g < s.groups; ++g) {
    const Index first = g * s.group_channels();
    kernels_->list_winners({s.group_channels(), s.height, s.width, 1, u + first,
                            units.winners + first, s.channels, units.signals, units.places,
                            units.begin});
    for (Index row = 0; row < s.group_out_channels(); row += 2 * kernels_->lanes) {
      add_rows_from_units(g, row, units);
      const Index size = pool_ * pooled_columns(s, pool_) * 2 * kernels_->lanes;
      for (Index y = 0; y < s.out_height / pool_; ++y)
        pool_row(g, row, y, units.rows + y * size, out, winners);
    }
  }
  return true;
}

/// Stores the convolution of a group's listed units in units.rows, for one panel of channels above. With tap j, a unit in
/// column x reaches column x + padding - j dilation: the kernel visits the taps from the last to the first.
template <std::floating_point T>
void PackedConvolution<T>::add_rows_from_units(Index group, Index row,
                                               const UnitsScratch<T>& units) const {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index below = s.group_channels(), left = s.group_out_channels() - row;
  const Index lanes = kernels_->lanes, columns = pooled_columns(s, pool_);
  const Index height = s.out_height / pool_ * pool_, panel = 2 * lanes;
  const Index runs = runs_per_row(s);
  WinnersRow<T> listed{};
  listed.rows = std::min(left, panel);
  listed.positions = s.width;
  listed.signals = units.signals;
  listed.places = units.places;
  listed.packed_width = left <= lanes ? lanes : panel;
  listed.packed_step = runs == 1 ? -below * listed.packed_width : -forward_size_;
  listed.taps = s.kernel.x;
  listed.stride = 1;
  listed.dilation = s.dilation.x;
  listed.padding = (s.kernel.x - 1) * s.dilation.x - s.padding.x;
  listed.width = columns;
  listed.out_stride = panel;
  std::fill_n(units.rows, height * columns * panel, T(0));
  for (Index i = 0; i < s.kernel.y; ++i) {
    const T* packed = forward_.data() + (group * s.kernel.y + i) * runs * forward_size_;
    listed.packed = packed + row * run_depth(s) - (s.kernel.x - 1) * listed.packed_step;
    const Range ys = axis.positions(i);
    for (Index y = ys.begin; y < std::min(ys.end, height); ++y) {
      listed.begin = units.begin + axis.position(y, i) * s.width;
      listed.out = units.rows + y * columns * panel;
      kernels_->add_winners(listed);
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
