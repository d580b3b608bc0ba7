#pragma once
/// Arrays of several types in the scratch memory of a convolution.

#include <cstdint>
#include <new>

#include "base/convolution_geometry.hpp"

namespace equiprop {

/// Divides memory into arrays that begin at multiples of 64 bytes. Without memory it only counts the bytes.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(static_cast<std::byte*>(memory)) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if (memory != nullptr) used_ = static_cast<Index>((line - address % line) % line);
  }

  /// Returns an array of `count` numbers, which are not initialised.
  template <class U>
  U* take(Index count) {
    std::byte* at = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count * static_cast<Index>(sizeof(U)) + line - 1) / line * line;
    if (at == nullptr || count == 0) return nullptr;
    return ::new (static_cast<void*>(at)) U[static_cast<std::size_t>(count)];
  }

  /// Returns the numbers of type T that hold what was taken, wherever the memory begins.
  template <class T>
  Index size() const {
    return used_ == 0 ? 0 : (used_ + line) / static_cast<Index>(sizeof(T));
  }

 private:
  static constexpr Index line = 64;
  std::byte* memory_;
  Index used_ = 0;
};

/// Returns the columns of the image above that windows cover.
inline Index pooled_columns(const ConvolutionShape& s, Index pool) {
  return s.out_width / pool * pool;
}

/// Memory of PackedConvolution::add_forward and add_pooled.
template <class T>
struct ForwardScratch {
  T* padded;  ///< the image with its horizontal padding, if there is any
  T* rows;    ///< rows of one row of windows, one panel of channels
  ForwardScratch(const ConvolutionShape& s, Index pool, Index panel, Scratch& scratch)
      : padded(scratch.take<T>(padded_size(s))),
        rows(scratch.take<T>(pool == 1 ? 0 : pool * pooled_columns(s, pool) * panel)) {}
};

/// Memory of PackedConvolution::add_pooled_from_units: lists of the units below of one group that are not zero.
template <class T>
struct UnitsScratch {
  T* signals;
  int* places;
  Index* begin;
  std::uint8_t* winners;  ///< zeros: every position is the winner of its window
  T* rows;                ///< the image before the maximum, one panel of channels
  UnitsScratch(const ConvolutionShape& s, Index pool, Index lanes, Scratch& scratch)
      : signals(scratch.take<T>(s.height * s.width * s.group_channels() + lanes)),
        places(scratch.take<int>(s.height * s.width * s.group_channels() + lanes)),
        begin(scratch.take<Index>(s.height * s.width + 1)),
        winners(scratch.take<std::uint8_t>(s.size())),
        rows(scratch.take<T>(pool * (s.out_height / pool) * pooled_columns(s, pool) * 2 * lanes)) {}
};

/// Memory of PackedConvolution::add_transposed_from_winners: lists of the winners of one group.
template <class T>
struct WinnersScratch {
  T* signals;
  int* places;
  Index* begin;
  WinnersScratch(const ConvolutionShape& s, Index pool, Index lanes, Scratch& scratch)
      : signals(scratch.take<T>(listed_size(s, pool, lanes))),
        places(scratch.take<int>(listed_size(s, pool, lanes))),
        begin(scratch.take<Index>(listed_positions(s, pool) + 1)) {}
};

}  // namespace equiprop
