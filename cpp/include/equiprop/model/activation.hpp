#pragma once
/// Activation functions rho, with what both energy conventions need of them.
///
/// Every derivative is a function of the value r = rho(x), because a relaxing network already holds
/// r. Where rho' is as small as the rounding error of r makes it, at `saturated_slope`, it counts as 0: a bound holds
/// the unit. `potential` is the Legendre potential G of rho, defined by G'(r) = rho^-1(r); it is the leak of
/// a network whose states are the values r themselves.

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
  static constexpr bool holomorphic = true;  ///< complex-differentiable

  /// rho(x).
  template <Scalar S>
  S value(const S& x) const {
    using std::tanh;
    return tanh(x);
  }
  /// rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return (S(1) - r) * (S(1) + r);
  }
  /// The largest rho'(x) that is lost in the rounding of r near an end of the range: the unit is saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon();
  }
  /// rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return S(-2) * r * slope(r);
  }
  /// x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return S(0.5) * log((S(1) + r) / (S(1) - r));
  }
  /// r artanh r + log(1 - r^2) / 2, written so that r = +-1 is finite.
  template <Scalar S>
  S potential(const S& r) const;
};

/// rho(x) = 1 / (1 + exp(-gain (x - shift))). gain 4, shift 1/2 approximates clip(x, 0, 1) (Ernoult
/// et al. 2019; Laborieux & Zenke 2022); gain 1, shift 0 is the sigmoid.
struct Logistic {
  static constexpr bool holomorphic = true;  ///< complex-differentiable
  double gain = 1;                           ///< positive
  double shift = 0;                          ///< where rho is 1/2

  /// (1 + tanh(gain (x - shift) / 2)) / 2: the same function, without overflow.
  template <Scalar S>
  S value(const S& x) const {
    using std::tanh;
    return S(0.5) + S(0.5) * tanh(argument(x));
  }
  /// rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return real<S>(gain) * r * (S(1) - r);
  }
  /// The largest rho'(x) that is lost in the rounding of r near an end of the range: the unit is saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon() * static_cast<RealOf<S>>(gain);
  }
  /// rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return real<S>(gain) * slope(r) * (S(1) - S(2) * r);
  }
  /// x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return log(r / (S(1) - r)) / real<S>(gain) + real<S>(shift);
  }
  /// (r log r + (1 - r) log(1 - r)) / gain + shift r.
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

/// rho(x) = log(1 + exp(gain x)) / gain: a rectifier without a kink.
struct Softplus {
  static constexpr bool holomorphic = true;  ///< complex-differentiable
  double gain = 1;                           ///< positive

  /// max(x, 0) + log(1 + exp(-gain |x|)) / gain: the same function, without overflow.
  template <Scalar S>
  S value(const S& x) const;
  /// rho'(x), given r = rho(x).
  template <Scalar S>
  S slope(const S& r) const {
    return S(1) - decay(r);
  }
  /// The largest rho'(x) that is lost in the rounding of r near an end of the range: the unit is saturated.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 4 * std::numeric_limits<RealOf<S>>::epsilon();
  }
  /// rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S& r) const {
    return number<S>(gain) * decay(r) * slope(r);
  }
  /// x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    using std::log;
    return r + log(slope(r)) / number<S>(gain);
  }
  /// r^2 / 2 + Li2(exp(-gain r)) / gain^2.
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

/// rho(x) = clip(slope x, lower, upper): hard sigmoid (1, 0, 1), clip(x/2, 0, 1) (Laborieux et al.
/// 2021), relu (1, 0, inf), linear (1, -inf, inf). Its states are held inside a box, so the energy
/// is quadratic there and the clipping is left to the projection.
struct Clip {
  double gain = 1;   ///< the slope inside the bounds
  double lower = 0;  ///< may be -infinity
  double upper = 1;  ///< may be infinity

  /// rho(x).
  template <Scalar S>
  S value(const S& x) const {
    return clamp(real<S>(gain) * x, 1.0);
  }
  /// rho'(x), given r = rho(x): `gain` strictly inside the bounds, 0 at and beyond them.
  template <Scalar S>
  S slope(const S& r) const {
    return real_part(r) > bound<S>(lower) && real_part(r) < bound<S>(upper) ? real<S>(gain) : S(0);
  }
  /// 0: the slope is exact.
  template <Scalar S>
  RealOf<S> saturated_slope() const {
    return 0;
  }
  /// rho''(x), given r = rho(x).
  template <Scalar S>
  S curvature(const S&) const {
    return S(0);
  }
  /// x, given r = rho(x).
  template <Scalar S>
  S inverse(const S& r) const {
    return r / real<S>(gain);
  }
  /// G(r) = r^2 / (2 gain).
  template <Scalar S>
  S potential(const S& r) const {
    return r * r / real<S>(2 * gain);
  }
  /// Clips to [lower, upper] / divisor.
  template <Scalar S>
  S clamp(const S& x, double divisor) const {
    const auto low = bound<S>(lower / divisor), high = bound<S>(upper / divisor);
    return real_part(x) < low ? S(low) : real_part(x) > high ? S(high) : x;
  }
  /// Whether there is a box.
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

/// One of them.
using Activation = std::variant<Tanh, Logistic, Softplus, Clip>;

/// tanh(x).
inline Activation tanh_activation() {
  return Tanh{};
}
/// 1 / (1 + exp(-x)).
inline Activation sigmoid() {
  return Logistic{};
}
/// 1 / (1 + exp(-gain (x - shift))). Throws InvalidArgument unless gain is positive and both are finite.
inline Logistic logistic(double gain, double shift) {
  require(gain > 0 && std::isfinite(gain) && std::isfinite(shift), "logistic",
          "The gain is positive and the shift finite.", "gain ", gain, ", shift ", shift);
  return {gain, shift};
}
/// log(1 + exp(gain x)) / gain. Throws InvalidArgument unless gain is positive and finite.
inline Softplus softplus(double gain = 1) {
  require(gain > 0 && std::isfinite(gain), "softplus", "The gain is positive.", gain);
  return {gain};
}
/// clip(x, 0, 1).
inline Activation hard_sigmoid() {
  return Clip{1, 0, 1};
}
/// clip(x / 2, 0, 1).
inline Activation half_hard_sigmoid() {
  return Clip{0.5, 0, 1};
}
/// max(x, 0).
inline Activation relu() {
  return Clip{1, 0, std::numeric_limits<double>::infinity()};
}
/// x.
inline Activation linear() {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return Clip{1, -infinity, infinity};
}

/// Whether rho is complex-differentiable, so that beta may be continued into the complex plane.
inline bool holomorphic(const Activation& activation) {
  if (const auto* clip = std::get_if<Clip>(&activation)) return !clip->bounded();
  return true;
}

namespace detail {

/// x log x, continued to 0 at x = 0.
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

/// sum_k z^k / k^2, for z between 0 and 1; near 1 by Li2(z) + Li2(1 - z) = pi^2 / 6 - log z log(1 - z).
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

/// out = rho(x), elementwise; `out` may be `x`. Real numbers under tanh and logistic as the kernels compute them,
/// which is not rho.value to the last bit.
template <Scalar S>
void activate(const Activation& activation, const ConstStateRef<S>& x, StateRef<S> out) {
  std::visit([&](const auto& rho) { detail::activate(rho, x, out); }, activation);
}

}  // namespace equiprop
