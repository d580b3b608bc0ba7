#pragma once
/// The units of a layer in kernels: the rules of model/units.hpp for one unit of one sample.

#include <cmath>

#include "device.hpp"
#include "engine.hpp"

namespace equiprop::cuda {

/// Functions of base/kernels/functions.inl for vectors of one number.
namespace scalar {

template <class T>
struct Simd;
template <>
struct Simd<float> {
  using Bits = unsigned int;
};
template <>
struct Simd<double> {
  using Bits = unsigned long long;
};
template <class T>
using Vector = T;

template <class T>
__device__ __forceinline__ void multiply_add(const T& a, const T& b, T& c) {
  c = fused(a, b, c);
}

#define EQUIPROP_INLINE __device__ __forceinline__
#include "base/kernels/functions.inl"
#undef EQUIPROP_INLINE

}  // namespace scalar

/// The units of a layer, with numbers of the kernels' type.
template <class T>
struct Units {
  Rho rho;
  bool legendre;
  T gain, shift;
  T lower, upper;  ///< bounds of the states of a clip
  T signal_gain;   ///< slope of a linear signal
  T force_gain;    ///< gain of an outside force on a clip
  T bend;          ///< max |rho'''|
  T saturated;     ///< slope up to which a unit is saturated

  __device__ bool clips() const { return rho == Rho::clip; }
  __device__ bool linear_signal() const { return legendre || clips(); }

  __device__ T clamp(T v) const { return v < lower ? lower : v > upper ? upper : v; }
  __device__ T decay(T r) const { return scalar::exp<T>(-gain * r); }

  /// rho(x)
  __device__ T value(T x) const {
    switch (rho) {
      case Rho::tanh:
        return scalar::tanh<T>(x);
      case Rho::logistic:
        return scalar::logistic<T>(gain * (x - shift));
      case Rho::softplus: {
        const T scaled = gain * x;
        const T tail = std::log1p(scalar::exp<T>(scaled > 0 ? -scaled : scaled)) / gain;
        return scaled > 0 ? x + tail : tail;
      }
      default: {
        const T low = lower * signal_gain, high = upper * signal_gain, v = gain * x;
        return v < low ? low : v > high ? high : v;
      }
    }
  }
  /// rho'(x), given r = rho(x)
  __device__ T slope(T r) const {
    switch (rho) {
      case Rho::tanh:
        return (T(1) - r) * (T(1) + r);
      case Rho::logistic:
        return gain * r * (T(1) - r);
      case Rho::softplus:
        return T(1) - decay(r);
      default:
        return r > lower * signal_gain && r < upper * signal_gain ? gain : T(0);
    }
  }
  /// rho''(x), given r = rho(x)
  __device__ T curvature(T r) const {
    switch (rho) {
      case Rho::tanh:
        return T(-2) * r * slope(r);
      case Rho::logistic:
        return gain * slope(r) * (T(1) - T(2) * r);
      case Rho::softplus:
        return gain * decay(r) * slope(r);
      default:
        return T(0);
    }
  }
  /// x, given r = rho(x)
  __device__ T inverse(T r) const {
    switch (rho) {
      case Rho::tanh:
        return T(0.5) * std::log((T(1) + r) / (T(1) - r));
      case Rho::logistic:
        return std::log(r / (T(1) - r)) / gain + shift;
      case Rho::softplus:
        return r + std::log(slope(r)) / gain;
      default:
        return r / gain;
    }
  }

  __device__ T signal(T s) const { return linear_signal() ? signal_gain * s : value(s); }
  /// signal'(s), given u = signal(s)
  __device__ T signal_slope(T u) const { return linear_signal() ? signal_gain : slope(u); }
  /// leak'(s)
  __device__ T leak_gradient(T s) const { return legendre ? inverse(s) : s; }
  /// leak''(s) - signal''(s) p, given u = signal(s) and the drive p
  __device__ T curvature_at(T s, T u, T p) const {
    if (!legendre) return linear_signal() ? T(1) : T(1) - curvature(u) * p;
    if (clips()) return T(1) / gain;
    const T at = slope(s);
    return T(1) / (at <= saturated ? saturated : at);
  }
  /// The state at rest: the response to zero drive.
  __device__ T rest() const { return clips() ? clamp(T(0)) : legendre ? value(T(0)) : T(0); }
  /// The response to a change of the force, under the drive p; 0 if a bound holds the unit or rho is saturated.
  __device__ T mobility(T p) const {
    if (!linear_signal()) return T(1);
    const T at = slope(value(signal_gain * p));
    return at <= saturated ? T(0) : legendre ? at : at / signal_gain;
  }

  /// T(s) under the drive p and the force `force` - stiffness s, given u = signal(s); see Units::respond.
  __device__ T respond(T p, T u, T s, T force, T stiffness) const {
    if (clips()) {
      const T driven = fused(force_gain, force, gain * p);
      return clamp(stiffness == 0 ? driven : driven / fused(force_gain, stiffness, T(1)));
    }
    const T outside = fused(-stiffness, s, force);
    return legendre ? value(p + outside) : fused(slope(u), p, outside);
  }
  /// A state of lower energy under the same drive and force; see Units::descend.
  __device__ T descend(T p, T u, T s, T force, T stiffness) const {
    if (linear_signal()) return respond(p, u, s, force, stiffness);
    const T outside = fused(-stiffness, s, force);
    const T fall = fused(-slope(u), p, s) - outside;
    const T bent = fused(-curvature(u), p, T(1) + stiffness);
    return s - cubic_step(fall, bent, bend * (p < 0 ? -p : p));
  }

 private:
  /// The d that minimises -slope d + curvature d^2 / 2 + bend |d|^3 / 6.
  __device__ static T cubic_step(T slope, T curvature, T bend) {
    const T size = slope < 0 ? -slope : slope;
    const T root = std::sqrt(fused(curvature, curvature, T(2) * bend * size));
    const T sum = (curvature < 0 ? -curvature : curvature) + root;
    if (curvature > 0) return slope * (T(2) / sum);
    return size > 0 ? slope * (sum / (bend * size)) : T(0);
  }
};

}  // namespace equiprop::cuda
