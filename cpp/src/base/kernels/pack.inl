/// The layouts of packed weights; part of kernels.inl.

template <class T>
Size packed_size(Size rows, Size depth) {
  return (rows + lanes<T> - 1) / lanes<T> * lanes<T> * depth;
}

/// Packs columns [begin, end) of a panel of `width` rows, of which `rows` exist; full panels are copied by vectors.
template <class T>
void pack_columns(const T* w, Size row_step, Size column_step, Size rows, Size width, Size begin,
                  Size end, T scale, T* packed) {
  if (row_step == 1 && rows == panel_rows<T>) {
    for (Size k = begin; k < end; ++k) {
      EQUIPROP_UNROLL
      for (int v = 0; v < panel_vectors; ++v)
        store(packed + k * width + v * lanes<T>, scale * load(w + k * column_step + v * lanes<T>));
    }
  } else if (row_step == 1) {  // columns are contiguous
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
  constexpr Size block = 16;  // columns: their cache lines are fully used before they are evicted
  const Size row_step = transposed ? stride : 1, column_step = transposed ? 1 : stride;
  for (Size row = 0; row < rows; row += panel_rows<T>) {
    const Size left = rows - row, width = left <= lanes<T> ? lanes<T> : panel_rows<T>;
    for (Size k = 0; k < depth; k += block)
      pack_columns(w + row * row_step, row_step, column_step, left < width ? left : width, width, k,
                   k + block < depth ? k + block : depth, scale, packed + row * depth);
  }
}

/// Stores, for each vector of k, the weights of every row (Kernels::pack_by_rows).
template <class T>
void pack_by_rows(const T* w, Size stride, bool transposed, Size rows, Size depth, T scale,
                  T* packed) {
  const Size row_step = transposed ? stride : 1, column_step = transposed ? 1 : stride;
  for (Size k = 0; k < depth; k += lanes<T>)
    for (Size r = 0; r < rows; ++r)
      for (Size i = 0; i < lanes<T>; ++i)
        *packed++ = k + i < depth ? scale * w[r * row_step + (k + i) * column_step] : T(0);
}

/// Returns true if a panel would leave more than a quarter of its lanes empty, and the depth is large enough that the few
/// extra instructions for each sample do not matter.
template <class T>
bool by_rows(Size rows, Size depth) {
  const Size vectors = (rows + lanes<T> - 1) / lanes<T>;
  return rows <= 2 * group_rows<T> && 4 * rows < 3 * vectors * lanes<T> && depth >= 4 * lanes<T>;
}
