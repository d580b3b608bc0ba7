#pragma once
/// out(m, n) = sum_k a(m, k) b(n, k): the drive by the input, the gradients of weights, and those of inputs.
///
/// The sum over k is divided into chunks whose length depends on the depth alone. Each chunk is summed in order, and the
/// sums of the chunks are added in order. One block computes all chunks of a tile, or a cluster one each; the bits are
/// equal.

#include "device.hpp"

namespace equiprop::cuda {

constexpr int tile_depth = 16, product_threads = 256;

/// A matrix in memory: element (i, k) is data[i * row + k * column].
template <class T>
struct Strided {
  const T* data;
  std::ptrdiff_t row, column;
  __device__ T operator()(int i, int k) const { return data[i * row + k * column]; }
};

/// Stores numbers: out(m, n) = factor * sum, plus `offset` (m,) if it is not nullptr, plus the old number if `add`.
template <class T>
struct Target {
  T* out;
  std::ptrdiff_t stride;
  T factor;
  const T* offset;
  bool add;
  __device__ void operator()(int m, int n, T sum) const {
    T& at = out[m + n * stride];
    T value = factor * sum;
    if (offset != nullptr) value += offset[m];
    at = add ? at + value : value;
  }
};

/// Returns the bytes of shared memory of a block.
template <class T>
constexpr std::size_t product_shared(int side) {
  const int tiles = 2 * side * tile_depth, sums = side * side;
  return sizeof(T) * static_cast<std::size_t>(tiles > sums ? tiles : sums);
}

/// Copies elements [first, first + side) x [k, end) of a matrix, transposed; zeros outside.
template <class T>
__device__ void load_tile(const Strided<T>& matrix, int first, int side, int rows, int k, int end,
                          T* tile) {
  const bool deep = matrix.column == 1;  // neighbours in memory are neighbours along k
  for (int e = threadIdx.x; e < side * tile_depth; e += product_threads) {
    const int i = deep ? e / tile_depth : e % side, d = deep ? e % tile_depth : e / side;
    tile[d * side + i] = first + i < rows && k + d < end ? matrix(first + i, k + d) : T(0);
  }
}

/// Launched on grid (rows, columns) in tiles of side 16 * Part, z = 1 or the number of chunks, which is then a cluster.
template <class T, int Part>
__global__ void __launch_bounds__(product_threads, 2)
    product(int rows, int columns, int depth, int chunk, const __grid_constant__ Strided<T> a,
            const __grid_constant__ Strided<T> b, const __grid_constant__ Target<T> out) {
  constexpr int side = 16 * Part;
  T* const tile_a = shared_memory<T>();
  T* const tile_b = tile_a + side * tile_depth;
  const int m0 = static_cast<int>(blockIdx.x) * side, n0 = static_cast<int>(blockIdx.y) * side;
  const int m = static_cast<int>(threadIdx.x) % 16 * Part;
  const int n = static_cast<int>(threadIdx.x) / 16 * Part;
  T total[Part][Part] = {}, sum[Part][Part];
  const bool split = gridDim.z > 1;
  for (int begin = split ? static_cast<int>(blockIdx.z) * chunk : 0; begin < depth;
       begin += chunk) {
    const int end = begin + chunk < depth ? begin + chunk : depth;
    for (int i = 0; i < Part; ++i)
      for (int j = 0; j < Part; ++j) sum[i][j] = 0;
    for (int k = begin; k < end; k += tile_depth) {
      __syncthreads();
      load_tile(a, m0, side, rows, k, end, tile_a);
      load_tile(b, n0, side, columns, k, end, tile_b);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < tile_depth; ++d) {
        T left[Part], right[Part];
#pragma unroll
        for (int i = 0; i < Part; ++i) left[i] = tile_a[d * side + m + i];
#pragma unroll
        for (int j = 0; j < Part; ++j) right[j] = tile_b[d * side + n + j];
#pragma unroll
        for (int i = 0; i < Part; ++i)
#pragma unroll
          for (int j = 0; j < Part; ++j) sum[i][j] = fused(left[i], right[j], sum[i][j]);
      }
    }
    if (split) break;
    for (int i = 0; i < Part; ++i)
      for (int j = 0; j < Part; ++j) total[i][j] = begin == 0 ? sum[i][j] : total[i][j] + sum[i][j];
  }
  if (!split) {
    for (int j = 0; j < Part; ++j)
      for (int i = 0; i < Part; ++i)
        if (m0 + m + i < rows && n0 + n + j < columns) out(m0 + m + i, n0 + n + j, total[i][j]);
    return;
  }
  T* const sums = tile_a;  // (rows, columns) of the tile
  __syncthreads();
  for (int j = 0; j < Part; ++j)
    for (int i = 0; i < Part; ++i) sums[m + i + (n + j) * side] = sum[i][j];
  cluster_sync();
  const int ranks = static_cast<int>(cluster_size()), share = side * side / ranks;
  const int first = static_cast<int>(cluster_rank()) * share;
  for (int e = first + threadIdx.x; e < first + share; e += product_threads) {
    T value = of_rank(sums, 0)[e];
    for (int r = 1; r < ranks; ++r) value += of_rank(sums, static_cast<unsigned>(r))[e];
    const int row = m0 + e % side, column = n0 + e / side;
    if (row < rows && column < columns) out(row, column, value);
  }
  cluster_sync();  // no block leaves while others read its sums
}

}  // namespace equiprop::cuda
