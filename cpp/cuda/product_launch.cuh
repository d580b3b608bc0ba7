#pragma once
/// The division of products into tiles and clusters.

#include <algorithm>

#include "product.cuh"

namespace equiprop::cuda {

/// Launches products, in a division that depends on their sizes. The bits do not depend on it.
template <class T>
struct Launcher {
  Precision precision;
  int side;       ///< rows and columns of a tile, or 0 to choose
  bool clusters;  ///< blocks may share the depth of a tile
  static constexpr int blocks_of_wide = 132,
                       blocks_of_middle = 66;  ///< for one or half of the multiprocessors
  static constexpr int most_blocks = 8;        ///< of a cluster
  /// 64 sums of float64 do not fit into the registers of a thread.
  static constexpr int largest_side = sizeof(T) == 4 ? 128 : 64;

  static int tiles(const Products<T>& products, int of_side) {
    int count = 0;
    for (int n = 0; n < products.count; ++n) count += products.of[n].tiles(of_side);
    return count;
  }
  /// Returns the blocks that share the depth of a tile: the fewest that keep all multiprocessors at work.
  int ranks(const Products<T>& products, int of_side) const {
    int chunks = 1;
    for (int n = 0; n < products.count; ++n) chunks = std::max(chunks, products.of[n].chunks());
    int ranks = 1;
    while (clusters && ranks < most_blocks && ranks < chunks &&
           tiles(products, of_side) * ranks < blocks_of_wide)
      ranks *= 2;
    return ranks;
  }
  int chosen_side(const Products<T>& products) const {
    if (side > 0) return std::min(side, largest_side);
    const auto blocks = [&](int s) { return tiles(products, s) * ranks(products, s); };
    if (blocks(largest_side) >= blocks_of_wide) return largest_side;
    return blocks(64) >= blocks_of_middle ? 64 : 32;
  }
  template <int Part>
  static auto kernel(Precision precision) {
    if constexpr (sizeof(T) == 4) {
      switch (precision) {
        case Precision::tf32:
          return &cuda::multiply<T, Part, Precision::tf32>;
        case Precision::tf32x3:
          return &cuda::multiply<T, Part, Precision::tf32x3>;
        case Precision::bf16:
          return &cuda::multiply<T, Part, Precision::bf16>;
        case Precision::exact:
          break;
      }
    }
    return &cuda::multiply<T, Part, Precision::exact>;
  }
  auto kernel_of(int of_side) const {
    if constexpr (largest_side == 128)
      if (of_side == 128) return kernel<8>(precision);
    return of_side == 32 ? kernel<2>(precision) : kernel<4>(precision);
  }

  cudaError_t launch(Products<T>& products, cudaStream_t stream) const {
    const int s = chosen_side(products), z = ranks(products, s);
    int count = 0;
    for (int n = 0; n < products.count; ++n) {
      products.of[n].first_tile = count;
      count += products.of[n].tiles(s);
    }
    const auto blocks = static_cast<unsigned>(z);
    const Shape shape{dim3(static_cast<unsigned>(count), 1, blocks), product_threads,
                      dim3(1, 1, blocks), product_shared<T>(s, z)};
    return cuda::launch(kernel_of(s), shape, stream, products);
  }
};

}  // namespace equiprop::cuda
