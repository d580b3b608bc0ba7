/// Products of images with packed weights, in both directions. A step of the kernels computes one panel of channels;
/// its columns are the positions of a row, or for narrow images all images at one position.

#include "base/convolution_scratch.hpp"

namespace equiprop {
namespace {

/// Returns true if a row has so few positions that images make better columns.
bool is_narrow(const ConvolutionShape& s, Index images) {
  return s.out_width < 8 && images > s.out_width;
}

/// Calls run(group, row) for the panels of each group of `channels` channels.
template <class Run>
void for_each_panel(const ConvolutionShape& s, Index channels, Index panel, const Run& run) {
  for (Index group = 0; group < s.groups; ++group)
    for (Index row = 0; row < channels; row += panel) run(group, row);
}

}  // namespace

template <std::floating_point T>
void PackedConvolution<T>::add_forward(Index images, const T* u, Index u_stride, T* out,
                                       Index out_stride, T* scratch) const {
  const ConvolutionShape& s = shape_;
  const Index channels = s.group_out_channels(), panel = 2 * kernels_->lanes;
  if (is_narrow(s, images))
    return for_each_panel(s, channels, panel, [&](Index group, Index row) {
      add_positions_forward(group, row, images, u, u_stride, out, out_stride);
    });
  Scratch memory(scratch);
  const ForwardScratch<T> buffers(s, pool_, panel, memory);
  for (Index image = 0; image < images; ++image, u += u_stride, out += out_stride) {
    const T* padded = pad_rows(s, u, buffers.padded);
    for_each_panel(s, channels, panel, [&](Index group, Index row) {
      T* to = out + group * channels + row;
      for (Index y = 0; y < s.out_height; ++y, to += s.out_width * s.out_channels)
        add_row_forward(group, row, y, s.out_width, padded, to, to, s.out_channels);
    });
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

/// Adds one panel of channels of all images; only the taps inside the image are read.
template <std::floating_point T>
void PackedConvolution<T>::add_positions_forward(Index group, Index row, Index images, const T* u,
                                                 Index u_stride, T* out, Index out_stride) const {
  const ConvolutionShape& s = shape_;
  const Axis down = vertical(s), across = horizontal(s);
  const Index below = s.group_channels(), depth = run_depth(s), runs = runs_per_row(s);
  const Index left = s.group_out_channels() - row, rows = std::min(2 * kernels_->lanes, left);
  const Index width = left <= kernels_->lanes ? kernels_->lanes : 2 * kernels_->lanes;
  const T* packed = forward_.data() + group * s.kernel.y * runs * forward_size_ + row * depth;
  u += group * below;
  out += group * s.group_out_channels() + row;
  for (Index y = 0; y < s.out_height; ++y)
    for (Index x = 0; x < s.out_width; ++x, out += s.out_channels) {
      AddedPulls<T> pulls(*kernels_, rows, images, out, out, out_stride);
      const Range ys = down.taps(y), xs = across.taps(x);
      // Taps of a run are read at once.
      const Index step = runs == 1 ? std::max(Index{1}, xs.size()) : 1;
      for (Index i = ys.begin; i < ys.end; ++i)
        for (Index j = xs.begin; j < xs.end; j += step)
          pulls.add({packed + (runs == 1 ? i * forward_size_ + j * below * width
                                         : (i * runs + j) * forward_size_),
                     step * below,
                     u + (down.position(y, i) * s.width + across.position(x, j)) * s.channels,
                     u_stride});
      pulls.finish();
    }
}

template <std::floating_point T>
void PackedConvolution<T>::add_transposed(Index images, const T* above, Index above_stride, T* out,
                                          Index out_stride, T*) const {
  const ConvolutionShape& s = shape_;
  const Index channels = s.group_channels(), panel = 2 * kernels_->lanes;
  if (is_narrow(s, images))
    return for_each_panel(s, channels, panel, [&](Index group, Index row) {
      add_positions_transposed(group, row, images, above, above_stride, out, out_stride);
    });
  for (Index image = 0; image < images; ++image, above += above_stride, out += out_stride)
    for_each_panel(s, channels, panel,
                   [&](Index group, Index row) { add_rows_transposed(group, row, above, out); });
}

/// Adds one panel of channels below. The signals of a tap and a row above go to a row below; positions outside the
/// image are left out. The columns of the kernel are in descending order, so that a number adds its columns above in
/// ascending order, as the products from the winners do.
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

/// Adds one panel of channels below of all images, in the order of add_rows_transposed.
template <std::floating_point T>
void PackedConvolution<T>::add_positions_transposed(Index group, Index row, Index images,
                                                    const T* above, Index above_stride, T* out,
                                                    Index out_stride) const {
  const ConvolutionShape& s = shape_;
  const Axis down = vertical(s), across = horizontal(s);
  const Index depth = s.group_out_channels();
  const Index rows = std::min(2 * kernels_->lanes, s.group_channels() - row);
  const T* packed = transposed_.data() + group * s.taps() * transposed_size_ + row * depth;
  above += group * depth;
  out += group * s.group_channels() + row;
  for (Index y = 0; y < s.height; ++y)
    for (Index x = 0; x < s.width; ++x, out += s.channels) {
      AddedPulls<T> pulls(*kernels_, rows, images, out, out, out_stride);
      for (Index i = 0; i < s.kernel.y; ++i)
        for (Index j = s.kernel.x - 1; j >= 0; --j) {
          const Index v = down.above(y, i), h = across.above(x, j);
          if (v >= 0 && h >= 0)
            pulls.add({packed + (i * s.kernel.x + j) * transposed_size_, depth,
                       above + (v * s.out_width + h) * s.out_channels, above_stride});
        }
      pulls.finish();
    }
}

#define INSTANTIATE(T)                                                                          \
  template void PackedConvolution<T>::add_forward(Index, const T*, Index, T*, Index, T*) const; \
  template void PackedConvolution<T>::add_row_forward(Index, Index, Index, Index, const T*,     \
                                                      const T*, T*, Index) const;               \
  template void PackedConvolution<T>::add_transposed(Index, const T*, Index, T*, Index, T*) const;
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
