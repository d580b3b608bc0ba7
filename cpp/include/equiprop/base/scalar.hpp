#pragma once
/// The number types a model may be built on, and the few questions the solvers ask of them.

#include <algorithm>
#include <cmath>
#include <complex>
#include <concepts>
#include <limits>

#include "equiprop/base/dual.hpp"

namespace [[gnu::visibility("default")]] equiprop {

using Complex = std::complex<double>;

/// float trains, double verifies, complex continues beta analytically, dual takes exact limits.
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

/// The ordered field under a scalar: residuals, tolerances and bounds live there.
template <Scalar S>
using RealOf = typename detail::RealPartType<S>::type;

template <Scalar S>
RealOf<S> real_part(const S& x) {
  if constexpr (std::floating_point<S>)
    return x;
  else if constexpr (std::same_as<S, Complex>)
    return x.real();
  else
    return x.value;
}

/// |x| as a convergence test sees it. The derivative of a dual number converges after its value,
/// so stopping on the value alone would return a wrong derivative; NaN in either part is kept.
template <Scalar S>
RealOf<S> magnitude(const S& x) {
  if constexpr (std::same_as<S, Dual<double>>) {
    const double value = std::abs(x.value), derivative = std::abs(x.derivative);
    return derivative > value || std::isnan(derivative) ? derivative : value;
  } else {
    return std::abs(x);
  }
}

/// Default tolerance of every iterative solver: eps^(2/3), about 2e-5 in float and 4e-11 in double.
/// A residual r moves a gradient estimated at nudging factor beta by about r / beta; this leaves
/// five digits in double, two in float, at beta = 0.1, and stays well above rounding.
template <Scalar S>
RealOf<S> default_tolerance() {
  return std::cbrt(std::numeric_limits<RealOf<S>>::epsilon() *
                   std::numeric_limits<RealOf<S>>::epsilon());
}

}  // namespace equiprop
