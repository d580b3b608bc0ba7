#pragma once
/// Dual numbers a + b e with e^2 = 0: exact first derivatives by ordinary arithmetic.
///
/// f(a + b e) = f(a) + f'(a) b e, so running a program on `Dual(x, 1)` leaves df/dx in
/// `.derivative`, with no truncation error and no cancellation. Relaxing a network with
/// beta = Dual(0, 1) gives the exact beta -> 0 limit of Equilibrium Propagation.
/// Only the operations this library needs are defined.

#include <Eigen/Core>
#include <cmath>
#include <concepts>

namespace [[gnu::visibility("default")]] equiprop {

template <std::floating_point T>
struct Dual {
  T value{};
  T derivative{};

  constexpr Dual() = default;
  constexpr Dual(T value_, T derivative_ = T(0)) : value(value_), derivative(derivative_) {}
  template <class U>
  requires(std::is_arithmetic_v<U> && !std::same_as<U, T>) constexpr Dual(U value_)
      : value(static_cast<T>(value_)) {}

  constexpr Dual& operator+=(const Dual& o) { return *this = *this + o; }
  constexpr Dual& operator-=(const Dual& o) { return *this = *this - o; }
  constexpr Dual& operator*=(const Dual& o) { return *this = *this * o; }
  constexpr Dual& operator/=(const Dual& o) { return *this = *this / o; }

  friend constexpr Dual operator-(const Dual& a) { return {-a.value, -a.derivative}; }
  friend constexpr Dual operator+(const Dual& a, const Dual& b) {
    return {a.value + b.value, a.derivative + b.derivative};
  }
  friend constexpr Dual operator-(const Dual& a, const Dual& b) {
    return {a.value - b.value, a.derivative - b.derivative};
  }
  friend constexpr Dual operator*(const Dual& a, const Dual& b) {
    return {a.value * b.value, a.derivative * b.value + a.value * b.derivative};
  }
  friend constexpr Dual operator/(const Dual& a, const Dual& b) {
    const T quotient = a.value / b.value;
    return {quotient, (a.derivative - quotient * b.derivative) / b.value};
  }
  friend constexpr bool operator==(const Dual& a, const Dual& b) = default;
};

template <class T>
Dual<T> tanh(const Dual<T>& x) {
  const T t = std::tanh(x.value);
  return {t, (T(1) - t * t) * x.derivative};
}

template <class T>
Dual<T> exp(const Dual<T>& x) {
  const T e = std::exp(x.value);
  return {e, e * x.derivative};
}

template <class T>
Dual<T> log(const Dual<T>& x) {
  return {std::log(x.value), x.derivative / x.value};
}

}  // namespace equiprop

namespace Eigen {

template <class T>
struct NumTraits<equiprop::Dual<T>> : NumTraits<T> {
  using Real = equiprop::Dual<T>;
  using NonInteger = equiprop::Dual<T>;
  using Nested = equiprop::Dual<T>;
  using Literal = equiprop::Dual<T>;
  enum {
    IsComplex = 0,
    IsInteger = 0,
    IsSigned = 1,
    RequireInitialization = 1,
    ReadCost = 2,
    AddCost = 2,
    MulCost = 4
  };
};

}  // namespace Eigen
