/// The kernels, compiled once per instruction set by the files beside this one. Everything but the two tables has
/// internal linkage: a merged weak symbol would run one instruction set's code on another's processor.
///
/// A panel is two vectors of output rows (one at the end, where one holds them), stored as the kernel reads
/// it: for each k the panel's rows of column k. A tile is a panel's rows of a few samples; its accumulators stay
/// in registers from the start over all neighbours to the response. Each output adds its products in the order
/// of k in every tile, whatever its width; so a sample's bits do not depend on the batch around it.

#include "tables.hpp"

namespace equiprop::EQUIPROP_KERNEL_ISA {
namespace {

#define EQUIPROP_INLINE [[gnu::always_inline]] inline
#if defined(__clang__)
#define EQUIPROP_UNROLL _Pragma("unroll")
#define EQUIPROP_UNROLL_BY_4 _Pragma("unroll 4")
#else
#define EQUIPROP_UNROLL _Pragma("GCC unroll 16")
#define EQUIPROP_UNROLL_BY_4 _Pragma("GCC unroll 4")
#endif

using Size = std::ptrdiff_t;

constexpr int tile_columns = EQUIPROP_TILE_COLUMNS;
constexpr int panel_vectors = 2;

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef int Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  static constexpr int magnitude = 0x7fffffff;
};
template <>
struct Simd<double> {
  typedef double Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef long long Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  static constexpr long long magnitude = 0x7fffffffffffffff;
};
template <class T>
using Vector = typename Simd<T>::Vector;

/// Numbers in a vector.
template <class T>
constexpr Size lanes = EQUIPROP_VECTOR_BYTES / sizeof(T);
template <class T>
constexpr Size panel_rows = panel_vectors* lanes<T>;

template <class T>
EQUIPROP_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
EQUIPROP_INLINE void store(T* to, const Vector<T>& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// c += a * b. Fused by name where the processor can, since the project compiles with contraction off (and the
/// response is to round like Units::respond).
template <class T>
EQUIPROP_INLINE void multiply_add(const Vector<T>& a, const Vector<T>& b, Vector<T>& c) {
#ifdef EQUIPROP_MULTIPLY_ADD_FLOAT
  if constexpr (sizeof(T) == sizeof(float))
    c = EQUIPROP_MULTIPLY_ADD_FLOAT(a, b, c);
  else
    c = EQUIPROP_MULTIPLY_ADD_DOUBLE(a, b, c);
#else
  c += a * b;
#endif
}

/// The first `count` numbers, fewer than a vector, in a few moves of fixed size.
template <class T>
EQUIPROP_INLINE void copy_numbers(const T* from, T* to, Size count) {
  EQUIPROP_UNROLL
  for (Size size = panel_rows<T> / 2; size > 0; size /= 2) {
    if ((count & size) == 0) continue;
    for (Size i = 0; i < size; ++i) to[i] = from[i];
    from += size;
    to += size;
  }
}

// ---------------------------------------------------------------------------- functions

#include "functions.inl"

// ---------------------------------------------------------------------------- one tile

template <class T, int vectors, int columns>
struct Tile {
  Vector<T> at[columns][vectors];
};

template <class T, int vectors, int columns>
EQUIPROP_INLINE void begin_tile(const T* start, Size stride, Tile<T, vectors, columns>& tile) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      tile.at[j][v] = start ? load(start + j * stride + v * lanes<T>) : Vector<T>{};
  }
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void add_pull(const T* w, Size depth, const T* u, Size stride, Size step,
                              Tile<T, vectors, columns>& tile) {
  // A tenth faster for few samples.
  EQUIPROP_UNROLL_BY_4
  for (Size k = 0; k < depth; ++k, w += vectors * lanes<T>, u += step) {
    Vector<T> weights[vectors];
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v) weights[v] = load(w + v * lanes<T>);
    EQUIPROP_UNROLL
    for (int j = 0; j < columns; ++j) {
      const Vector<T> signal = u[j * stride] - Vector<T>{};  // in every lane
      EQUIPROP_UNROLL
      for (int v = 0; v < vectors; ++v) multiply_add<T>(signal, weights[v], tile.at[j][v]);
    }
  }
}

template <class T>
EQUIPROP_INLINE void respond(const Response<T>& box, const T* force, Vector<T>& p) {
  p = box.gain * p;
  if (force) p = (p + box.force_gain * load(force)) / box.curvature;
  const Vector<T> lower = box.lower - Vector<T>{}, upper = box.upper - Vector<T>{};
  p = p < lower ? lower : p;  // this way round a NaN passes
  p = p > upper ? upper : p;
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void respond_tile(const Response<T>& box, const T* force,
                                  Tile<T, vectors, columns>& tile) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      respond<T>(box, force ? force + j * box.stride + v * lanes<T> : nullptr, tile.at[j][v]);
  }
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void end_tile(const Tile<T, vectors, columns>& tile, T* out, Size stride) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v) store(out + j * stride + v * lanes<T>, tile.at[j][v]);
  }
}

/// Each number of `change` becomes the larger of itself and of |difference|. Without their signs the bits of numbers
/// are ordered as the numbers are, with NaN above infinity.
template <class T>
EQUIPROP_INLINE void raise(const Vector<T>& difference, T* change) {
  typedef typename Simd<T>::Integers Integers;
  const Integers size = (Integers)difference & Simd<T>::magnitude;
  const Integers largest = (Integers)load(change);
  store(change, (Vector<T>)(size > largest ? size : largest));
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void measure_tile(const Tile<T, vectors, columns>& tile, const T* before,
                                  Size stride, T* change) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      raise<T>(tile.at[j][v] - load(before + j * stride + v * lanes<T>), change + j * lanes<T>);
  }
}

template <class T>
EQUIPROP_INLINE void descend(const Descent<T>& descent, const Vector<T>& g, T* theta, T* velocity) {
  const Vector<T> at = load(theta);
  Vector<T> v = descent.decay * at + g;
  if (velocity) {
    v = descent.momentum * load(velocity) + v;
    store(velocity, v);
  }
  store(theta, at - descent.rate * v);
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void descend_tile(const Descent<T>& descent, const Tile<T, vectors, columns>& tile,
                                  T* theta, T* velocity, Size stride) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      descend<T>(descent, tile.at[j][v], theta + j * descent.stride + v * lanes<T>,
                 velocity ? velocity + j * stride + v * lanes<T> : nullptr);
  }
}

/// Where a tile lies in memory: `row` and `column` of the layer's state, and pointers to its start, force,
/// output, and what it is compared with, which are elsewhere for a panel that is not full.
template <class T>
struct Place {
  Size row, column;
  const T* start;
  const T* force;
  T* out;
  const T* before;  ///< nullptr where no change is asked for
  T* theta;         ///< nullptr where nothing descends
};

template <class T, int vectors, int columns>
[[gnu::noinline]] void run_tile(const LayerStep<T>& step, const Place<T>& place) {
  Tile<T, vectors, columns> tile;
  begin_tile(place.start, step.start_stride, tile);
  for (Size i = 0; i < step.num_pulls; ++i) {
    const Pull<T>& pull = step.pulls[i];
    add_pull(pull.packed + place.row * pull.depth, pull.depth,
             pull.signal + place.column * pull.stride, pull.stride, pull.step, tile);
  }
  if (step.response && place.force)
    respond_tile(*step.response, place.force, tile);
  else if (step.response)
    respond_tile<T, vectors, columns>(*step.response, nullptr, tile);
  if (place.theta)
    return descend_tile(*step.descent, tile, place.theta, place.out, step.out_stride);
  if (place.before)
    measure_tile(tile, place.before, step.before_stride, step.change + place.column * lanes<T>);
  end_tile(tile, place.out, step.out_stride);
}

/// run_tile for a number of columns known at run time.
template <class T, int vectors, int columns = tile_columns>
EQUIPROP_INLINE void run_columns(const LayerStep<T>& step, const Place<T>& place, Size count) {
  if constexpr (columns > 1)
    if (count < columns) return run_columns<T, vectors, columns - 1>(step, place, count);
  run_tile<T, vectors, columns>(step, place);
}

// ---------------------------------------------------------------------------- all tiles

template <class T>
EQUIPROP_INLINE const T* copy_columns(const T* from, Size stride, Size rows, Size columns, T* to,
                                      Size to_stride) {
  for (Size j = 0; j < columns; ++j) copy_numbers(from + j * stride, to + j * to_stride, rows);
  return to;
}

/// measure_tile for a tile in memory.
template <class T>
void measure_columns(const T* out, Size stride, const T* before, Size before_stride, Size rows,
                     Size columns, T* change) {
  for (Size j = 0; j < columns; ++j, out += stride, before += before_stride, change += lanes<T>) {
    Size i = 0;
    for (; i + lanes<T> <= rows; i += lanes<T>) raise(load(out + i) - load(before + i), change);
    if (i == rows) continue;
    alignas(64) T last[lanes<T>] = {},
                  last_before[lanes<T>] = {};  // where there is no row, no difference
    __builtin_memcpy(last, out + i, sizeof(T) * (rows - i));
    __builtin_memcpy(last_before, before + i, sizeof(T) * (rows - i));
    raise(load(last) - load(last_before), change);
  }
}

template <class T>
void descend_columns(const Descent<T>& descent, const T* g, Size g_stride, Size rows, Size columns,
                     T* theta, T* velocity, Size stride) {
  for (Size j = 0; j < columns; ++j) {
    for (Size i = 0; i < rows; ++i) {
      T& at = theta[i + j * descent.stride];
      T v = descent.decay * at + g[i + j * g_stride];
      if (velocity) velocity[i + j * stride] = v = descent.momentum * velocity[i + j * stride] + v;
      at -= descent.rate * v;
    }
  }
}

/// A tile whose panel is not full works on copies, since its vectors reach beyond the layer's rows.
template <class T, int vectors>
[[gnu::noinline]] void run_partial(const LayerStep<T>& step, const Place<T>& place, Size rows,
                                   Size columns) {
  constexpr Size stride = vectors * lanes<T>;
  alignas(64) T start[stride * tile_columns] = {}, force[stride * tile_columns] = {};
  Response<T> response{};
  LayerStep<T> local = step;
  Place<T> copy = place;
  local.start_stride = local.out_stride = response.stride = stride;
  if (place.start)
    copy.start = copy_columns(place.start, step.start_stride, rows, columns, start, stride);
  if (step.response) {
    response = *step.response;
    response.stride = stride;
    local.response = &response;
  }
  if (place.force)
    copy.force = copy_columns(place.force, step.response->stride, rows, columns, force, stride);
  copy.out = start;
  copy.before = nullptr;
  copy.theta = nullptr;
  run_columns<T, vectors>(local, copy, columns);
  if (place.before)
    measure_columns(start, stride, place.before, step.before_stride, rows, columns,
                    step.change + place.column * lanes<T>);
  if (place.theta)
    descend_columns(*step.descent, start, stride, rows, columns, place.theta, place.out,
                    step.out_stride);
  else
    copy_columns(start, stride, rows, columns, place.out, step.out_stride);
}

/// The response of smooth units to the drives of a tile.
template <class T>
[[gnu::noinline]] void respond_smoothly(const Response<T>& smooth, const T* drive, Size rows,
                                        Size columns, T* out, Size stride, Size out_stride) {
  if (smooth.kind == ResponseKind::tanh)
    for (Size j = 0; j < columns; ++j) tanh<T>(rows, drive + j * stride, out + j * out_stride);
  else
    for (Size j = 0; j < columns; ++j)
      logistic<T>(rows, smooth.gain, smooth.shift, drive + j * stride, out + j * out_stride);
}

template <class T, int vectors>
EQUIPROP_INLINE void run(const LayerStep<T>& step, const Place<T>& place, Size rows, Size columns) {
  if (rows == vectors * lanes<T>)
    run_columns<T, vectors>(step, place, columns);
  else
    run_partial<T, vectors>(step, place, rows, columns);
}

/// A tile of smooth units holds its drives aside, in the first cache, while what they were is still compared with.
template <class T, int vectors>
[[gnu::noinline]] void run_smooth(const LayerStep<T>& step, const Response<T>& smooth,
                                  const Place<T>& place, Size rows, Size columns) {
  constexpr Size stride = vectors * lanes<T>;
  alignas(64) T drive[stride * tile_columns];
  LayerStep<T> local = step;
  Place<T> copy = place;
  local.out_stride = stride;
  copy.out = drive;
  copy.before = nullptr;
  run<T, vectors>(local, copy, rows, columns);
  if (!place.before)
    return respond_smoothly(smooth, drive, rows, columns, place.out, stride, step.out_stride);
  respond_smoothly(smooth, drive, rows, columns, drive, stride, stride);
  measure_columns(drive, stride, place.before, step.before_stride, rows, columns,
                  step.change + place.column * lanes<T>);
  for (Size j = 0; j < columns; ++j)
    __builtin_memcpy(place.out + j * step.out_stride, drive + j * stride, sizeof(T) * rows);
}

/// `smooth` is the response where `step` has none.
template <class T, int vectors>
void run_panel(const LayerStep<T>& step, const Response<T>* smooth, Size row) {
  const Size rows = step.rows - row < vectors * lanes<T> ? step.rows - row : vectors * lanes<T>;
  // Tiles of nearly equal width: a narrow one at the end would wait for its few accumulators.
  const Size tiles = (step.batch + tile_columns - 1) / tile_columns;
  const bool forced = step.response && step.response->force;
  for (Size tile = 0, column = 0; tile < tiles; ++tile) {
    const Size columns = (step.batch - column + tiles - tile - 1) / (tiles - tile);
    const Place<T> place{
        row,
        column,
        step.start ? step.start + row + column * step.start_stride : nullptr,
        forced ? step.response->force + row + column * step.response->stride : nullptr,
        step.out ? step.out + row + column * step.out_stride : nullptr,
        step.change ? step.before + row + column * step.before_stride : nullptr,
        step.descent ? step.descent->theta + row + column * step.descent->stride : nullptr};
    if (smooth)
      run_smooth<T, vectors>(step, *smooth, place, rows, columns);
    else
      run<T, vectors>(step, place, rows, columns);
    column += columns;
  }
}

/// A tile responds in its registers only where few instructions do it.
template <class T>
void accumulate(const LayerStep<T>& step) {
  LayerStep<T> tiles = step;
  const Response<T>* smooth = nullptr;
  if (step.response && step.response->kind != ResponseKind::box) {
    smooth = step.response;
    tiles.response = nullptr;
  }
  for (Size row = 0; row < step.rows; row += panel_rows<T>) {
    if (step.rows - row <= lanes<T>)
      run_panel<T, 1>(tiles, smooth, row);
    else
      run_panel<T, panel_vectors>(tiles, smooth, row);
  }
}

// ---------------------------------------------------------------------------- packing

template <class T>
Size packed_size(Size rows, Size depth) {
  return (rows + lanes<T> - 1) / lanes<T> * lanes<T> * depth;
}

/// Columns [begin, end) of a panel of `width` rows, of which `rows` exist.
template <class T>
void pack_columns(const T* w, Size row_step, Size column_step, Size rows, Size width, Size begin,
                  Size end, T scale, T* packed) {
  if (row_step == 1) {  // whole columns at once
    for (Size k = begin; k < end; ++k)
      for (Size r = 0; r < rows; ++r) packed[k * width + r] = scale * w[r + k * column_step];
  } else {
    for (Size r = 0; r < rows; ++r)
      for (Size k = begin; k < end; ++k)
        packed[k * width + r] = scale * w[r * row_step + k * column_step];
  }
  for (Size r = rows; r < width; ++r)
    for (Size k = begin; k < end; ++k) packed[k * width + r] = T(0);
}

template <class T>
void pack(const T* w, Size stride, bool transposed, Size rows, Size depth, T scale, T* packed) {
  constexpr Size block = 16;  // columns whose cache lines are used whole before they are evicted
  const Size row_step = transposed ? stride : 1, column_step = transposed ? 1 : stride;
  for (Size row = 0; row < rows; row += panel_rows<T>) {
    const Size left = rows - row, width = left <= lanes<T> ? lanes<T> : panel_rows<T>;
    for (Size k = 0; k < depth; k += block)
      pack_columns(w + row * row_step, row_step, column_step, left < width ? left : width, width, k,
                   k + block < depth ? k + block : depth, scale, packed + row * depth);
  }
}

template <class T>
constexpr Kernels<T> table = {packed_size<T>, pack<T>, accumulate<T>, lanes<T>,
                              exp<T>,         tanh<T>, logistic<T>};

}  // namespace

const Kernels<float> single_kernels = table<float>;
const Kernels<double> double_kernels = table<double>;

}  // namespace equiprop::EQUIPROP_KERNEL_ISA
