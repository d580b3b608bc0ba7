#pragma once
/// Activation functions rho, with the derivatives and potentials that both energy conventions need.
///
/// Every derivative is a function of the value r = rho(x), because a relaxing network already stores r. A unit is
/// treated as saturated, like a unit held by a bound, if rho' is not larger than `saturated_slope`, where rounding
/// errors of r dominate it. `potential` is the Legendre potential G of rho, defined by G'(r) = rho^-1(r); it is the
/// leak of a network whose states are the values r.

#include <limits>
#include <numbers>
#include <string>
#include <variant>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/kernels.hpp"

namespace equiprop {

/// rho(x) = tanh(x).
struct Tanh {
  static constexpr bool holomorphic = true;  ///< rho is complex-differentiable

  /// Returns rho(x).
  template <Scalar S>
  S value(const S& x) const {
    using std::tanh;
    return tanh(x);
  }
  /// Returns rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return (S(1) - r) * (S(1) + r);
  }
  /// Returns the largest rho'(x) that is lost in the rounding of r near the ends of the range: such a unit is
  /// saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon();
  }
  /// Returns rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return S(-2) * r * slope(r);
  }
  /// Returns max |rho'''|.
  double largest_third_derivative() const { return 2; }
  /// Returns max rho' = 1.
  double largest_slope() const { return 1; }
  /// Returns x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return S(0.5) * log((S(1) + r) / (S(1) - r));
  }
  /// Returns the Legendre potential r artanh r + log(1 - r^2) / 2, computed so that it is finite at r = +-1.
  template <Scalar S>
  S potential(const S& r) const;
};

/// rho(x) = 1 / (1 + exp(-gain (x - shift))). gain 4, shift 1/2 approximates clip(x, 0, 1) (Ernoult
/// et al. 2019; Laborieux & Zenke 2022); gain 1, shift 0 is the sigmoid.
struct Logistic {
  static constexpr bool holomorphic = true;  ///< rho is complex-differentiable
  double gain = 1;                           ///< factor of the argument, positive
  double shift = 0;                          ///< the x at which rho is 1/2

  /// Returns rho(x) as (1 + tanh(gain (x - shift) / 2)) / 2, which does not overflow.
  template <Scalar S>
  S value(const S& x) const {
    using std::tanh;
    return S(0.5) + S(0.5) * tanh(argument(x));
  }
  /// Returns rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return real<S>(gain) * r * (S(1) - r);
  }
  /// Returns the largest rho'(x) that is lost in the rounding of r near the ends of the range: such a unit is
  /// saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon() * static_cast<RealOf<S>>(gain);
  }
  /// Returns rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return real<S>(gain) * slope(r) * (S(1) - S(2) * r);
  }
  /// Returns max |rho'''|, which is attained at the shift.
  double largest_third_derivative() const { return gain * gain * gain / 8; }
  /// Returns max rho', which is attained at the shift.
  double largest_slope() const { return gain / 4; }
  /// Returns x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return log(r / (S(1) - r)) / real<S>(gain) + real<S>(shift);
  }
  /// Returns the Legendre potential (r log r + (1 - r) log(1 - r)) / gain + shift r.
  template <Scalar S>
  S potential(const S& r) const;

 private:
  template <Scalar S>
  S argument(const S& x) const {
    return real<S>(gain / 2) * (x - real<S>(shift));
  }
  template <Scalar S>
  static S real(double number) {
    return S(static_cast<RealOf<S>>(number));
  }
};

/// rho(x) = log(1 + exp(gain x)) / gain: a smooth rectifier.
struct Softplus {
  static constexpr bool holomorphic = true;  ///< rho is complex-differentiable
  double gain = 1;                           ///< factor of the argument, positive

  /// Returns rho(x) as max(x, 0) + log(1 + exp(-gain |x|)) / gain, which does not overflow.
  template <Scalar S>
  S value(const S& x) const;
  /// Returns rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return S(1) - decay(r);
  }
  /// Returns the largest rho'(x) that is lost in the rounding of r near the ends of the range: such a unit is
  /// saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon();
  }
  /// Returns rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return number<S>(gain) * decay(r) * slope(r);
  }
  /// Returns max |rho'''|: the largest second derivative of a logistic, times gain^2.
  double largest_third_derivative() const { return gain * gain / (6 * std::numbers::sqrt3); }
  /// Returns sup rho' = 1.
  double largest_slope() const { return 1; }
  /// Returns x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return r + log(slope(r)) / number<S>(gain);
  }
  /// Returns the Legendre potential r^2 / 2 + Li2(exp(-gain r)) / gain^2.
  template <Scalar S>
  S potential(const S& r) const;

 private:
  template <Scalar S>
  S decay(const S& r) const {
    using std::exp;
    return exp(number<S>(-gain) * r);
  }
  template <Scalar S>
  static S number(double value) {
    return S(static_cast<RealOf<S>>(value));
  }
};

/// rho(x) = clip(gain x, lower, upper). The fields (gain, lower, upper) are (1, 0, 1) for the hard sigmoid, (1/2, 0, 1)
/// for clip(x/2, 0, 1) (Laborieux et al. 2021), (1, 0, inf) for relu and (1, -inf, inf) for linear units. The states
/// are kept inside a box, so the energy is quadratic there and the projection onto the box does the clipping.
struct Clip {
  double gain = 1;   ///< slope of rho inside the bounds, positive
  double lower = 0;  ///< lower bound of rho, may be -infinity
  double upper = 1;  ///< upper bound of rho, may be infinity

  /// Returns rho(x).
  template <Scalar S>
  S value(const S& x) const {
    return clamp(real<S>(gain) * x, 1.0);
  }
  /// Returns rho'(x), given r = rho(x): `gain` strictly inside the bounds, 0 at and beyond them.
  template <Scalar S>
  S slope(const S& r) const {
    return real_part(r) > bound<S>(lower) && real_part(r) < bound<S>(upper) ? real<S>(gain) : S(0);
  }
  /// Returns 0, because the slope is exact.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 0;
  }
  /// Returns rho''(x) = 0.
  template <Scalar S>
  S curvature(const S&) const {
    return S(0);
  }
  /// Returns 0 = rho''' inside the bounds.
  double largest_third_derivative() const { return 0; }
  /// Returns max rho'.
  double largest_slope() const { return gain; }
  /// Returns x, given r = rho(x) inside the bounds.
  template <Scalar S>
  S inverse(const S& r) const {
    return r / real<S>(gain);
  }
  /// Returns the Legendre potential G(r) = r^2 / (2 gain).
  template <Scalar S>
  S potential(const S& r) const {
    return r * r / real<S>(2 * gain);
  }
  /// Returns x clipped to [lower, upper] / divisor.
  template <Scalar S>
  S clamp(const S& x, double divisor) const {
    const auto low = bound<S>(lower / divisor), high = bound<S>(upper / divisor);
    return real_part(x) < low ? S(low) : real_part(x) > high ? S(high) : x;
  }
  /// Returns true if at least one bound is finite.
  bool bounded() const { return std::isfinite(lower) || std::isfinite(upper); }

 private:
  template <Scalar S>
  static RealOf<S> bound(double number) {
    return static_cast<RealOf<S>>(number);
  }
  template <Scalar S>
  static S real(double number) {
    return S(bound<S>(number));
  }
};

/// An activation function, chosen at run time.
using Activation = std::variant<Tanh, Logistic, Softplus, Clip>;

/// Returns rho(x) = tanh(x).
inline Activation tanh_activation() {
  return Tanh{};
}
/// Returns rho(x) = 1 / (1 + exp(-x)).
inline Activation sigmoid() {
  return Logistic{};
}
/// Returns rho(x) = 1 / (1 + exp(-gain (x - shift))). Throws InvalidArgument unless gain is positive and both are
/// finite.
inline Logistic logistic(double gain, double shift) {
  require(gain > 0 && std::isfinite(gain) && std::isfinite(shift), "logistic",
          "The gain is positive and the shift finite.", "gain ", gain, ", shift ", shift);
  return {gain, shift};
}
/// Returns rho(x) = log(1 + exp(gain x)) / gain. Throws InvalidArgument unless gain is positive and finite.
inline Softplus softplus(double gain = 1) {
  require(gain > 0 && std::isfinite(gain), "softplus", "The gain is positive.", gain);
  return {gain};
}
/// Returns rho(x) = clip(x, 0, 1).
inline Activation hard_sigmoid() {
  return Clip{1, 0, 1};
}
/// Returns rho(x) = clip(x / 2, 0, 1).
inline Activation half_hard_sigmoid() {
  return Clip{0.5, 0, 1};
}
/// Returns rho(x) = max(x, 0).
inline Activation relu() {
  return Clip{1, 0, std::numeric_limits<double>::infinity()};
}
/// Returns rho(x) = x.
inline Activation linear() {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return Clip{1, -infinity, infinity};
}

/// Returns true if rho is complex-differentiable, so that beta may be continued into the complex plane.
inline bool holomorphic(const Activation& activation) {
  if (const auto* clip = std::get_if<Clip>(&activation)) return !clip->bounded();
  return true;
}

namespace detail {

/// Returns x log x, or 0 at x = 0.
template <Scalar S>
S x_log_x(const S& x) {
  using std::log;
  return real_part(x) == 0 ? S(0) : S(x * log(x));
}

template <Scalar S>
S log_one_plus(const S& x) {
  if constexpr (std::floating_point<S>) {
    return std::log1p(x);
  } else {
    using std::log;
    return log(S(1) + x);
  }
}

/// Returns the dilogarithm Li2(z) = sum_k z^k / k^2 for 0 <= z <= 1. Near 1 it uses Li2(z) + Li2(1 - z) = pi^2 / 6 -
/// log z log(1 - z).
template <Scalar S>
S dilogarithm(const S& z) {
  using std::log;
  const bool near_one = real_part(z) > RealOf<S>(0.5);
  const S w = near_one ? S(S(1) - z) : z;
  S sum(0), power(1);
  for (int k = 1; k <= 60; ++k) {  // 2^-60 is below rounding
    power = power * w;
    sum = sum + power / S(static_cast<RealOf<S>>(k * k));
  }
  if (!near_one) return sum;
  const S limit(static_cast<RealOf<S>>(std::numbers::pi * std::numbers::pi / 6));
  return magnitude(w) == 0 ? limit : S(limit - log(z) * log(w) - sum);
}

}  // namespace detail

template <Scalar S>
S Softplus::value(const S& x) const {
  using std::exp;
  const S scaled = number<S>(gain) * x;
  if (real_part(scaled) > 0) return x + detail::log_one_plus(S(exp(-scaled))) / number<S>(gain);
  return detail::log_one_plus(S(exp(scaled))) / number<S>(gain);
}

template <Scalar S>
S Softplus::potential(const S& r) const {
  return S(0.5) * r * r + detail::dilogarithm(decay(r)) / number<S>(gain * gain);
}

template <Scalar S>
S Tanh::potential(const S& r) const {
  const S half(0.5);
  return half * (detail::x_log_x(S(1) + r) + detail::x_log_x(S(1) - r));
}

template <Scalar S>
S Logistic::potential(const S& r) const {
  return (detail::x_log_x(r) + detail::x_log_x(S(1) - r)) / real<S>(gain) + real<S>(shift) * r;
}

namespace detail {

template <class Rho, Scalar S>
void activate(const Rho& rho, const ConstStateRef<S>& x, StateRef<S>& out) {
  out = x.unaryExpr([=](const S& v) { return rho.value(v); });
}

template <std::floating_point T>
void activate(const Tanh&, const ConstStateRef<T>& x, StateRef<T>& out) {
  const auto& kernel = kernels<T>();
  for (Index j = 0; j < x.cols(); ++j) kernel.tanh(x.rows(), x.col(j).data(), out.col(j).data());
}

template <std::floating_point T>
void activate(const Logistic& rho, const ConstStateRef<T>& x, StateRef<T>& out) {
  const auto& kernel = kernels<T>();
  const T gain = static_cast<T>(rho.gain), shift = static_cast<T>(rho.shift);
  for (Index j = 0; j < x.cols(); ++j)
    kernel.logistic(x.rows(), gain, shift, x.col(j).data(), out.col(j).data());
}

}  // namespace detail

/// out = rho(x), elementwise; `out` may be `x`. For real numbers, tanh and logistic are computed by the kernels, whose
/// last bits may differ from those of rho.value.
template <Scalar S>
void activate(const Activation& activation, const ConstStateRef<S>& x, StateRef<S> out) {
  std::visit([&](const auto& rho) { detail::activate(rho, x, out); }, activation);
}

}  // namespace equiprop
