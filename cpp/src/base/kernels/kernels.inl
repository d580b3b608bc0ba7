/// The kernels, compiled once per instruction set by generic.cpp, v2.cpp, v3.cpp and v4.cpp. Everything except the two
/// tables has internal linkage: the linker merges weak symbols, and a processor could then run code of an instruction
/// set that it lacks.
///
/// A panel is two vectors of output rows (one vector at the end, if the last rows fit into it), stored in the order in
/// which the kernel reads it: for each k the panel's rows of column k. A tile is a panel's rows of a few samples; its
/// accumulators stay in registers from the start over all neighbours to the response. Every output adds its products in
/// the order of k, whatever the width of its tile, so a sample's bits do not depend on the batch around it.

#include "tables.hpp"

namespace equiprop::EQUIPROP_KERNEL_ISA {
namespace {

// In this order: each part uses those before it.
#include "simd.inl"

#include "functions.inl"

#include "elementwise.inl"

#include "vectors.inl"

#include "tile.inl"

#include "rows.inl"

#include "pack.inl"

#ifdef EQUIPROP_COMPRESS
#include "compress_avx512.inl"
#endif

#include "winners.inl"

/// Calls run(column, columns) with tiles of nearly equal width: a narrow tile at the end would have too few
/// accumulators to hide the latency of its multiply-adds.
template <class Run>
EQUIPROP_INLINE void for_each_tile(Size batch, const Run& run) {
  const Size tiles = (batch + tile_columns - 1) / tile_columns;
  for (Size tile = 0, column = 0; tile < tiles; ++tile) {
    const Size columns = (batch - column + tiles - tile - 1) / (tiles - tile);
    run(column, columns);
    column += columns;
  }
}

template <class T, class Run>
EQUIPROP_INLINE void for_each_panel(Size rows, const Run& run) {
  for (Size row = 0; row < rows; row += panel_rows<T>) run(row);
}

/// Returns the bytes of a step's weights.
template <class T>
Size weight_bytes(const LayerStep<T>& step) {
  Size depth = 0;
  for (Size i = 0; i < step.num_pulls; ++i) depth += step.pulls[i].depth;
  return step.rows * depth * Size(sizeof(T));
}

/// Computes a layer step (Kernels::accumulate). Only a box response is computed in registers. Weights that do not fit
/// into L1 are read once: the outer loop is over panels, the inner one over samples; otherwise it is the other way
/// round. Weights that do not fit into L2 are prefetched for the next panel, if the batch has at least two tiles.
template <class T>
void accumulate(const LayerStep<T>& step) {
  LayerStep<T> tiles = step;
  const Response<T>* smooth = nullptr;
  if (step.response && step.response->kind != ResponseKind::box) {
    smooth = step.response;
    tiles.response = nullptr;
  }
  const Size bytes = weight_bytes(step);
  const bool ahead = bytes >= second_cache && step.batch >= 2 * tile_columns;
  const auto run = [&](Size row, Size column, Size columns) {
    Place<T> place = place_of(tiles, row, column);
    place.ahead = ahead && row + 2 * panel_rows<T> <= step.rows;
    run_any(tiles, smooth, place, columns);
  };
  if (step.by_rows)
    for (Size column = 0; column < step.batch; column += tile_columns)
      run_by_rows(tiles, smooth, column,
                  step.batch - column < tile_columns ? step.batch - column : tile_columns);
  else if (bytes <= first_cache)
    for_each_tile(step.batch, [&](Size column, Size columns) {
      for_each_panel<T>(step.rows, [&](Size row) { run(row, column, columns); });
    });
  else
    for_each_panel<T>(step.rows, [&](Size row) {
      for_each_tile(step.batch, [&](Size column, Size columns) { run(row, column, columns); });
    });
}

template <class T>
constexpr Kernels<T> table = {packed_size<T>, pack<T>,           by_rows<T>,      pack_by_rows<T>,
                              accumulate<T>,  largest_change<T>, largest_size<T>, inner<T>,
                              follow<T>,      turn<T>,           adam<T>,         lanes<T>,
                              exp<T>,         tanh<T>,           logistic<T>,
                              pool<T>,        list_winners<T>,   add_winners<T>,  add_patches<T>};

}  // namespace

const Kernels<float> single_kernels = table<float>;
const Kernels<double> double_kernels = table<double>;

}  // namespace equiprop::EQUIPROP_KERNEL_ISA
