/// Kernels of max pooling: the winners of windows, lists of the winners that are not zero, and sums over such lists.
/// Part of kernels.inl.

// ---------------------------------------------------------------------------- pooling

/// Keeps the larger of each lane in `best`, and in `which` the number of the one that was kept. The first of equal
/// numbers is kept, and the first NaN.
template <class T>
EQUIPROP_INLINE void raise_best(const Vector<T>& other, int number, Vector<T>& best,
                                typename Simd<T>::Integers& which) {
  const typename Simd<T>::Integers larger = ~(other <= best) & (best == best);
  best = larger ? other : best;
  which = larger ? typename Simd<T>::Integers{} + number : which;
}

template <class T>
EQUIPROP_INLINE void store_winners(unsigned char* to, const typename Simd<T>::Integers& which,
                                   Size count) {
  const auto bytes = __builtin_convertvector(which, typename Simd<T>::Bytes);
  if (count == lanes<T>) {
    __builtin_memcpy(to, &bytes, sizeof bytes);
  } else {
    for (Size i = 0; i < count; ++i) to[i] = bytes[i];
  }
}

/// Pools some channels of a window, at most a vector.
template <class T, class Load, class Add>
EQUIPROP_INLINE typename Simd<T>::Integers pool_window(const PoolRow<T>& row, int pool, const T* in,
                                                       const Load& load_at, const Add& add) {
  Vector<T> best = load_at(in);
  typename Simd<T>::Integers which{};
  for (int i = 0, number = 0; i < pool; ++i)
    for (int j = 0; j < pool; ++j, ++number)
      if (number > 0)
        raise_best<T>(load_at(in + i * row.row_step + j * row.column_step), number, best, which);
  add(best);
  return which;
}

template <class T>
EQUIPROP_INLINE void pool_windows(const PoolRow<T>& row, int pool) {
  for (Size x = 0; x < row.windows; ++x) {
    const T* in = row.in + x * pool * row.column_step;
    T* out = row.out + x * row.out_stride;
    unsigned char* winners = row.winners + x * row.out_stride;
    Size c = 0;
    for (; c + lanes<T> <= row.channels; c += lanes<T>) {
      const auto which = pool_window<T>(
          row, pool, in + c, [](const T* at) { return load(at); },
          [&](const Vector<T>& best) { store<T>(out + c, load(out + c) + best); });
      store_winners<T>(winners + c, which, lanes<T>);
    }
    if (const Size left = row.channels - c; left > 0) {
      const auto which = pool_window<T>(
          row, pool, in + c, [left](const T* at) { return load_some(at, left); },
          [&](const Vector<T>& best) {
            store_some<T>(out + c, load_some(out + c, left) + best, left);
          });
      store_winners<T>(winners + c, which, left);
    }
  }
}

template <class T>
void pool(const PoolRow<T>& row) {
  if (row.pool == 2)
    pool_windows<T>(row, 2);
  else
    pool_windows<T>(row, row.pool);
}

// ---------------------------------------------------------------------------- lists

/// Appends the channels of a window that are not zero and whose winner is `number`; returns the new length of the list.
template <class T>
EQUIPROP_INLINE Size append_winners(const T* signal, const unsigned char* winner, Size channels,
                                    int number, T* signals, int* places, Size count) {
#ifdef EQUIPROP_COMPRESS
  for (Size c = 0; c < channels; c += lanes<T>) {
    const Size left = channels - c < lanes<T> ? channels - c : lanes<T>;
    count += EQUIPROP_COMPRESS(signal + c, winner + c, left, number, int(c), signals + count,
                               places + count);
  }
#else
  for (Size c = 0; c < channels; ++c) {
    signals[count] = signal[c];
    places[count] = int(c);
    count += (winner[c] == number) & (signal[c] != T(0));
  }
#endif
  return count;
}

template <class T>
void list_winners(const WinnerLists<T>& lists) {
  Size count = 0, position = 0;
  for (Size y = 0; y < lists.height; ++y)
    for (int i = 0; i < lists.pool; ++i)
      for (Size x = 0; x < lists.width; ++x)
        for (int j = 0; j < lists.pool; ++j) {
          const Size window = (y * lists.width + x) * lists.stride;
          lists.begin[position++] = count;
          count = append_winners<T>(lists.above + window, lists.winners + window, lists.channels,
                                    i * lists.pool + j, lists.signals, lists.places, count);
        }
  lists.begin[position] = count;
}

// ---------------------------------------------------------------------------- sums over lists

/// The signals of a list and the places of what they multiply.
template <class T>
struct List {
  Size count;
  const T* signals;
  const int* places;
  Size width;  ///< distance from one place to the next

  EQUIPROP_INLINE List(Size count, const T* signals, const int* places, Size width)
      : count(count), signals(signals), places(places), width(width) {}
};

/// Adds sum over the list of signal * from[place] to `rows` x `vectors` vectors of `out`. If `partial`, the only vector
/// of a row of `out` has `some` numbers; whole vectors are read.
template <class T, int rows, int vectors, bool partial>
EQUIPROP_INLINE void add_list(const List<T>& list, const T* from, Size from_step, T* out,
                              Size out_step, Size some) {
  Vector<T> sums[rows][vectors];
  const T* at[rows];
  EQUIPROP_UNROLL
  for (int r = 0; r < rows; ++r) {
    at[r] = from + r * from_step;
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      sums[r][v] =
          partial ? load_some(out + r * out_step, some) : load(out + r * out_step + v * lanes<T>);
  }
  for (Size k = 0; k < list.count; ++k) {
    const Vector<T> signal = list.signals[k] - Vector<T>{};  // in every lane
    const Size place = list.places[k] * list.width;
    EQUIPROP_UNROLL
    for (int r = 0; r < rows; ++r) {
      EQUIPROP_UNROLL
      for (int v = 0; v < vectors; ++v)
        multiply_add<T>(signal, load(at[r] + place + v * lanes<T>), sums[r][v]);
    }
  }
  EQUIPROP_UNROLL
  for (int r = 0; r < rows; ++r) {
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      if (partial)
        store_some(out + r * out_step, sums[r][v], some);
      else
        store(out + r * out_step + v * lanes<T>, sums[r][v]);
  }
}

/// Number of rows of two vectors whose sums stay in registers.
constexpr int list_rows = tile_columns < 8 ? tile_columns : 8;

/// add_list for a number of rows known at run time.
template <class T, int vectors, bool partial, int rows = list_rows>
EQUIPROP_INLINE void add_some_rows(const List<T>& list, Size count, const T* from, Size from_step,
                                   T* out, Size out_step, Size some) {
  if constexpr (rows > 1)
    if (count < rows)
      return add_some_rows<T, vectors, partial, rows - 1>(list, count, from, from_step, out,
                                                          out_step, some);
  add_list<T, rows, vectors, partial>(list, from, from_step, out, out_step, some);
}

/// add_list for any number of rows.
template <class T, int vectors, bool partial = false>
EQUIPROP_INLINE void add_rows(const List<T>& list, Size rows, const T* from, Size from_step, T* out,
                              Size out_step, Size some = 0) {
  for (Size r = 0; r < rows; r += list_rows)
    add_some_rows<T, vectors, partial>(list, rows - r, from + r * from_step, from_step,
                                       out + r * out_step, out_step, some);
}

/// The taps of a kernel row that are inside the image at one position above.
struct Taps {
  Size begin, end;
};
template <class T>
EQUIPROP_INLINE Taps taps_inside(const WinnersRow<T>& row, Size first) {
  Taps taps{0, row.taps};
  if (first < 0) taps.begin = (-first + row.dilation - 1) / row.dilation;
  if (first + (row.taps - 1) * row.dilation >= row.width)
    taps.end = row.width <= first ? 0 : (row.width - first - 1) / row.dilation + 1;
  return taps;
}

/// Calls add(list, taps, first, ...) for each position above that has winners.
template <class T, class Add>
EQUIPROP_INLINE void for_each_list(const WinnersRow<T>& row, const Add& add) {
  for (Size x = 0; x < row.positions; ++x) {
    const Size begin = row.begin[x], count = row.begin[x + 1] - begin;
    if (count == 0) continue;
    const Size first = x * row.stride - row.padding;
    const Taps taps = taps_inside(row, first);
    const Size tap = taps.begin;
    add(List<T>(count, row.signals + begin, row.places + begin, row.packed_width), taps.end - tap,
        row.packed + tap * row.packed_step,
        row.out + (first + tap * row.dilation) * row.out_stride);
  }
}

/// The columns of a row below that one position above reaches, if neighbouring positions reach neighbouring columns:
/// their sums stay in registers and shift by one from a position to the next.
template <class T, int taps, int vectors>
struct SlidingColumns {
  Vector<T> sums[taps][vectors];

  EQUIPROP_INLINE static bool inside(const WinnersRow<T>& row, Size column) {
    return column >= 0 && column < row.width;
  }
  EQUIPROP_INLINE void load_column(const WinnersRow<T>& row, int tap, Size column) {
    if (!inside(row, column)) return;
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      sums[tap][v] = load(row.out + column * row.out_stride + v * lanes<T>);
  }
  EQUIPROP_INLINE void store_column(const WinnersRow<T>& row, int tap, Size column) const {
    if (!inside(row, column)) return;
    EQUIPROP_UNROLL
    for (int v = 0; v < vectors; ++v)
      store(row.out + column * row.out_stride + v * lanes<T>, sums[tap][v]);
  }
  /// Adds a list to the columns of some taps; all taps if they are `complete`.
  template <bool complete>
  EQUIPROP_INLINE void add(const WinnersRow<T>& row, Size begin, Size end, const Taps& some) {
    const T* at[taps];
    EQUIPROP_UNROLL
    for (int j = 0; j < taps; ++j) at[j] = row.packed + j * row.packed_step;
    for (Size k = begin; k < end; ++k) {
      const Vector<T> signal = row.signals[k] - Vector<T>{};  // in every lane
      const Size place = row.places[k] * row.packed_width;
      EQUIPROP_UNROLL
      for (int j = 0; j < taps; ++j) {
        if (!complete && (j < some.begin || j >= some.end)) continue;
        EQUIPROP_UNROLL
        for (int v = 0; v < vectors; ++v)
          multiply_add<T>(signal, load(at[j] + place + v * lanes<T>), sums[j][v]);
      }
    }
  }
  EQUIPROP_INLINE void shift() {
    EQUIPROP_UNROLL
    for (int j = 0; j + 1 < taps; ++j) {
      EQUIPROP_UNROLL
      for (int v = 0; v < vectors; ++v) sums[j][v] = sums[j + 1][v];
    }
  }
};

/// add_winners for stride 1, dilation 1 and `vectors` whole vectors of channels.
template <class T, int taps, int vectors>
[[gnu::noinline]] void slide(const WinnersRow<T>& row) {
  SlidingColumns<T, taps, vectors> columns{};
  EQUIPROP_UNROLL
  for (int j = 0; j + 1 < taps; ++j) columns.load_column(row, j, j - row.padding);
  for (Size x = 0; x < row.positions; ++x) {
    const Size column = x - row.padding;
    columns.load_column(row, taps - 1, column + taps - 1);
    const Taps some = taps_inside(row, column);
    if (some.begin == 0 && some.end == taps)
      columns.template add<true>(row, row.begin[x], row.begin[x + 1], some);
    else
      columns.template add<false>(row, row.begin[x], row.begin[x + 1], some);
    columns.store_column(row, 0, column);
    columns.shift();
  }
  EQUIPROP_UNROLL
  for (int j = 0; j + 1 < taps; ++j) columns.store_column(row, j, row.positions - row.padding + j);
}

/// Calls `slide` for a number of taps known at run time, at most list_rows.
template <class T, int vectors, int taps = list_rows>
EQUIPROP_INLINE void slide_taps(const WinnersRow<T>& row) {
  if constexpr (taps > 1)
    if (row.taps < taps) return slide_taps<T, vectors, taps - 1>(row);
  slide<T, taps, vectors>(row);
}

template <class T>
void add_winners(const WinnersRow<T>& row) {
  if (row.begin[0] == row.begin[row.positions]) return;
  const Size step = row.dilation * row.out_stride;
  Size done = 0;
  if (row.stride == 1 && (row.dilation == 1 || row.taps == 1) && row.taps <= list_rows) {
    if (row.rows == 2 * lanes<T>) return slide_taps<T, 2>(row);
    if (row.rows == lanes<T>) return slide_taps<T, 1>(row);
  }
  if (row.rows == 2 * lanes<T>)
    return for_each_list(row, [&](const List<T>& list, Size taps, const T* w, T* out) {
      add_rows<T, 2>(list, taps, w, row.packed_step, out, step);
    });
  if (row.rows >= lanes<T>) {
    for_each_list(row, [&](const List<T>& list, Size taps, const T* w, T* out) {
      add_rows<T, 1>(list, taps, w, row.packed_step, out, step);
    });
    done = lanes<T>;
  }
  if (row.rows > done)
    for_each_list(row, [&](const List<T>& list, Size taps, const T* w, T* out) {
      add_rows<T, 1, true>(list, taps, w + done, row.packed_step, out + done, step,
                           row.rows - done);
    });
}

template <class T>
void add_patches(const PatchSum<T>& sum) {
  constexpr Size pair = 2 * lanes<T>;
  const List<T> list(sum.count, sum.signals, sum.places, 1);
  const Size pairs = sum.depth / pair;
  Size done = pairs * pair;
  if (pairs > 0)
    for (Size r = 0; r < sum.rows; ++r)
      add_rows<T, 2>(list, pairs, sum.u + r * sum.u_step, pair, sum.out + r * sum.out_step, pair);
  if (sum.depth - done >= lanes<T>) {
    add_rows<T, 1>(list, sum.rows, sum.u + done, sum.u_step, sum.out + done, sum.out_step);
    done += lanes<T>;
  }
  if (sum.depth > done)
    add_rows<T, 1, true>(list, sum.rows, sum.u + done, sum.u_step, sum.out + done, sum.out_step,
                         sum.depth - done);
}
