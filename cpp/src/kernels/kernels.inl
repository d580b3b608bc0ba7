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
constexpr Size first_cache = 1 << 15;   ///< bytes of it that weights may take
constexpr Size second_cache = 1 << 19;  ///< the same; a network has more weights than a layer

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef int Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  using Integer = int;
  static constexpr Integer magnitude = 0x7fffffff;
};
template <>
struct Simd<double> {
  typedef double Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef long long Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  using Integer = long long;
  static constexpr Integer magnitude = 0x7fffffffffffffff;
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

/// Keeps v in a register: compilers would rather load it again for each of its uses, at twice the loads.
template <class T>
EQUIPROP_INLINE void keep([[maybe_unused]] Vector<T>& v) {
#ifdef EQUIPROP_REGISTER
  asm("" : "+" EQUIPROP_REGISTER(v));
#endif
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

#ifdef EQUIPROP_LOAD_SOME_FLOAT
/// The first `count` numbers, at most a vector; zeros follow them.
template <class T>
EQUIPROP_INLINE Vector<T> load_some(const T* from, Size count) {
  if constexpr (sizeof(T) == sizeof(float))
    return EQUIPROP_LOAD_SOME_FLOAT(count, from);
  else
    return EQUIPROP_LOAD_SOME_DOUBLE(count, from);
}
template <class T>
EQUIPROP_INLINE void store_some(T* to, const Vector<T>& v, Size count) {
  if constexpr (sizeof(T) == sizeof(float))
    EQUIPROP_STORE_SOME_FLOAT(count, to, v);
  else
    EQUIPROP_STORE_SOME_DOUBLE(count, to, v);
}
/// Copies fewer numbers than a panel has rows.
template <class T>
EQUIPROP_INLINE void copy_numbers(const T* from, T* to, Size count) {
  if (count > lanes<T>) store(to, load(from));
  const Size begin = count > lanes<T> ? lanes<T> : 0;
  store_some(to + begin, load_some(from + begin, count - begin), count - begin);
}
#else
/// Copies fewer numbers than a panel has rows, in a few moves of fixed size.
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
/// The first `count` numbers, at most a vector; zeros follow them.
template <class T>
EQUIPROP_INLINE Vector<T> load_some(const T* from, Size count) {
  alignas(64) T numbers[lanes<T>] = {};
  copy_numbers(from, numbers, count);
  return load(numbers);
}
template <class T>
EQUIPROP_INLINE void store_some(T* to, const Vector<T>& v, Size count) {
  alignas(64) T numbers[lanes<T>];
  store(numbers, v);
  copy_numbers(numbers, to, count);
}
#endif

// ---------------------------------------------------------------------------- functions and vectors

#include "functions.inl"
#include "vectors.inl"

// ---------------------------------------------------------------------------- one tile

template <class T, int vectors, int columns>
struct Tile {
  Vector<T> at[columns][vectors];
};

/// What a tile meets at its end comes to the first cache meanwhile: for few samples it is a tenth of the time.
template <class T, int vectors, int columns>
EQUIPROP_INLINE void expect_tile(const T* at, Size stride) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v) __builtin_prefetch(at + j * stride + v * lanes<T>, 1);
  }
}

template <class T, int vectors, int columns>
EQUIPROP_INLINE void begin_tile(const T* start, Size stride, Tile<T, vectors, columns>& tile) {
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      tile.at[j][v] = start ? load(start + j * stride + v * lanes<T>) : Vector<T>{};
  }
}

/// The signals of a tile's columns, three to a pointer: p, p + stride and p + 2 stride are addresses that cost no
/// register of their own. The compiler is not to know how the pointers are related, or it computes one from another
/// in the innermost loop.
template <class T, int columns>
struct Streams {
  const T* at[(columns + 2) / 3];
  Size stride;

  EQUIPROP_INLINE Streams(const T* u, Size stride) : stride(stride) {
    EQUIPROP_UNROLL
    for (int i = 0; i < (columns + 2) / 3; ++i) {
      at[i] = u + 3 * i * stride;
      asm("" : "+r"(at[i]));
    }
  }
  EQUIPROP_INLINE T operator()(int j, Size k) const { return at[j / 3][j % 3 * stride + k]; }
  EQUIPROP_INLINE void advance(Size step) {
    EQUIPROP_UNROLL
    for (int i = 0; i < (columns + 2) / 3; ++i) at[i] += step;
  }
};

/// Signals of a tile's columns that lie side by side.
template <class T>
struct Adjacent {
  const T* at;

  EQUIPROP_INLINE T operator()(int j, Size) const { return at[j]; }
  EQUIPROP_INLINE void advance(Size step) { at += step; }
};

/// What unit k of a neighbour adds.
template <class T, int vectors, int columns, class Signals>
EQUIPROP_INLINE void add_unit(const T* w, const Signals& u, Size k,
                              Tile<T, vectors, columns>& tile) {
  Vector<T> weights[vectors];
  EQUIPROP_UNROLL
  for (int v = 0; v < vectors; ++v) weights[v] = load(w + v * lanes<T>);
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    const Vector<T> signal = u(j, k) - Vector<T>{};  // in every lane
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v) multiply_add<T>(signal, weights[v], tile.at[j][v]);
  }
}

/// `next` are the weights to fetch into the second cache meanwhile, `pace` numbers for each unit; or nullptr.
template <class T, int vectors, int columns>
EQUIPROP_INLINE void add_pull(const T* w, Size depth, const T* u, Size stride, Size step,
                              const T* next, Size pace, Tile<T, vectors, columns>& tile) {
  constexpr Size width = vectors * lanes<T>;
  if (step == 1) {
    Streams<T, columns> signals(u, stride);
    for (; depth >= 4; depth -= 4, w += 4 * width, signals.advance(4)) {
      if (next) {
        __builtin_prefetch(next, 0, 2);
        __builtin_prefetch(next + 2 * pace, 0, 2);
        next += 4 * pace;
      }
      EQUIPROP_UNROLL
      for (Size k = 0; k < 4; ++k) add_unit(w + k * width, signals, k, tile);
    }
    for (; depth > 0; --depth, w += width, signals.advance(1)) add_unit(w, signals, 0, tile);
  } else {
    Adjacent<T> signals{u};
    EQUIPROP_UNROLL_BY_4
    for (; depth > 0; --depth, w += width, signals.advance(step)) add_unit(w, signals, 0, tile);
  }
}

template <class T>
EQUIPROP_INLINE void respond(const Response<T>& box, const T* force, Vector<T>& p) {
  if (box.gain != 1) p = box.gain * p;
  if (force) p = p + box.force_gain * load(force);
  if (force && box.curvature != 1) p = p / box.curvature;
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
  const T* before;     ///< nullptr where no change is asked for
  T* theta;            ///< nullptr where nothing descends
  bool ahead = false;  ///< whether the next panel's weights are fetched meanwhile
};

template <class T, int vectors, int columns>
[[gnu::noinline]] void run_tile(const LayerStep<T>& step, const Place<T>& place) {
  Tile<T, vectors, columns> tile;
  if (place.theta) expect_tile<T, vectors, columns>(place.theta, step.descent->stride);
  begin_tile(place.start, step.start_stride, tile);
  for (Size i = 0; i < step.num_pulls; ++i) {
    const Pull<T>& pull = step.pulls[i];
    const T* w = pull.packed + place.row * pull.depth;
    constexpr Size width = vectors * lanes<T>;
    const Size pace = (width * columns + step.batch - 1) / step.batch;  // a tile's share of them
    const T* next = w + (width + pace * (place.column / columns)) * pull.depth;
    add_pull(w, pull.depth, pull.signal + place.column * pull.stride, pull.stride, pull.step,
             place.ahead ? next : nullptr, pace, tile);
  }
  if (step.response && place.force)
    respond_tile(*step.response, place.force, tile);
  else if (step.response)
    respond_tile<T, vectors, columns>(*step.response, nullptr, tile);
  if (place.theta)
    return descend_tile(*step.descent, tile, place.theta, place.out, step.out_stride);
  if (place.before)
    measure_tile(tile, place.before, step.before_stride, step.change + place.column * lanes<T>);
  if (place.out) end_tile(tile, place.out, step.out_stride);
}

/// run_tile for a number of columns known at run time.
template <class T, int vectors, int columns = tile_columns>
EQUIPROP_INLINE void run_columns(const LayerStep<T>& step, const Place<T>& place, Size count) {
  if constexpr (columns > 1)
    if (count < columns) return run_columns<T, vectors, columns - 1>(step, place, count);
  run_tile<T, vectors, columns>(step, place);
}

// ---------------------------------------------------------------------------- any tile

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
    // Where there is no row, there is no difference.
    raise<T>(load_some(out + i, rows - i) - load_some(before + i, rows - i), change);
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
  else if (place.out)
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
  for (Size j = 0; place.out && j < columns; ++j)
    __builtin_memcpy(place.out + j * step.out_stride, drive + j * stride, sizeof(T) * rows);
}

template <class T>
EQUIPROP_INLINE Place<T> place_of(const LayerStep<T>& step, Size row, Size column) {
  const bool forced = step.response && step.response->force;
  return {row,
          column,
          step.start ? step.start + row + column * step.start_stride : nullptr,
          forced ? step.response->force + row + column * step.response->stride : nullptr,
          step.out ? step.out + row + column * step.out_stride : nullptr,
          step.change ? step.before + row + column * step.before_stride : nullptr,
          step.descent ? step.descent->theta + row + column * step.descent->stride : nullptr};
}

/// One tile; `smooth` is the response where `step` has none.
template <class T, int vectors>
EQUIPROP_INLINE void run_at(const LayerStep<T>& step, const Response<T>* smooth,
                            const Place<T>& place, Size columns) {
  const Size left = step.rows - place.row,
             rows = left < vectors * lanes<T> ? left : vectors * lanes<T>;
  if (smooth)
    run_smooth<T, vectors>(step, *smooth, place, rows, columns);
  else
    run<T, vectors>(step, place, rows, columns);
}

/// The same where a panel may have one vector.
template <class T>
EQUIPROP_INLINE void run_any(const LayerStep<T>& step, const Response<T>* smooth,
                             const Place<T>& place, Size columns) {
  if (step.rows - place.row <= lanes<T>)
    run_at<T, 1>(step, smooth, place, columns);
  else
    run_at<T, panel_vectors>(step, smooth, place, columns);
}

// ---------------------------------------------------------------------------- by rows

/// A layer of few units leaves lanes of a panel empty. There each unit of it has accumulators of its own, whose lanes
/// are units of the neighbour, for two samples at once; their lanes are summed at the end.

template <class T>
constexpr Size group_rows = lanes<T> < tile_columns ? lanes<T> : tile_columns;
constexpr int row_columns = 2;

template <int... i>
struct Numbers {};
template <int count, int... i>
struct CountedNumbers : CountedNumbers<count - 1, count - 1, i...> {};
template <int... i>
struct CountedNumbers<0, i...> {
  using Type = Numbers<i...>;
};

/// Lanes of a where lane & distance is 0, of b elsewhere; from `distance` away, or from the lane itself.
template <class T, int distance, bool away, int... lane>
EQUIPROP_INLINE Vector<T> interleave(const Vector<T>& a, const Vector<T>& b, Numbers<lane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(
      a, b, ((away ? lane ^ distance : lane) + (lane & distance ? int(lanes<T>) : 0))...);
#else
  return __builtin_shuffle(a, b,
                           typename Simd<T>::Integers{((away ? lane ^ distance : lane) +
                                                       (lane & distance ? int(lanes<T>) : 0))...});
#endif
}

/// Sums of the lanes of `count` vectors, the i-th in lane i; they are folded onto one another in pairs.
template <class T, int count, int distance = 1>
EQUIPROP_INLINE Vector<T> lane_sums(Vector<T>* v) {
  if constexpr (distance == lanes<T>) {
    return v[0];
  } else {
    using All = typename CountedNumbers<lanes<T>>::Type;
    EQUIPROP_UNROLL
    for (int i = 0; i < count; i += 2) {
      const Vector<T> other = i + 1 < count ? v[i + 1] : Vector<T>{};
      v[i / 2] = interleave<T, distance, false>(v[i], other, All{}) +
                 interleave<T, distance, true>(v[i], other, All{});
    }
    return lane_sums<T, (count + 1) / 2, 2 * distance>(v);
  }
}

/// The products of `rows` rows with some samples, over the neighbours; `skip` numbers into each pull's weights.
template <class T, int rows, int columns>
[[gnu::noinline]] void multiply_rows(const LayerStep<T>& step, Size skip, Size column, T* out,
                                     Size stride) {
  Vector<T> sum[columns][rows] = {};
  for (Size i = 0; i < step.num_pulls; ++i) {
    const Pull<T>& pull = step.pulls[i];
    const T* w = pull.packed + skip;
    const T* u = pull.signal + column * pull.stride;
    const auto add = [&](const Vector<T>* signals) {
      EQUIPROP_UNROLL
      for (int r = 0; r < rows; ++r) {
        Vector<T> weights = load(w + r * lanes<T>);
        keep<T>(weights);
        EQUIPROP_UNROLL
        for (int j = 0; j < columns; ++j) multiply_add<T>(signals[j], weights, sum[j][r]);
      }
      w += step.rows * lanes<T>;
    };
    Vector<T> signals[columns];
    Size k = 0;
    for (; k + lanes<T> <= pull.depth; k += lanes<T>) {
      for (int j = 0; j < columns; ++j) signals[j] = load(u + j * pull.stride + k);
      add(signals);
    }
    if (k == pull.depth) continue;
    for (int j = 0; j < columns; ++j)
      signals[j] = load_some(u + j * pull.stride + k, pull.depth - k);
    add(signals);
  }
  EQUIPROP_UNROLL
  for (int j = 0; j < columns; ++j) {
    T* to = out + j * stride;
    store(to, load(to) + lane_sums<T, rows>(sum[j]));
  }
}

/// multiply_rows for numbers of rows and samples known at run time.
template <class T, int rows, int columns = row_columns>
EQUIPROP_INLINE void multiply_columns(const LayerStep<T>& step, Size count, Size skip, Size column,
                                      T* out, Size stride) {
  if constexpr (columns > 1)
    if (count < columns)
      return multiply_columns<T, rows, columns - 1>(step, count, skip, column, out, stride);
  multiply_rows<T, rows, columns>(step, skip, column, out, stride);
}
template <class T, int rows = group_rows<T>>
EQUIPROP_INLINE void multiply_group(const LayerStep<T>& step, Size count, Size columns, Size skip,
                                    Size column, T* out, Size stride) {
  if constexpr (rows > 1)
    if (count < rows)
      return multiply_group<T, rows - 1>(step, count, columns, skip, column, out, stride);
  multiply_columns<T, rows>(step, columns, skip, column, out, stride);
}

/// respond_tile for whole vectors in memory, which the layer's rows need not fill.
template <class T>
EQUIPROP_INLINE void respond_columns(const Response<T>& box, Size rows, Size column, Size columns,
                                     T* drive, Size stride) {
  for (Size j = 0; j < columns; ++j)
    for (Size i = 0; i < rows; i += lanes<T>) {
      T* at = drive + i + j * stride;
      Vector<T> p = load(at);
      if (box.force) {
        const Size left = rows - i < lanes<T> ? rows - i : lanes<T>;
        alignas(64) T force[lanes<T>];
        store(force, load_some(box.force + i + (column + j) * box.stride, left));
        respond<T>(box, force, p);
      } else {
        respond<T>(box, nullptr, p);
      }
      store(at, p);
    }
}

/// The drives of a tile are products by rows, in memory, and so is what follows.
template <class T>
[[gnu::noinline]] void run_by_rows(const LayerStep<T>& step, const Response<T>* smooth, Size column,
                                   Size columns) {
  constexpr Size stride = panel_rows<T>;
  alignas(64) T drive[stride * tile_columns] = {};
  if (step.start)
    copy_columns(step.start + column * step.start_stride, step.start_stride, step.rows, columns,
                 drive, stride);
  const Size groups = (step.rows + group_rows<T> - 1) / group_rows<T>;
  for (Size group = 0, row = 0; group < groups; ++group) {
    const Size rows = (step.rows - row + groups - group - 1) / (groups - group),
               skip = row * lanes<T>;
    for (Size j = 0; j < columns; j += row_columns)
      multiply_group<T>(step, rows, columns - j, skip, column + j, drive + j * stride + row,
                        stride);
    row += rows;
  }
  if (smooth)
    respond_smoothly(*smooth, drive, step.rows, columns, drive, stride, stride);
  else if (step.response)
    respond_columns(*step.response, step.rows, column, columns, drive, stride);
  if (step.change)
    measure_columns(drive, stride, step.before + column * step.before_stride, step.before_stride,
                    step.rows, columns, step.change + column * lanes<T>);
  if (step.out)
    copy_columns(drive, stride, step.rows, columns, step.out + column * step.out_stride,
                 step.out_stride);
}

// ---------------------------------------------------------------------------- all tiles

/// Calls run(column, columns) with tiles of nearly equal width: a narrow one at the end would wait for its few
/// accumulators.
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

/// Bytes of a step's weights.
template <class T>
Size weight_bytes(const LayerStep<T>& step) {
  Size depth = 0;
  for (Size i = 0; i < step.num_pulls; ++i) depth += step.pulls[i].depth;
  return step.rows * depth * Size(sizeof(T));
}

/// A tile responds in its registers only where few instructions do it. What is larger, a panel or the samples, goes
/// by once: a panel meets all samples, and samples all panels where these are few numbers. Weights that come from
/// beyond the second cache come while the panel before them is at work, if it has work for more than a tile or two.
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

// ---------------------------------------------------------------------------- packing

template <class T>
Size packed_size(Size rows, Size depth) {
  return (rows + lanes<T> - 1) / lanes<T> * lanes<T> * depth;
}

/// Columns [begin, end) of a panel of `width` rows, of which `rows` exist; whole ones are copied by vectors.
template <class T>
void pack_columns(const T* w, Size row_step, Size column_step, Size rows, Size width, Size begin,
                  Size end, T scale, T* packed) {
  if (row_step == 1 && rows == panel_rows<T>) {
    for (Size k = begin; k < end; ++k) {
      EQUIPROP_UNROLL
      for (int v = 0; v < panel_vectors; ++v)
        store(packed + k * width + v * lanes<T>, scale * load(w + k * column_step + v * lanes<T>));
    }
  } else if (row_step == 1) {  // whole columns at once
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

/// For each vector of k, each row's.
template <class T>
void pack_by_rows(const T* w, Size stride, bool transposed, Size rows, Size depth, T scale,
                  T* packed) {
  const Size row_step = transposed ? stride : 1, column_step = transposed ? 1 : stride;
  for (Size k = 0; k < depth; k += lanes<T>)
    for (Size r = 0; r < rows; ++r)
      for (Size i = 0; i < lanes<T>; ++i)
        *packed++ = k + i < depth ? scale * w[r * row_step + (k + i) * column_step] : T(0);
}

/// Where a panel would leave a quarter of its lanes empty, and a few more instructions for each sample do not count.
template <class T>
bool by_rows(Size rows, Size depth) {
  const Size vectors = (rows + lanes<T> - 1) / lanes<T>;
  return rows <= 2 * group_rows<T> && 4 * rows < 3 * vectors * lanes<T> && depth >= 4 * lanes<T>;
}

template <class T>
constexpr Kernels<T> table = {packed_size<T>, pack<T>,           by_rows<T>,      pack_by_rows<T>,
                              accumulate<T>,  largest_change<T>, largest_size<T>, inner<T>,
                              follow<T>,      turn<T>,           lanes<T>,        exp<T>,
                              tanh<T>,        logistic<T>};

}  // namespace

const Kernels<float> single_kernels = table<float>;
const Kernels<double> double_kernels = table<double>;

}  // namespace equiprop::EQUIPROP_KERNEL_ISA
