#pragma once
/// out(m, n) = sum_k a(m, k) b(n, k) for several products in one launch: the drive by the input, the gradients of weights and
/// biases, and the derivative by the input.
///
/// The sum over k is divided into chunks whose length depends on the depth alone. Each chunk is summed in order, and the
/// sums of the chunks are added in order. One block computes all chunks of a tile, or the blocks of a cluster take them in
/// turns; the bits are equal.

#include "multiplier.cuh"

namespace equiprop::cuda {

constexpr int most_products = 32;  ///< in one launch, whose parameters have at most 4096 bytes
constexpr int rows_of_sums = 32;   ///< rows of a block that sums rows

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

/// One product, or, with 0 columns, the sums of the rows of `a`, which are float32 or float64 in every precision.
template <class T>
struct Product {
  int rows, columns, depth, chunk;
  Strided<T> a, b;
  Target<T> out;
  int first_tile = 0;  ///< number of its first tile in the launch

  /// Returns the number of its tiles.
  __device__ __host__ int tiles(int side) const {
    if (columns == 0) return (rows + rows_of_sums - 1) / rows_of_sums;
    return tiles_of_rows(side) * ((columns + side - 1) / side);
  }
  __device__ __host__ int tiles_of_rows(int side) const { return (rows + side - 1) / side; }
  __device__ __host__ int chunks() const { return (depth + chunk - 1) / chunk; }
};

template <class T>
struct Products {
  int count;
  Product<T> of[most_products];
};

/// Returns the bytes of shared memory of a block, one of `ranks` blocks of a cluster.
template <class T>
constexpr std::size_t product_shared(int side, int ranks) {
  const int tiles = 4 * (side + tile_gap) * tile_depth, sums = ranks > 1 ? side * side : 0;
  return sizeof(T) * static_cast<std::size_t>(tiles > sums ? tiles : sums);
}

/// One thread of a block that computes one tile of a product, side by side with the other blocks of its cluster.
template <class T, int Part, Precision P>
class ProductThread {
  using Tile = Multiplier<T, Part, P>;
  static constexpr int side = Tile::side, numbers = Part * Part;

 public:
  __device__ __forceinline__ ProductThread(const Product<T>& product, int tile)
      : product_(product),
        tiles_(shared_memory<T>()),
        m0_(tile % product.tiles_of_rows(side) * side),
        n0_(tile / product.tiles_of_rows(side) * side),
        ranks_(static_cast<int>(gridDim.z)),
        rank_(static_cast<int>(blockIdx.z)) {}

  __device__ __forceinline__ void run() {
    T total[numbers] = {};
    const int chunks = product_.chunks();
#pragma unroll 1
    for (int first = 0; first < chunks; first += ranks_) {
      T sum[numbers] = {};
      if (first + rank_ < chunks) sum_chunk(first + rank_, sum);
      if (ranks_ > 1) {
        add_sums_of_ranks(first, chunks, sum, total);
      } else {
#pragma unroll
        for (int e = 0; e < numbers; ++e) total[e] = first == 0 ? sum[e] : total[e] + sum[e];
      }
    }
    store(total);
  }

 private:
  __device__ __forceinline__ T* tile(int buffer) const {
    return tiles_ + 2 * buffer * Tile::stride * tile_depth;
  }
  /// Adds a chunk to sum. The numbers of the next tile are read while one is multiplied.
  __device__ __forceinline__ void sum_chunk(int number, T (&sum)[numbers]) {
    const int begin = number * product_.chunk, most = begin + product_.chunk;
    const int end = most < product_.depth ? most : product_.depth;
    T a[Part], b[Part];
    const auto read = [&](int k) EQUIPROP_INLINED {
      read_tile(product_.a, m0_, product_.rows, k, end, a);
      read_tile(product_.b, n0_, product_.columns, k, end, b);
    };
    const auto write = [&](int buffer) EQUIPROP_INLINED {
      write_tile(product_.a, a, tile(buffer));
      write_tile(product_.b, b, tile(buffer) + Tile::stride * tile_depth);
      __syncthreads();
    };
    read(begin);
    write(0);
    int buffer = 0;
#pragma unroll 1
    for (int k = begin; k < end; k += tile_depth, buffer = 1 - buffer) {
      const bool more = k + tile_depth < end;
      if (more) read(k + tile_depth);
      Tile::add(tile(buffer), tile(buffer) + Tile::stride * tile_depth, sum);
      if (more) write(1 - buffer);
    }
    __syncthreads();  // the next chunk writes to any buffer
  }
  /// Place (i, d) of number e of a thread in a tile; neighbours in memory are read by neighbours.
  __device__ __forceinline__ static int place(const Strided<T>& matrix, int e, int& d) {
    const int at = static_cast<int>(threadIdx.x) + e * product_threads;
    d = matrix.column == 1 ? at % tile_depth : at / side;
    return matrix.column == 1 ? at / tile_depth : at % side;
  }
  /// Reads elements [first, first + side) x [k, end) of a matrix; zeros outside.
  __device__ __forceinline__ static void read_tile(const Strided<T>& matrix, int first, int rows,
                                                   int k, int end, T (&to)[Part]) {
#pragma unroll
    for (int e = 0; e < Part; ++e) {
      int d = 0;
      const int i = first + place(matrix, e, d);
      to[e] = i < rows && k + d < end ? matrix(i, k + d) : T(0);
    }
  }
  __device__ __forceinline__ static void write_tile(const Strided<T>& matrix, const T (&from)[Part],
                                                    T* to) {
#pragma unroll
    for (int e = 0; e < Part; ++e) {
      int d = 0;
      const int i = place(matrix, e, d);
      to[d * Tile::stride + i] = from[e];
    }
  }

  // The blocks of a cluster share the numbers of a tile: each adds the sums of all of them for its share.

  __device__ __forceinline__ int share() const {
    return side * side / ranks_;
  }
  /// Number e of a thread's share, or -1.
  __device__ __forceinline__ int shared(int e) const {
    const int at = static_cast<int>(threadIdx.x) + e * product_threads;
    return at < share() ? rank_ * share() + at : -1;
  }
  __device__ __forceinline__ void add_sums_of_ranks(int first, int chunks, const T (&sum)[numbers],
                                                    T (&total)[numbers]) {
    T* const sums = tiles_;  // (rows, columns) of the tile
#pragma unroll
    for (int e = 0; e < numbers; ++e) sums[Tile::row(e) + Tile::column(e) * side] = sum[e];
    cluster_sync();
    const int present = first + ranks_ < chunks ? ranks_ : chunks - first;
#pragma unroll
    for (int e = 0; e < numbers; ++e) {
      if (shared(e) < 0) continue;
#pragma unroll 1
      for (int r = 0; r < present; ++r) {
        const T of_chunk = of_rank(sums, static_cast<unsigned>(r))[shared(e)];
        total[e] = first + r == 0 ? of_chunk : total[e] + of_chunk;
      }
    }
    cluster_sync();  // no block leaves, or goes on, while others read its sums
  }

  __device__ __forceinline__ void store(const T (&total)[numbers]) const {
#pragma unroll
    for (int e = 0; e < numbers; ++e) {
      const int at = ranks_ > 1 ? shared(e) : Tile::row(e) + Tile::column(e) * side;
      const int m = m0_ + at % side, n = n0_ + at / side;
      if (at >= 0 && m < product_.rows && n < product_.columns) product_.out(m, n, total[e]);
    }
  }

  const Product<T>& product_;
  T* const tiles_;
  const int m0_, n0_, ranks_, rank_;
};

/// Sums rows: a lane takes one row, and the warps take chunks in turns.
template <class T>
__device__ void sum_rows(const Product<T>& product, int tile) {
  constexpr int warps = product_threads / 32;
  T* const sums = shared_memory<T>();
  const int lane = static_cast<int>(threadIdx.x) % 32, w = static_cast<int>(threadIdx.x) / 32;
  const int m = tile * rows_of_sums + lane, chunks = product.chunks();
  T total = 0;
  for (int first = 0; first < chunks; first += warps) {
    const int begin = (first + w) * product.chunk, most = begin + product.chunk;
    T sum = 0;
    if (m < product.rows)
#pragma unroll 4
      for (int k = begin; k < most && k < product.depth; ++k) sum += product.a(m, k);
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int c = 0; w == 0 && c < warps && first + c < chunks; ++c)
      total = first + c == 0 ? sums[lane] : total + sums[c * 32 + lane];
    __syncthreads();
  }
  if (w == 0 && m < product.rows) product.out(m, 0, total);
}

/// Launched on grid (tiles of all products, 1, blocks of a cluster), in tiles of side 16 * Part.
template <class T, int Part, Precision P>
__global__ void __launch_bounds__(product_threads, Part == 8 ? 1 : 2)
    multiply(const __grid_constant__ Products<T> products) {
  int n = 0;
  while (n + 1 < products.count && static_cast<int>(blockIdx.x) >= products.of[n + 1].first_tile)
    ++n;
  const Product<T>& product = products.of[n];
  const int tile = static_cast<int>(blockIdx.x) - product.first_tile;
  if (product.columns > 0)
    ProductThread<T, Part, P>(product, tile).run();
  else if (blockIdx.z == 0)
    sum_rows(product, tile);
}

}  // namespace equiprop::cuda
