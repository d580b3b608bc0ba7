#pragma once
/// One thread of a cluster of blocks that takes a tile of samples from the start of a computation to its end. Samples do
/// not depend on each other, so a cluster never waits for another one, and the host is not involved.
///
/// Every block holds vectors (units, Tile) of the tile in its shared memory, the samples of one unit side by side. For a
/// layer of many units it computes a slice and stores it in all blocks; a layer of few units is computed by every block,
/// one warp for each unit. The order of every sum depends on the network alone.

#include "network.cuh"

namespace equiprop::cuda {

constexpr int most_threads = 512, most_ranks = 16, warp = 32;
constexpr int depth_parts = 8, deep_from = 128;  ///< sums are divided into parts from this depth on

template <class T, int Tile>
class TileThread {
 public:
  /// Returns the shared memory of a block that holds `vectors` vectors, and for each sample `numbers` numbers and `integers`
  /// integers.
  static std::size_t bytes(const NetworkView<T>& network, int ranks, int vectors, int numbers,
                           int integers) {
    const int slice = largest_slice(network, ranks);
    const auto per_sample =
        static_cast<std::size_t>(vectors * network.units + numbers + depth_parts * slice);
    return Tile * (sizeof(T) * per_sample + sizeof(int) * static_cast<std::size_t>(integers));
  }

 protected:
  /// `vectors` and `numbers` are those of `bytes`.
  __device__ __forceinline__ TileThread(const NetworkView<T>& network, int vectors, int numbers)
      : network_(network),
        ranks_(static_cast<int>(cluster_size())),
        rank_(static_cast<int>(cluster_rank())),
        threads_(static_cast<int>(blockDim.x)),
        vectors_(shared_memory<T>()),
        numbers_(vectors_ + Tile * vectors * network.units),
        parts_(numbers_ + Tile * numbers),
        integers_(
            reinterpret_cast<int*>(parts_ + Tile * depth_parts * largest_slice(network, ranks_))) {}

  __device__ __forceinline__ T* vector(int number) const {
    return vectors_ + Tile * number * network_.units;
  }
  /// Number j of each sample.
  __device__ __forceinline__ T* number_of(int number) const { return numbers_ + Tile * number; }
  /// Integer j of each sample.
  __device__ __forceinline__ int* integer_of(int number) const { return integers_ + Tile * number; }
  __device__ __forceinline__ int cluster() const { return static_cast<int>(blockIdx.x) / ranks_; }
  __device__ __forceinline__ bool leads() const { return static_cast<int>(threadIdx.x) < Tile; }

  /// Waits for all threads of the cluster.
  __device__ __forceinline__ void sync() {
    if (ranks_ > 1)
      cluster_sync();
    else
      __syncthreads();
    parts_are_read_ = true;
  }

  __device__ __forceinline__ static void clear(T (&sum)[Tile]) {
#pragma unroll
    for (int j = 0; j < Tile; ++j) sum[j] = 0;
  }
  /// Stores a number in this block, or in all blocks of the cluster.
  __device__ __forceinline__ void store(T* place, T value, bool everywhere) const {
    if (!everywhere) {
      *place = value;
      return;
    }
#pragma unroll 1
    for (int r = 0; r < ranks_; ++r) *of_rank(place, static_cast<unsigned>(r)) = value;
  }
  /// Calls run(unit, j) for all units and samples of the tile, shared by the threads of the block.
  template <class Run>
  __device__ __forceinline__ void for_each_number(const Run& run) const {
    for (int e = threadIdx.x; e < network_.units * Tile; e += threads_) run(e / Tile, e % Tile);
  }
  /// Calls run(layer, unit of the layer, place) for all units and samples of the tile.
  template <class Run>
  __device__ __forceinline__ void for_each_unit(const Run& run) const {
    for (int k = 0; k < network_.layers; ++k) {
      const LayerView<T>& layer = network_.layer[k];
      for (int e = threadIdx.x; e < layer.units * Tile; e += threads_)
        run(layer.rho, layer.begin + e / Tile, e % Tile);
    }
  }

  /// Calls finish(unit of the layer, sample of the tile, sum, everywhere) with the pull of all neighbours on each unit of a
  /// layer, at these signals. If `everywhere`, the other blocks do not compute the unit.
  template <class Finish>
  __device__ __forceinline__ void pull_on(int k, const T* signals, const Finish& finish) {
    if (network_.layer[k].units <= few_units)
      pull_by_rows(network_.layer[k], signals, finish);
    else
      pull_by_columns(network_.layer[k], signals, finish);
  }

  const NetworkView<T>& network_;
  const int ranks_, rank_, threads_;
  T *vectors_, *numbers_, *parts_;
  int* integers_;
  bool parts_are_read_ = true;  ///< no thread of the block still reads parts of a sum

 private:
  __device__ __forceinline__ static int least(int a, int b) {
    return a < b ? a : b;
  }

  /// sum += products of weights w[d stride] and signals of the units d = begin, begin + by, ... below `end`.
  __device__ __forceinline__ static void add_products(const T* w, std::ptrdiff_t stride,
                                                      const T* signals, int begin, int end, int by,
                                                      T (&sum)[Tile]) {
#pragma unroll 8
    for (int d = begin; d < end; d += by) {
      const T weight = w[d * stride];
#pragma unroll
      for (int j = 0; j < Tile; ++j) sum[j] = fused(weight, signals[d * Tile + j], sum[j]);
    }
  }

  /// One warp for each unit; its lanes are units of the neighbours.
  template <class Finish>
  __device__ __forceinline__ void pull_by_rows(const LayerView<T>& layer, const T* signals,
                                               const Finish& finish) {
    const int lane = threadIdx.x % warp;
    for (int i = threadIdx.x / warp; i < layer.units; i += threads_ / warp) {
      T sum[Tile];
      clear(sum);
#pragma unroll 1
      for (int n = 0; n < layer.pulls; ++n) {
        const Pull<T>& pull = network_.pull[layer.first_pull + n];
        add_products(pull.by_depth + std::ptrdiff_t(i) * pull.depth, 1, signals + pull.begin * Tile,
                     lane, pull.depth, warp, sum);
      }
#pragma unroll
      for (int j = 0; j < Tile; ++j)
        for (int mask = warp / 2; mask > 0; mask /= 2)
          sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], mask);
      if (lane == 0) {
#pragma unroll
        for (int j = 0; j < Tile; ++j) finish(i, j, sum[j], false);
      }
      __syncwarp();
    }
  }

  /// One thread for each unit of the slice, or several that share the depth if there are more threads.
  template <class Finish>
  __device__ __forceinline__ void pull_by_columns(const LayerView<T>& layer, const T* signals,
                                                  const Finish& finish) {
    const int slice = slice_of(layer.units, ranks_), begin = slice * rank_;
    const int count = least(slice, layer.units - begin);
    const int parts = layer.depth >= deep_from ? depth_parts : 1;
    const bool shared = parts > 1 && 2 * slice <= threads_;
    if (shared) sum_parts(layer, signals, begin, slice, count, parts);
    for (int i = threadIdx.x; i < count; i += threads_) {
      T total[Tile] = {}, sum[Tile];
#pragma unroll 1
      for (int p = 0; p < parts; ++p) {
        if (shared)
#pragma unroll
          for (int j = 0; j < Tile; ++j) sum[j] = parts_[(p * slice + i) * Tile + j];
        else
          sum_part(layer, signals, begin + i, p, parts, sum);
#pragma unroll
        for (int j = 0; j < Tile; ++j) total[j] = p == 0 ? sum[j] : total[j] + sum[j];
      }
#pragma unroll
      for (int j = 0; j < Tile; ++j) finish(begin + i, j, total[j], ranks_ > 1);
    }
    if (shared) parts_are_read_ = false;
  }
  /// Stores the parts of the sums of a slice in parts_.
  __device__ __forceinline__ void sum_parts(const LayerView<T>& layer, const T* signals, int begin,
                                            int slice, int count, int parts) {
    if (!parts_are_read_) __syncthreads();
    for (int e = threadIdx.x; e < slice * parts; e += threads_) {
      if (e % slice >= count) continue;
      T sum[Tile];
      sum_part(layer, signals, begin + e % slice, e / slice, parts, sum);
#pragma unroll
      for (int j = 0; j < Tile; ++j) parts_[e * Tile + j] = sum[j];
    }
    __syncthreads();
  }
  /// sum = part p of the pull of all neighbours on a unit.
  __device__ __forceinline__ void sum_part(const LayerView<T>& layer, const T* signals, int unit,
                                           int p, int parts, T (&sum)[Tile]) const {
    const int begin = layer.depth * p / parts, end = layer.depth * (p + 1) / parts;
    clear(sum);
    int before = 0;  // units of the neighbours before this one
#pragma unroll 1
    for (int n = 0; n < layer.pulls; ++n) {
      const Pull<T>& pull = network_.pull[layer.first_pull + n];
      const int low = begin > before ? begin - before : 0, high = least(end - before, pull.depth);
      if (low < high)
        add_products(pull.by_unit + unit, layer.units, signals + pull.begin * Tile, low, high, 1,
                     sum);
      before += pull.depth;
    }
  }
};

}  // namespace equiprop::cuda
