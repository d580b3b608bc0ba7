/// Passes over numbers in memory. Part of kernels.inl.

/// change = max(change, |difference|) in each lane. Without their signs the bit patterns of numbers are ordered as the
/// numbers are, with NaN above infinity.
template <class T>
EQUIPROP_INLINE void raise(const Vector<T>& difference, Vector<T>& change) {
  typedef typename Simd<T>::Integers Integers;
  const Integers size = (Integers)difference & Simd<T>::magnitude;
  const Integers largest = (Integers)change;
  change = (Vector<T>)(size > largest ? size : largest);
}
template <class T>
EQUIPROP_INLINE void raise(const Vector<T>& difference, T* change) {
  Vector<T> largest = load(change);
  raise<T>(difference, largest);
  store(change, largest);
}

/// Returns the largest of `most` and the lanes of v, none of them negative, by their bit patterns.
template <class T>
EQUIPROP_INLINE T largest_lane(const Vector<T>& v, T most) {
  using Integer = typename Simd<T>::Integer;
  Integer sizes[lanes<T>], largest;
  __builtin_memcpy(sizes, &v, sizeof sizes);
  __builtin_memcpy(&largest, &most, sizeof largest);
  for (Size i = 0; i < lanes<T>; ++i) largest = sizes[i] > largest ? sizes[i] : largest;
  __builtin_memcpy(&most, &largest, sizeof most);
  return most;
}

template <class T>
EQUIPROP_INLINE T lane_sum(const Vector<T>& v) {
  T numbers[lanes<T>];
  store(numbers, v);
  EQUIPROP_UNROLL
  for (Size width = lanes<T> / 2; width > 0; width /= 2)
    for (Size i = 0; i < width; ++i) numbers[i] += numbers[i + width];
  return numbers[0];
}

template <class T>
void largest_change(Size samples, const T* change, T* largest) {
  for (Size j = 0; j < samples; ++j)
    largest[j] = largest_lane<T>(load(change + j * lanes<T>), largest[j]);
}

template <class T>
T largest_size(Size count, const T* in) {
  constexpr Size at_once = 4;
  Vector<T> largest[at_once] = {};
  Size i = 0;
  for (; i + at_once * lanes<T> <= count; i += at_once * lanes<T>) {
    EQUIPROP_UNROLL
    for (Size v = 0; v < at_once; ++v) raise<T>(load(in + i + v * lanes<T>), largest[v]);
  }
  for (; i + lanes<T> <= count; i += lanes<T>) raise<T>(load(in + i), largest[0]);
  if (i < count) raise<T>(load_some(in + i, count - i), largest[0]);
  for (Size v = 1; v < at_once; ++v) raise<T>(largest[v], largest[0]);
  return largest_lane<T>(largest[0], T(0));
}

template <class T>
T inner(Size count, const T* a, const T* b) {
  constexpr Size at_once = 4;
  Vector<T> sum[at_once] = {};
  Size i = 0;
  for (; i + at_once * lanes<T> <= count; i += at_once * lanes<T>) {
    EQUIPROP_UNROLL
    for (Size v = 0; v < at_once; ++v)
      multiply_add<T>(load(a + i + v * lanes<T>), load(b + i + v * lanes<T>), sum[v]);
  }
  for (; i + lanes<T> <= count; i += lanes<T>) multiply_add<T>(load(a + i), load(b + i), sum[0]);
  if (i < count) multiply_add<T>(load_some(a + i, count - i), load_some(b + i, count - i), sum[0]);
  return lane_sum<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
void follow(Size count, ConjugateStep<T>& step) {
  const Vector<T> forth = step.alpha - Vector<T>{}, back = -forth;
  Vector<T> product = {}, largest = {};
  const auto advance = [&](const Vector<T>& p, const Vector<T>& q, const Vector<T>& d, Vector<T>& x,
                           Vector<T>& r) {
    multiply_add<T>(forth, p, x);
    multiply_add<T>(back, q, r);
    const Vector<T> z = d * r;
    multiply_add<T>(r, z, product);
    raise<T>(z, largest);
    return z;
  };
  Size i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) {
    Vector<T> x = load(step.x + i), r = load(step.r + i);
    store(step.z + i, advance(load(step.p + i), load(step.q + i), load(step.d + i), x, r));
    store(step.x + i, x);
    store(step.r + i, r);
  }
  if (const Size left = count - i; left > 0) {
    Vector<T> x = load_some(step.x + i, left), r = load_some(step.r + i, left);
    store_some(step.z + i,
               advance(load_some(step.p + i, left), load_some(step.q + i, left),
                       load_some(step.d + i, left), x, r),
               left);
    store_some(step.x + i, x, left);
    store_some(step.r + i, r, left);
  }
  step.product = lane_sum<T>(product);
  step.largest = largest_lane<T>(largest, T(0));
}

template <class T>
void turn(Size count, T beta, const T* z, T* p) {
  const Vector<T> factor = beta - Vector<T>{};
  const auto turned = [&](Vector<T> sum, const Vector<T>& old) {
    multiply_add<T>(factor, old, sum);
    return sum;
  };
  Size i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) store(p + i, turned(load(z + i), load(p + i)));
  if (const Size left = count - i; left > 0)
    store_some(p + i, turned(load_some(z + i, left), load_some(p + i, left)), left);
}
