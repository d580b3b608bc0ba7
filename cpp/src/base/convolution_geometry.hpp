#pragma once
/// The geometry that the sources of convolutions share.

#include <algorithm>

#include "equiprop/base/convolution.hpp"

namespace equiprop {

/// A range of numbers [begin, end).
struct Range {
  Index begin, end;
  Index size() const { return std::max(Index{0}, end - begin); }
};

/// Returns ceil(a / b) of a positive b.
constexpr Index divide_up(Index a, Index b) {
  return a > 0 ? (a - 1) / b + 1 : -(-a / b);
}

/// One direction of a convolution: the position below of (above, tap) is above * stride + tap * dilation - padding.
struct Axis {
  Index in, out, kernel, stride, padding, dilation;

  Index position(Index above, Index tap) const { return above * stride + tap * dilation - padding; }
  /// Returns the position above that a tap joins with a position below, or -1 if there is none.
  Index above(Index below, Index tap) const {
    const Index distance = below + padding - tap * dilation;
    if (distance < 0 || distance % stride != 0 || distance / stride >= out) return -1;
    return distance / stride;
  }
  /// Returns the taps whose position below is inside the image.
  Range taps(Index above) const {
    const Index first = above * stride - padding;
    return {std::max(Index{0}, divide_up(-first, dilation)),
            std::min(kernel, divide_up(in - first, dilation))};
  }
  /// Returns the positions above at which a tap is inside the image below.
  Range positions(Index tap) const {
    const Index first = tap * dilation - padding;
    return {std::max(Index{0}, divide_up(-first, stride)),
            std::min(out, divide_up(in - first, stride))};
  }
};

inline Axis vertical(const ConvolutionShape& s) {
  return {s.height, s.out_height, s.kernel.y, s.stride.y, s.padding.y, s.dilation.y};
}
inline Axis horizontal(const ConvolutionShape& s) {
  return {s.width, s.out_width, s.kernel.x, s.stride.x, s.padding.x, s.dilation.x};
}

/// Returns true if the signals of a kernel row at one position are contiguous.
inline bool has_contiguous_rows(const ConvolutionShape& s) {
  return s.groups == 1 && (s.dilation.x == 1 || s.kernel.x == 1);
}
/// A run is the largest part of a kernel row whose signals at one position are contiguous: the row, or one tap of it.
inline Index runs_per_row(const ConvolutionShape& s) {
  return has_contiguous_rows(s) ? 1 : s.kernel.x;
}
inline Index taps_per_run(const ConvolutionShape& s) {
  return s.kernel.x / runs_per_row(s);
}
/// Returns the signals of a run.
inline Index run_depth(const ConvolutionShape& s) {
  return taps_per_run(s) * s.group_channels();
}

/// Returns the numbers of a row of an image below with its horizontal padding.
inline Index padded_row(const ConvolutionShape& s) {
  return (s.width + 2 * s.padding.x) * s.channels;
}
/// Returns the numbers of an image below with its horizontal padding, or 0 if there is none.
inline Index padded_size(const ConvolutionShape& s) {
  return s.padding.x == 0 ? 0 : s.height * padded_row(s);
}
/// Returns the image with zeros at the left and the right of each row, a copy in `memory` if there is any padding.
template <class T>
const T* pad_rows(const ConvolutionShape& s, const T* u, T* memory) {
  if (s.padding.x == 0) return u;
  const Index row = s.width * s.channels, zeros = s.padding.x * s.channels;
  T* to = memory;
  for (Index y = 0; y < s.height; ++y, u += row) {
    to = std::fill_n(to, zeros, T(0));
    to = std::copy_n(u, row, to);
    to = std::fill_n(to, zeros, T(0));
  }
  return memory;
}

/// Returns the numbers of an image below with its padding on all sides.
inline Index bordered_size(const ConvolutionShape& s) {
  return (s.height + 2 * s.padding.y) * padded_row(s);
}
/// Copies the image into `memory`, whose padding on all sides is 0 already.
template <class T>
void copy_inside(const ConvolutionShape& s, const T* u, T* memory) {
  const Index row = s.width * s.channels;
  T* to = memory + s.padding.y * padded_row(s) + s.padding.x * s.channels;
  for (Index y = 0; y < s.height; ++y, u += row, to += padded_row(s)) std::copy_n(u, row, to);
}

/// Returns the size of the lists of one group's winners: its pooled units and a vector, which kernels overwrite.
inline Index listed_size(const ConvolutionShape& s, Index pool, Index lanes) {
  return s.out_height / pool * (s.out_width / pool) * s.group_out_channels() + lanes;
}
/// Returns the positions of whole windows before the pooling.
inline Index listed_positions(const ConvolutionShape& s, Index pool) {
  return s.out_height / pool * (s.out_width / pool) * pool * pool;
}

/// Returns true if the gradient is faster from the winners' patches than from the unpooled image: if the dense products
/// of a unit take longer than its list.
inline bool patches_are_worth_it(const ConvolutionShape& s, Index pool, Index lanes) {
  return pool * pool * s.taps() * s.group_channels() >= 24 * lanes;
}

/// Throws InvalidArgument unless windows of max pooling fit.
void check_pool(const ConvolutionShape& shape, Index pool);
/// Throws InvalidArgument unless there is max pooling.
void check_winners(Index pool);

/// Rounds up to a multiple of a cache line.
template <class T>
constexpr Index whole_lines(Index numbers) {
  constexpr Index line = 64 / static_cast<Index>(sizeof(T));
  return (numbers + line - 1) / line * line;
}

/// At most so many pulls make one step; they lie on the stack.
constexpr Index most_pulls = 32;

/// Collects pulls and runs a step whenever the buffer is full and at the end: out = start + their sum.
template <class T>
class AddedPulls {
 public:
  /// `start` is `out`, or nullptr for zeros.
  AddedPulls(const Kernels<T>& kernels, Index rows, Index batch, const T* start, T* out,
             Index stride)
      : kernels_(kernels), step_{rows, batch, pulls_, 0, start, stride, nullptr, out, stride} {}
  AddedPulls(const AddedPulls&) = delete;
  AddedPulls& operator=(const AddedPulls&) = delete;

  void add(const Pull<T>& pull) {
    if (step_.num_pulls == most_pulls) run();
    pulls_[step_.num_pulls++] = pull;
  }
  void finish() {
    if (step_.num_pulls > 0 || step_.start == nullptr) run();
  }

 private:
  void run() {
    kernels_.accumulate(step_);
    step_.start = step_.out;
    step_.num_pulls = 0;
  }

  const Kernels<T>& kernels_;
  Pull<T> pulls_[most_pulls];
  LayerStep<T> step_;
};

}  // namespace equiprop
