/// The computation of one tile, a panel's rows of a few samples: in registers if the panel is full, otherwise on copies
/// in memory. Part of kernels.inl.

template <class T, int vectors, int columns>
struct Tile {
  Vector<T> at[columns][vectors];
};

/// Prefetches the parameters that the tile updates at its end; for few samples this saves a tenth of the time.
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

/// The signals of a tile's columns, three for each pointer: p, p + stride and p + 2 stride are addressing modes that
/// need no other register. The asm hides from the compiler how the pointers are related; otherwise it would compute one
/// from another in the innermost loop.
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

/// Adds the products of unit k of a neighbour to the tile.
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

/// Adds the products of a neighbour's `depth` units to the tile. Unless `next` is nullptr, prefetches the weights at
/// `next` into L2, `pace` numbers for each unit.
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
  p = p < lower ? lower : p;  // in this order a NaN is kept
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

/// The position of a tile: `row` and `column` of the layer's state, and pointers to its start, force, output, and the
/// state that its change is measured from. They point to copies if the panel is not full.
template <class T>
struct Place {
  Size row, column;
  const T* start;
  const T* force;
  T* out;
  const T* before;     ///< nullptr if no change is measured
  T* theta;            ///< nullptr if no parameters descend
  bool ahead = false;  ///< prefetch the next panel's weights
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
    const Size pace = (width * columns + step.batch - 1) / step.batch;  // prefetched by a tile
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
    // Lanes beyond the rows are 0 in both, so they do not count.
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

/// Runs a tile whose panel is not full, on copies, since its vectors reach beyond the layer's rows.
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

/// out = the response of smooth units to the drives of a tile.
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

/// Runs a tile of smooth units. Its drives go to a buffer first, because the change is measured from the state that the
/// output may overwrite.
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

/// Runs one tile; `smooth` is the response of smooth units, or nullptr.
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

/// Runs one tile, of one vector of rows or two.
template <class T>
EQUIPROP_INLINE void run_any(const LayerStep<T>& step, const Response<T>* smooth,
                             const Place<T>& place, Size columns) {
  if (step.rows - place.row <= lanes<T>)
    run_at<T, 1>(step, smooth, place, columns);
  else
    run_at<T, panel_vectors>(step, smooth, place, columns);
}
