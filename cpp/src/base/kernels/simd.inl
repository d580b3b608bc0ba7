/// Vectors of one instruction set: types, sizes, loads and stores; part of kernels.inl.

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
constexpr Size first_cache = 1 << 15;   ///< bytes of L1 that a layer's weights may take
constexpr Size second_cache = 1 << 19;  ///< bytes of L2 that they may take: other layers need some of it

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef unsigned int Bits __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef int Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef unsigned char Bytes __attribute__((vector_size(EQUIPROP_VECTOR_BYTES / sizeof(float))));
  using Integer = int;
  static constexpr Integer magnitude = 0x7fffffff;
};
template <>
struct Simd<double> {
  typedef double Vector __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef unsigned long long Bits __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef long long Integers __attribute__((vector_size(EQUIPROP_VECTOR_BYTES)));
  typedef unsigned char Bytes __attribute__((vector_size(EQUIPROP_VECTOR_BYTES / sizeof(double))));
  using Integer = long long;
  static constexpr Integer magnitude = 0x7fffffffffffffff;
};
template <class T>
using Vector = typename Simd<T>::Vector;

/// Number of lanes of a vector.
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

/// Keeps v in a register: compilers would load it again for each use, which doubles the loads.
template <class T>
EQUIPROP_INLINE void keep([[maybe_unused]] Vector<T>& v) {
#ifdef EQUIPROP_REGISTER
  asm("" : "+" EQUIPROP_REGISTER(v));
#endif
}

/// c += a * b, fused if the instruction set has such an operation. It is called by name, because the project compiles
/// with -ffp-contract=off, so that the response rounds as Units::respond does.
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
/// Loads the first `count` numbers, at most a vector; the other lanes are 0.
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
/// Loads the first `count` numbers, at most a vector; the other lanes are 0.
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
