#pragma once
/// The scalar types of models, and properties of them that solvers need.

#include <algorithm>
#include <cmath>
#include <complex>
#include <concepts>
#include <limits>

#include "equiprop/base/dual.hpp"

namespace equiprop {

/// Complex scalar, for analytic continuation of beta into the complex plane.
using Complex = std::complex<double>;

/// A scalar type of a model: float for training, double for verification, complex for analytic continuation in beta,
/// dual numbers for exact limits beta -> 0.
template <class S>
concept Scalar = std::same_as<S, float> || std::same_as<S, double> || std::same_as<S, Complex> ||
    std::same_as<S, Dual<double>>;

namespace detail {
template <class S>
struct RealPartType {
  using type = S;
};
template <class T>
struct RealPartType<std::complex<T>> {
  using type = T;
};
template <class T>
struct RealPartType<Dual<T>> {
  using type = T;
};
}  // namespace detail

/// The real type that belongs to a scalar, used for residuals, tolerances and bounds.
template <Scalar S>
using RealOf = typename detail::RealPartType<S>::type;

/// Returns x itself if it is real, the real part of a complex number, or the value of a dual number.
template <Scalar S>
RealOf<S> real_part(const S& x) {
  if constexpr (std::floating_point<S>)
    return x;
  else if constexpr (std::same_as<S, Complex>)
    return x.real();
  else
    return x.value;
}

/// Returns |x| for convergence tests: of a dual number, the larger of |value| and |derivative|, because the derivative
/// converges later than the value. NaN in either part gives NaN.
template <Scalar S>
RealOf<S> magnitude(const S& x) {
  if constexpr (std::same_as<S, Dual<double>>) {
    const double value = std::abs(x.value), derivative = std::abs(x.derivative);
    return derivative > value || std::isnan(derivative) ? derivative : value;
  } else {
    return std::abs(x);
  }
}

/// Returns the default tolerance of every iterative solver: eps^(2/3), about 2e-5 in float and 4e-11 in double. A
/// residual r changes a gradient that is estimated with nudging factor beta by about r / beta. At beta = 0.1 this
/// leaves five correct digits in double and two in float, and the tolerance stays well above the rounding errors.
template <Scalar S>
RealOf<S> default_tolerance() {
  return std::cbrt(std::numeric_limits<RealOf<S>>::epsilon() *
                   std::numeric_limits<RealOf<S>>::epsilon());
}

}  // namespace equiprop
