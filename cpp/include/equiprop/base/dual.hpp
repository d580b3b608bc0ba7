#pragma once
/// Dual numbers a + b e with e^2 = 0: exact first derivatives by ordinary arithmetic (forward-mode differentiation).
///
/// f(a + b e) = f(a) + f'(a) b e, so a program that runs on `Dual(x, 1)` stores df/dx in `.derivative`, without
/// truncation error and without cancellation. A network that relaxes with beta = Dual(0, 1) gives the exact limit
/// beta -> 0 of Equilibrium Propagation. Only the operations that this library needs are defined.

#include <Eigen/Core>
#include <cmath>
#include <concepts>

#include "equiprop/base/export.hpp"

namespace equiprop {

/// The dual number a + b e. It is exported because the visibility of a template instance is limited by that of its
/// template arguments.
template <std::floating_point T>
struct EQUIPROP_EXPORT Dual {
  T value{};       ///< value a
  T derivative{};  ///< derivative b

  constexpr Dual() = default;
  /// Converts a number to a dual constant, whose derivative is 0.
  ///@{
  constexpr Dual(T value_, T derivative_ = T(0)) : value(value_), derivative(derivative_) {}
  template <class U>
  requires(std::is_arithmetic_v<U> && !std::same_as<U, T>) constexpr Dual(U value_)
      : value(static_cast<T>(value_)) {}
  ///@}

  /// Arithmetic operators, with e^2 = 0.
  ///@{
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
  ///@}
  /// Compares both parts.
  friend constexpr bool operator==(const Dual& a, const Dual& b) = default;
};

/// Elementary functions, by f(a + b e) = f(a) + f'(a) b e.
///@{
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
///@}

}  // namespace equiprop

/// @cond traits that Eigen requires of a scalar
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
/// @endcond
