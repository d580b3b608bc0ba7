/// exp, tanh and logistic of a vector, without branches, so that each result depends only on its argument. All are
/// computed from e^x = 2^n (1 + t) with x = n ln 2 + r, |r| <= ln(2) / 2. Without a fused multiply-add a result may
/// differ in its last bit; the errors stay within the bounds that `Kernels` states. The device's kernels include this
/// file with vectors of one number, so it uses arithmetic, comparisons and `multiply_add` only.

template <class T>
struct Exponential;

/// `polynomial` approximates (e^r - 1 - r) / r^2 for |r| <= 1.0001 ln(2) / 2 (Remez exchange, then rounded), such that
/// r + r^2 polynomial(r) has the relative error 1.7e-8 = 2^-25.8 as an approximation of e^r - 1.
template <>
struct Exponential<float> {
  static constexpr int mantissa_bits = 23;
  static constexpr unsigned int one = 0x3f800000, sign = 0x80000000;
  static constexpr float round = 0x1.8p23F;  ///< round + x has the nearest integer in its low bits
  static constexpr float log2_e = 0x1.715476p+0F;
  static constexpr float ln2_high = 0x1.62e4p-1F;  ///< its product with any n is exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
  static constexpr float smallest = -104, largest = 89;  ///< below, exp is 0; above, infinite
  static constexpr float negligible = -40;  ///< below, 1 + exp rounds to 1; 2^n is still normal
  static constexpr int coefficients = 5;
  static constexpr float polynomial[coefficients] = {0x1.fffffep-2F, 0x1.5554bp-3F, 0x1.555674p-5F,
                                         0x1.122776p-7F, 0x1.6bec08p-10F};
};

/// The constants in double precision; the relative error is 9.1e-19 = 2^-59.9.
template <>
struct Exponential<double> {
  static constexpr int mantissa_bits = 52;
  static constexpr unsigned long long one = 0x3ff0000000000000, sign = 0x8000000000000000;
  static constexpr double round = 0x1.8p52;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;
  static constexpr double smallest = -746, largest = 710;
  static constexpr double negligible = -80;
  static constexpr int coefficients = 11;
  static constexpr double polynomial[coefficients] = {0x1p-1,
                                          0x1.5555555555559p-3,
                                          0x1.555555555553fp-5,
                                          0x1.111111110f6d9p-7,
                                          0x1.6c16c16c1f064p-10,
                                          0x1.a01a01afd42e9p-13,
                                          0x1.a01a017bcad72p-16,
                                          0x1.71ddf87e09375p-19,
                                          0x1.27e53624bdc6fp-22,
                                          0x1.af5e76234c56p-26,
                                          0x1.1ee8919efadffp-29};
};

template <class T>
using Bits = typename Simd<T>::Bits;

template <class T>
EQUIPROP_INLINE Bits<T> bits_of(const Vector<T>& x) {
  Bits<T> bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class T>
EQUIPROP_INLINE Vector<T> from_bits(const Bits<T>& bits) {
  Vector<T> x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
EQUIPROP_INLINE Vector<T> in_every_lane(T x) {
  return x - Vector<T>{};
}

/// Returns max(x, bound) in each lane; a NaN of x is kept.
template <class T>
EQUIPROP_INLINE Vector<T> at_least(T bound, const Vector<T>& x) {
  const Vector<T> lower = in_every_lane(bound);
  return x < lower ? lower : x;
}

template <class T>
EQUIPROP_INLINE Vector<T> at_most(T bound, const Vector<T>& x) {
  const Vector<T> upper = in_every_lane(bound);
  return x > upper ? upper : x;
}

template <class T>
EQUIPROP_INLINE Vector<T> minus_magnitude(const Vector<T>& x) {
  return from_bits<T>(bits_of<T>(x) | Exponential<T>::sign);
}

template <class T>
EQUIPROP_INLINE Vector<T> with_sign_of(const Vector<T>& x, const Vector<T>& magnitude) {
  constexpr auto sign = Exponential<T>::sign;
  return from_bits<T>((bits_of<T>(magnitude) & ~sign) | (bits_of<T>(x) & sign));
}

/// The reduced form of x: e^x = 2^n (1 + t).
template <class T>
struct Reduced {
  Vector<T> n;
  Bits<T> n_bits;  ///< n in the lowest bits
  Vector<T> t;
};

/// Returns sum_k p_k r^k of the coefficients from number k on.
template <class T, int k = 0>
EQUIPROP_INLINE Vector<T> polynomial(const Vector<T>& r) {
  using E = Exponential<T>;
  Vector<T> sum = in_every_lane(T(E::polynomial[k]));
  if constexpr (k + 1 < E::coefficients) multiply_add<T>(polynomial<T, k + 1>(r), r, sum);
  return sum;
}

template <class T>
EQUIPROP_INLINE Reduced<T> reduce(const Vector<T>& x) {
  using E = Exponential<T>;
  Vector<T> rounded = in_every_lane(E::round);
  multiply_add<T>(x, in_every_lane(E::log2_e), rounded);
  const Vector<T> n = rounded - E::round;
  Vector<T> r = x;
  multiply_add<T>(n, in_every_lane(-E::ln2_high), r);
  multiply_add<T>(n, in_every_lane(-E::ln2_low), r);
  Vector<T> t = r;
  multiply_add<T>(r * r, polynomial<T>(r), t);
  return {n, bits_of<T>(rounded), t};
}

/// Returns 2^n if it is a normal number; n is in the lowest bits.
template <class T>
EQUIPROP_INLINE Vector<T> power_of_two(const Bits<T>& n) {
  return from_bits<T>((n << Exponential<T>::mantissa_bits) + Exponential<T>::one);
}

/// The factor 2^n as two factors, since neither 2^128 nor 2^-149 is a normal number. A subnormal result is rounded in
/// the multiplication by the second factor.
template <class T>
struct Scale {
  Vector<T> first, second;
  EQUIPROP_INLINE Vector<T> operator()(const Vector<T>& x) const { return x * first * second; }
};

template <class T>
EQUIPROP_INLINE Scale<T> scale_of(const Reduced<T>& x) {
  const Bits<T> half = bits_of<T>(x.n * T(0.5) + Exponential<T>::round);
  return {power_of_two<T>(half), power_of_two<T>(x.n_bits - half)};
}

template <class T>
EQUIPROP_INLINE Vector<T> exp(const Vector<T>& x) {
  using E = Exponential<T>;
  const Reduced<T> reduced = reduce<T>(at_most(E::largest, at_least<T>(E::smallest, x)));
  return scale_of(reduced)(T(1) + reduced.t);
}

/// Returns p = e / (1 + e) with e = exp(-|x|), which neither overflows nor cancels, or 1 - p for positive x. The
/// quotient is corrected for the rounding errors of its terms: (e + e') / (s + s') = p + (e' - p s') / s, where 1 / s =
/// 1 - p.
template <class T>
EQUIPROP_INLINE Vector<T> logistic(const Vector<T>& x) {
  const Reduced<T> reduced =
      reduce<T>(at_least<T>(Exponential<T>::smallest, minus_magnitude<T>(x)));
  const Scale<T> scale = scale_of(reduced);
  const Vector<T> y = T(1) + reduced.t, e = scale(y);
  const Vector<T> sum = T(1) + e;
  Vector<T> ratio = e / sum;
  Vector<T> error = scale(reduced.t - (y - T(1)));
  const Vector<T> minus_sum_error = ((sum - T(1)) - e) - error;
  multiply_add<T>(ratio, minus_sum_error, error);
  multiply_add<T>(error, T(1) - ratio, ratio);
  return x < Vector<T>{} ? ratio : T(1) - ratio;
}

/// Returns -m / (2 + m) with m = exp(-2 |x|) - 1, which is t itself for small x, with the sign of x. The quotient is
/// corrected like that of `logistic`, where 1 / (2 + m) = (1 - m / (2 + m)) / 2.
template <class T>
EQUIPROP_INLINE Vector<T> tanh(const Vector<T>& x) {
  const Reduced<T> reduced =
      reduce<T>(at_least<T>(Exponential<T>::negligible, T(2) * minus_magnitude<T>(x)));
  const Vector<T> power = power_of_two<T>(reduced.n_bits), offset = power - T(1);
  const Vector<T> high = power * reduced.t, m = offset + high;
  const Vector<T> minus_sum = T(-2) - m;
  Vector<T> ratio = m / minus_sum;
  Vector<T> error = high - (m - offset);
  const Vector<T> sum_error = (m + (minus_sum + T(2))) + error;
  multiply_add<T>(ratio, sum_error, error);
  Vector<T> minus_inverse = in_every_lane(T(-0.5));
  multiply_add<T>(in_every_lane(T(-0.5)), ratio, minus_inverse);
  multiply_add<T>(error, minus_inverse, ratio);
  return with_sign_of<T>(x, ratio);
}
