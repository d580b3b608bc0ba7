/// Kernels on arrays of numbers; part of kernels.inl.

/// change = max(change, |difference|) in each lane. Without the sign bit, the bit patterns of floating-point numbers
/// are ordered like the numbers, with NaN above infinity.
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

/// The square root of each lane, rounded correctly.
template <class T>
EQUIPROP_INLINE Vector<T> square_root(const Vector<T>& v) {
#ifdef EQUIPROP_SQUARE_ROOT_FLOAT
  if constexpr (sizeof(T) == sizeof(float))
    return EQUIPROP_SQUARE_ROOT_FLOAT(v);
  else
    return EQUIPROP_SQUARE_ROOT_DOUBLE(v);
#else
  Vector<T> root = v;
  for (Size i = 0; i < lanes<T>; ++i) root[i] = static_cast<T>(__builtin_sqrt(v[i]));
  return root;
#endif
}

template <class T>
EQUIPROP_INLINE void adam(const AdamNumbers<T>& numbers, const Vector<T>& g, T* theta, T* mean,
                          T* square) {
  const Vector<T> m = numbers.beta1 * load(mean) + (1 - numbers.beta1) * g;
  const Vector<T> v = numbers.beta2 * load(square) + (1 - numbers.beta2) * (g * g);
  store(mean, m);
  store(square, v);
  const Vector<T> size = numbers.root * square_root<T>(v) + numbers.epsilon;
  store(theta, numbers.keep * load(theta) - numbers.pace * (m / size));
}

template <class T>
void adam(Size count, const AdamNumbers<T>& numbers, const T* g, T* theta, T* mean, T* square) {
  Size i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>)
    adam<T>(numbers, load(g + i), theta + i, mean + i, square + i);
  if (i == count) return;
  const Size left = count - i;
  T rest[4][lanes<T>] = {};
  copy_numbers(g + i, rest[0], left);
  copy_numbers(theta + i, rest[1], left);
  copy_numbers(mean + i, rest[2], left);
  copy_numbers(square + i, rest[3], left);
  adam<T>(numbers, load(rest[0]), rest[1], rest[2], rest[3]);
  copy_numbers(rest[1], theta + i, left);
  copy_numbers(rest[2], mean + i, left);
  copy_numbers(rest[3], square + i, left);
}
