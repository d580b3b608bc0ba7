#pragma once
/// The product of two tiles in shared memory by a block of 256 threads, each of which holds Part * Part numbers of the
/// result: by multiplications that are rounded once with the addition, or on tensor cores.

#include "equiprop/cuda/precision.hpp"
#include "tensor.hpp"

namespace equiprop::cuda {

constexpr int tile_depth = 16, product_threads = 256;
/// Numbers between the rows of a tile, so that the lanes of a warp read different banks.
constexpr int tile_gap = 8, tile_gap_of_pairs = 4;

/// Exact products. A tile (side, 16) lies in memory with neighbours along its side side by side.
template <class T, int Part, Precision P>
struct Multiplier {
  static constexpr int side = 16 * Part, stride = side + tile_gap;
  static constexpr int group = Part < 4 ? Part : 4;  ///< neighbours that a thread reads at once

  __device__ __forceinline__ static int place(int thread, int i) {
    return i / group * (16 * group) + thread * group + i % group;
  }
  /// Row and column in the tile of number e of a thread.
  ///@{
  __device__ __forceinline__ static int row(int e) {
    return place(static_cast<int>(threadIdx.x) % 16, e / Part);
  }
  __device__ __forceinline__ static int column(int e) {
    return place(static_cast<int>(threadIdx.x) / 16, e % Part);
  }
  ///@}
  /// sum += a b^T for tiles a and b
  __device__ __forceinline__ static void add(const T* a, const T* b, T (&sum)[Part * Part]) {
#pragma unroll
    for (int d = 0; d < tile_depth; ++d) {
      T left[Part], right[Part];
#pragma unroll
      for (int i = 0; i < Part; ++i) left[i] = a[d * stride + row(i * Part)];
#pragma unroll
      for (int j = 0; j < Part; ++j) right[j] = b[d * stride + column(j)];
#pragma unroll
      for (int i = 0; i < Part; ++i)
#pragma unroll
        for (int j = 0; j < Part; ++j)
          sum[i * Part + j] = fused(left[i], right[j], sum[i * Part + j]);
    }
  }
};

/// The factors of a tile of 16 rows, or of one of 8 columns, as the words of a lane.
template <int Words, Precision P>
struct Factors {
  std::uint32_t large[Words], small[P == Precision::tf32x3 ? Words : 1];

  /// Reads word `i` at place `at` of a tile, whose neighbours along k are `stride` apart.
  __device__ __forceinline__ void read(int i, const float* at, int stride) {
    if constexpr (P == Precision::bf16) {
      large[i] = to_bf16(at[0], at[stride]);
    } else {
      large[i] = to_tf32(at[0]);
      if constexpr (P == Precision::tf32x3) small[i] = to_tf32(at[0] - from_bits(large[i]));
    }
  }
};

/// Products on tensor cores. The warps form a rectangle; each computes tiles of 16 rows and 8 columns.
template <int Part, Precision P>
requires(P != Precision::exact) struct Multiplier<float, Part, P> {
  static constexpr int side = 16 * Part;
  static constexpr int stride = side + (P == Precision::bf16 ? tile_gap_of_pairs : tile_gap);
  static constexpr int warps_of_rows = Part == 2 ? 2 : 4, warps_of_columns = 8 / warps_of_rows;
  static constexpr int down = Part / warps_of_rows;            ///< tiles of a warp
  static constexpr int across = 2 * Part / warps_of_columns;   ///< tiles of a warp
  static constexpr int packed = P == Precision::bf16 ? 2 : 1;  ///< numbers of a word

  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ __forceinline__ static int first_row() {
    return static_cast<int>(threadIdx.x) / 32 % warps_of_rows * (16 * down);
  }
  __device__ __forceinline__ static int first_column() {
    return static_cast<int>(threadIdx.x) / 32 / warps_of_rows * (8 * across);
  }
  /// Number e of a thread is number e % 4 of the tile e / 4 of its warp.
  ///@{
  __device__ __forceinline__ static int row(int e) {
    return first_row() + e / 4 / across * 16 + lane() / 4 + e % 4 / 2 * 8;
  }
  __device__ __forceinline__ static int column(int e) {
    return first_column() + e / 4 % across * 8 + lane() % 4 * 2 + e % 2;
  }
  ///@}
  __device__ __forceinline__ static void add(const float* a, const float* b,
                                             float (&sum)[Part * Part]) {
#pragma unroll
    for (int d = 0; d < tile_depth; d += 8 * packed) {
      const int k = d + lane() % 4 * packed, i = lane() / 4;
      Factors<4, P> left[down];
      Factors<2, P> right[across];
#pragma unroll
      for (int m = 0; m < down; ++m)
#pragma unroll
        for (int w = 0; w < 4; ++w)
          left[m].read(w,
                       a + (k + w / 2 * 4 * packed) * stride + first_row() + m * 16 + i + w % 2 * 8,
                       stride);
#pragma unroll
      for (int n = 0; n < across; ++n)
#pragma unroll
        for (int w = 0; w < 2; ++w)
          right[n].read(w, b + (k + w * 4 * packed) * stride + first_column() + n * 8 + i, stride);
#pragma unroll
      for (int m = 0; m < down; ++m)
#pragma unroll
        for (int n = 0; n < across; ++n)
          multiply(left[m], right[n], *reinterpret_cast<float(*)[4]>(sum + 4 * (m * across + n)));
    }
  }

 private:
  /// sum += left right; of three products, the small ones come first.
  __device__ __forceinline__ static void multiply(const Factors<4, P>& left,
                                                  const Factors<2, P>& right, float (&sum)[4]) {
    if constexpr (P == Precision::bf16) {
      multiply_bf16(left.large, right.large, sum);
    } else {
      if constexpr (P == Precision::tf32x3) {
        multiply_tf32(left.small, right.large, sum);
        multiply_tf32(left.large, right.small, sum);
      }
      multiply_tf32(left.large, right.large, sum);
    }
  }
};

}  // namespace equiprop::cuda
