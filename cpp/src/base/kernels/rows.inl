/// The kernel for layers of few units, which would leave lanes of a panel empty; part of kernels.inl. Their weights are
/// packed by rows: each unit has its own accumulators, whose lanes are units of the neighbour, for two samples at a
/// time. At the end the lanes are summed.

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

/// Selects lanes of a where lane & distance is 0 and lanes of b elsewhere: the lane itself, or (`away`) the one at lane
/// ^ distance.
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

/// Returns a vector whose lane i is the sum of the lanes of v[i], for `count` vectors; pairs of vectors are added until
/// one is left.
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

/// Adds the products of `rows` rows with some samples, over all neighbours, to `out`. The weights of these rows start
/// `skip` numbers after the first weight of each pull.
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

/// Calls multiply_rows for numbers of rows and samples known at run time.
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

/// Applies the response to drives in memory, in whole vectors, which may reach beyond the layer's rows.
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

/// Runs the columns of a tile by rows; drives and responses are computed in memory.
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
