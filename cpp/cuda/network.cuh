#pragma once
/// A network as a parameter of kernels.

#include "units.cuh"

namespace equiprop::cuda {

constexpr int most_layers = 12, most_pulls = 32;
constexpr int few_units = 32;  ///< a layer of at most so many units is computed by every block

/// The weights by which a layer pulls on another one.
template <class T>
struct Pull {
  int begin;          ///< first unit of the layer that pulls
  int depth;          ///< number of its units
  const T* by_unit;   ///< weights with the units of the other layer side by side
  const T* by_depth;  ///< weights with the units of the layer that pulls side by side
};

template <class T>
struct LayerView {
  Units<T> rho;
  int units, begin;       ///< number of units, first unit in a state
  int first_pull, pulls;  ///< the pulls of other free layers
  int depth;              ///< sum of their depths
};

/// Free layers, numbered from 0; the last one holds the outputs.
template <class T>
struct NetworkView {
  int layers, units, outputs, blocks;
  bool own_signals;  ///< some signal differs from its state
  LayerView<T> layer[most_layers];
  Pull<T> pull[most_pulls];
  int order[most_layers];      ///< layers, block by block
  int block_end[most_layers];  ///< end of each block in `order`
};

/// Returns how many units of a layer one block of a cluster computes.
__device__ __host__ inline int slice_of(int units, int ranks) {
  return (units + ranks - 1) / ranks;
}

/// Returns the largest slice of the layers that a cluster divides.
template <class T>
__device__ __host__ int largest_slice(const NetworkView<T>& network, int ranks) {
  int largest = 0;
  for (int k = 0; k < network.layers; ++k) {
    const int units = network.layer[k].units, slice = slice_of(units, ranks);
    if (units > few_units && slice > largest) largest = slice;
  }
  return largest;
}

}  // namespace equiprop::cuda
