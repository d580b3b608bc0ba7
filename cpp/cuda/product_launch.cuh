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

  static constexpr int multiprocessors = 132;  ///< of the device for which a division is chosen
  static constexpr int most_blocks = 8;        ///< of a cluster
  /// 64 sums of float64 do not fit into the registers of a thread.
  static constexpr int largest_side = sizeof(T) == 4 ? 128 : 64;

  /// A division, and its estimated time in cycles of a multiprocessor.
  struct Choice {
    int side, ranks;
    double cycles;
  };

  /// Returns the estimated cycles of a multiprocessor for one step: two tiles of depth 16 are multiplied. They follow from the
  /// multiplications and the loads from shared memory of a thread, or from the latency of the next tile.
  static double cycles_of_step(int of_side) {
    return of_side == 32 ? 320 : of_side == 64 ? 720 : 2720;
  }
  static Choice estimate(const Products<T>& products, int of_side, int ranks) {
    constexpr double of_block = 1200, of_cluster = 900;
    double steps = 0, longest = 0, blocks = 0;
    for (int n = 0; n < products.count; ++n) {
      const Product<T>& product = products.of[n];
      if (product.columns == 0 || product.depth == 0) continue;
      const int turns = (product.chunks() + ranks - 1) / ranks;
      const double mine = turns * ((std::min(product.chunk, product.depth) + 15) / 16);
      blocks += product.tiles(of_side) * ranks;
      steps += product.tiles(of_side) * ranks * mine;
      longest = std::max(longest, mine);
    }
    const double of_one = std::max(steps / multiprocessors, longest) * cycles_of_step(of_side);
    const double waves = std::max(1.0, blocks / multiprocessors);
    return {of_side, ranks, of_one + waves * of_block + (ranks > 1 ? of_cluster : 0)};
  }
  Choice choose(const Products<T>& products) const {
    int chunks = 1;
    for (int n = 0; n < products.count; ++n)
      if (products.of[n].columns > 0) chunks = std::max(chunks, products.of[n].chunks());
    Choice best{0, 1, 0};
    for (int s = 32; s <= largest_side; s *= 2) {
      if (side > 0 && s != std::min(side, largest_side)) continue;
      for (int ranks = 1; ranks <= (clusters ? std::min(most_blocks, 2 * chunks - 1) : 1);
           ranks *= 2) {
        const Choice one = estimate(products, s, ranks);
        if (best.side == 0 || one.cycles < best.cycles) best = one;
      }
    }
    return best;
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
    const Choice choice = choose(products);
    int count = 0;
    for (int n = 0; n < products.count; ++n) {
      products.of[n].first_tile = count;
      count += products.of[n].tiles(choice.side);
    }
    const auto blocks = static_cast<unsigned>(choice.ranks);
    const Shape shape{dim3(static_cast<unsigned>(count), 1, blocks), product_threads,
                      dim3(1, 1, blocks), product_shared<T>(choice.side, choice.ranks)};
    return cuda::launch(kernel_of(choice.side), shape, stream, products);
  }
};

}  // namespace equiprop::cuda
