#pragma once
/// The contribution of the units of one layer to the energy: E contains leak(s) - <signal(s), drive>.
///
/// Two conventions are published; they differ only in leak and signal:
///   quadratic  leak = 1/2 s^2,  signal = rho(s)    (Scellier & Bengio 2017, 2019)
///   legendre   leak = G(s),     signal = s         (Ernoult et al. 2019; Scellier et al. 2023)
/// where G' = rho^-1. Units with a Clip activation are kept in a box in which leak is quadratic and signal linear in
/// both conventions; the projection onto the box does the clipping.

#include <optional>

#include "equiprop/base/kernel_table.hpp"
#include "equiprop/model/activation.hpp"
#include "equiprop/model/energy.hpp"

namespace equiprop {

/// The convention of leak and signal.
enum class Potential { quadratic, legendre };

/// The damping of an update of units that pull on each other, see Units::damping.
struct Damping {
  double stiffness;  ///< a, if the update minimises a bound of the energy plus a |s' - s|^2 / 2
  double step;       ///< fraction of the way from s to the minimiser
};

/// The units of a layer, which are all alike. States, drives and arrays computed from them are (units, batch).
class Units {
 public:
  /// Creates units with this activation and this convention.
  Units(const Activation& activation, Potential potential)
      : activation_(activation), potential_(potential) {}

  /// Returns true if the energy is complex-differentiable in their states.
  bool holomorphic() const { return equiprop::holomorphic(activation_); }
  /// Returns true if signal(s) = signal_gain() * s.
  bool signal_is_linear() const { return legendre() || clip() != nullptr; }
  /// Returns the slope of a linear signal, or 1 if the signal is not linear.
  double signal_gain() const { return legendre() || clip() == nullptr ? 1.0 : clip()->gain; }

  /// Adds sum_i leak(s_i) of each sample to out, (batch,).
  template <Scalar S>
  void add_leak(const ConstStateRef<S>& s, PerSample<S>& out) const {
    if (!legendre())
      out += S(0.5) * s.array().square().colwise().sum().transpose();
    else
      visit([&](const auto& rho) {
        out += s.unaryExpr([=](const S& v) { return rho.potential(v); })
                   .colwise()
                   .sum()
                   .transpose()
                   .array();
      });
  }
  /// Stores leak'(s) in out.
  template <Scalar S>
  void leak_gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    if (!legendre())
      out = s;
    else
      map<S>(s, out, [](const auto& rho, const S& v) { return rho.inverse(v); });
  }
  /// Stores leak''(s) in out, limited to 1 / saturated_slope of rho: it is infinite at the ends of rho's range, where
  /// `mobility` is 0.
  template <Scalar S>
  void leak_curvature(const ConstStateRef<S>& s, StateRef<S> out) const {
    if (!legendre())
      out.setOnes();
    else if (clip() != nullptr)
      out.setConstant(S(static_cast<RealOf<S>>(1 / clip()->gain)));
    else
      map<S>(s, out, [](const auto& rho, const S& v) {
        const S slope = rho.slope(v);
        const auto least = rho.template saturated_slope<S>();
        return magnitude(slope) <= least ? S(1 / least) : S(S(1) / slope);
      });
  }
  /// Stores signal(s) in out.
  template <Scalar S>
  void signal(const ConstStateRef<S>& s, StateRef<S> out) const {
    if (signal_is_linear())
      out = gain<S>() * s;
    else
      activate<S>(activation_, s, out);
  }
  /// Stores signal'(s) in out, given u = signal(s).
  template <Scalar S>
  void signal_slope(const ConstStateRef<S>& u, StateRef<S> out) const {
    if (signal_is_linear())
      out.setConstant(gain<S>());
    else
      map<S>(u, out, [](const auto& rho, const S& r) { return rho.slope(r); });
  }
  /// Stores signal''(s) in out, given u = signal(s).
  template <Scalar S>
  void signal_curvature(const ConstStateRef<S>& u, StateRef<S> out) const {
    if (signal_is_linear())
      out.setZero();
    else
      map<S>(u, out, [](const auto& rho, const S& r) { return rho.curvature(r); });
  }

  /// Replaces s by T(s): the response to `drive` and an outside force, force - stiffness s; `force` is (units, batch)
  /// or nullptr. For a clip and, without a force, for a Legendre potential the response minimises the energy over these
  /// units; otherwise the force, and signal' of a nonlinear signal, are evaluated at the old s. u = signal(s) is read
  /// only if the signal is not linear.
  template <Scalar S>
  void respond(const ConstStateRef<S>& drive, const ConstStateRef<S>& u, const State<S>* force,
               S stiffness, StateRef<S> s) const {
    if (clip() != nullptr)
      respond_in_box(*clip(), drive, force, stiffness, s);
    else if (legendre())
      respond_legendre(drive, force, stiffness, s);
    else
      respond_quadratic(drive, u, force, stiffness, s);
  }
  /// Replaces s by a state of lower energy over these units, under `drive` and the same force: T(s) if the signal is
  /// linear. Otherwise each unit minimises an upper bound of its energy e(s) = s^2 / 2 - drive rho(s) + stiffness s^2 / 2 -
  /// force s, the Taylor polynomial of second order plus max |drive rho'''| |ds|^3 / 6 (Nesterov & Polyak 2006). The
  /// step never raises e and approaches Newton's step at a minimum.
  template <Scalar S>
  void descend(const ConstStateRef<S>& drive, const ConstStateRef<S>& u, const State<S>* force,
               S stiffness, StateRef<S> s) const {
    if (signal_is_linear()) return respond<S>(drive, u, force, stiffness, s);
    visit([&](const auto& rho) {
      const auto bend = static_cast<RealOf<S>>(rho.largest_third_derivative());
      for (Index j = 0; j < s.cols(); ++j)
        for (Index i = 0; i < s.rows(); ++i) {
          const S& p = drive(i, j);
          S& at = s(i, j);
          const S outside = force != nullptr ? S((*force)(i, j) - stiffness * at) : S(0);
          const S slope = at - rho.slope(u(i, j)) * p - outside;
          const S curvature = S(1) + stiffness - rho.curvature(u(i, j)) * p;
          at -= cubic_step(slope, real_part(curvature), bend * magnitude(p));
        }
    });
  }
  /// Returns the damping with which `descend` never raises the energy of units that pull on each other, by a symmetric
  /// matrix W of norm at most c; `stiffness` is that of the force. `descend` lowers e, the energy at the drive of the old
  /// state s. With d = s' - s and du = u(s') - u(s), the energy changes by e(s') - e(s) - <du, W du> / 2, and the last
  /// term is at most c R^2 |d|^2 / 2, R the largest slope of the signal.
  ///   clip       e'' >= m. The minimiser of e(s') + a |d|^2 / 2 in the box has e(s') - e(s) <= -(a + m / 2) |d|^2. With
  ///              a = c R^2 / 2 the energy falls by m |d|^2 / 2 or more.
  ///   Legendre   e'' >= 1 / k, k the largest slope of rho. A step t of the way to the minimiser, at the distance D, has
  ///              e(s') - e(s) <= -t (2 - t) D^2 / (2 k). With t = 1 / (1 + c k / 2) the energy falls by t^2 D^2 / (2 k)
  ///              or more. A force at the old state with a positive stiffness counts as a part of c.
  ///   quadratic  The minimiser of the cubic bound of `descend` plus a d^2 / 2 has e(s') - e(s) <= -a |d|^2 / 2. With
  ///              a = c R^2 the energy does not rise.
  Damping damping(double c, double stiffness) const {
    if (clip() != nullptr) {
      box_curvature<double>(*clip(), stiffness);  // throws unless e is convex
      return {c * signal_gain() * signal_gain() / 2, 1};
    }
    const double slope =
        std::visit([](const auto& rho) { return rho.largest_slope(); }, activation_);
    if (legendre()) return {0, 1 / (1 + (c + std::max(stiffness, 0.0)) * slope / 2)};
    return {c * slope * slope, 1};
  }
  /// Returns the response of `respond` for the kernels, or nothing if it depends on the old s or rho is softplus.
  template <class T>
  requires std::floating_point<T> std::optional<Response<T>> kernel_response(const State<T>* force,
                                                                             T stiffness)
  const {
    if (clip() != nullptr) return box_response(*clip(), force, stiffness);
    if (!legendre() || force != nullptr) return {};
    if (std::holds_alternative<Tanh>(activation_)) return Response<T>{ResponseKind::tanh, T(1)};
    if (const auto* rho = std::get_if<Logistic>(&activation_))
      return Response<T>{ResponseKind::logistic, static_cast<T>(rho->gain),
                         static_cast<T>(rho->shift)};
    return {};
  }
  /// Returns true if leak'' and signal' are constant, so that a kernel can multiply by the Hessian.
  bool has_constant_slopes() const { return clip() != nullptr; }
  /// Returns the response that maps the pull p of v (units, batch) to leak''(s) v - signal'(s) p; requires
  /// has_constant_slopes().
  template <class T>
  requires std::floating_point<T> Response<T> kernel_curvature(const ConstStateRef<T>& v)
  const {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    return Response<T>{.kind = ResponseKind::box,
                       .gain = static_cast<T>(-signal_gain()),
                       .lower = -infinity,
                       .upper = infinity,
                       .force = v.data(),
                       .stride = v.outerStride(),
                       .force_gain = static_cast<T>(legendre() ? 1 / clip()->gain : 1),
                       .curvature = T(1)};
  }
  /// Stores dT/d(force) under `drive` in out: 0 if a bound holds the unit (judged before clipping) or rho is saturated,
  /// so that a linear system at a fixed point excludes the unit. The box of a quadratic potential is that of rho
  /// divided by the gain, so the drive is multiplied by the gain.
  template <Scalar S>
  void mobility(const ConstStateRef<S>& drive, StateRef<S> out) const {
    if (!legendre() && clip() == nullptr) {
      out.setOnes();
      return;
    }
    const S divisor = gain<S>();
    map<S>(drive, out, [=](const auto& rho, const S& v) {
      const S slope = rho.slope(rho.value(S(divisor * v)));
      return magnitude(slope) <= rho.template saturated_slope<S>() ? S(0) : slope;
    });
    if (!legendre()) out /= gain<S>();
  }
  /// Clips s to the box, in place.
  template <Scalar S>
  void project(StateRef<S> s) const {
    if (clip() == nullptr || !clip()->bounded()) return;
    const Clip box = *clip();
    const double divisor = signal_gain();
    s = s.unaryExpr([=](const S& v) { return box.clamp(v, divisor); });
  }
  /// Stores the start state of a relaxation in s: the response to zero drive.
  template <Scalar S>
  void rest(StateRef<S> s) const {
    s.setZero();
    if (legendre()) activate<S>(activation_, s, s);
    project<S>(s);
  }

 private:
  bool legendre() const { return potential_ == Potential::legendre; }
  const Clip* clip() const { return std::get_if<Clip>(&activation_); }
  template <Scalar S>
  S gain() const {
    return S(static_cast<RealOf<S>>(signal_gain()));
  }
  template <class Visitor>
  void visit(const Visitor& visitor) const {
    std::visit(visitor, activation_);
  }
  template <Scalar S, class Function>
  void map(const ConstStateRef<S>& in, StateRef<S>& out, const Function& function) const {
    visit(
        [&](const auto& rho) { out = in.unaryExpr([=](const S& v) { return function(rho, v); }); });
  }
  template <Scalar S>
  S force_gain(const Clip& box) const {
    return legendre() ? S(static_cast<RealOf<S>>(box.gain)) : S(1);
  }
  template <Scalar S>
  S box_curvature(const Clip& box, const S& stiffness) const {
    const S curvature = S(1) + force_gain<S>(box) * stiffness;
    require(real_part(curvature) > 0, "BlockUpdate",
            "Nudging must leave the energy convex in each layer: beta > -1 / (gain * stiffness).",
            "beta * stiffness = ", real_part(stiffness));
    return curvature;
  }
  template <class T>
  Response<T> box_response(const Clip& box, const State<T>* force, T stiffness) const {
    const double divisor = signal_gain();
    Response<T> response{.kind = ResponseKind::box,
                         .gain = static_cast<T>(box.gain),
                         .lower = static_cast<T>(box.lower / divisor),
                         .upper = static_cast<T>(box.upper / divisor),
                         .force_gain = force_gain<T>(box),
                         .curvature = box_curvature<T>(box, stiffness)};
    if (force != nullptr) {
      response.force = force->data();
      response.stride = force->outerStride();
    }
    return response;
  }
  /// Minimises s^2 / (2 gain) - (drive + force) s + stiffness s^2 / 2 over the box (legendre), or the same expression
  /// with the drive multiplied by the gain and the first term s^2 / 2 (quadratic).
  template <Scalar S>
  void respond_in_box(const Clip& box, const ConstStateRef<S>& drive, const State<S>* force,
                      S stiffness, StateRef<S>& s) const {
    const S drive_gain = S(static_cast<RealOf<S>>(box.gain));
    const S curvature = box_curvature<S>(box, stiffness);
    const double divisor = signal_gain();
    const auto clamp = [=](const S& v) { return box.clamp(v, divisor); };
    if (force == nullptr)
      s = (drive_gain * drive).unaryExpr(clamp);
    else
      s = ((drive_gain * drive + force_gain<S>(box) * *force) / curvature).unaryExpr(clamp);
  }
  template <Scalar S>
  void respond_legendre(const ConstStateRef<S>& drive, const State<S>* force, S stiffness,
                        StateRef<S>& s) const {
    if (force == nullptr)
      activate<S>(activation_, drive, s);
    else {
      s = drive + *force - stiffness * s;
      activate<S>(activation_, s, s);
    }
  }
  template <Scalar S>
  void respond_quadratic(const ConstStateRef<S>& drive, const ConstStateRef<S>& u,
                         const State<S>* force, S stiffness, StateRef<S>& s) const {
    visit([&](const auto& rho) {
      const auto slope = u.unaryExpr([=](const S& r) { return rho.slope(r); });
      if (force == nullptr)
        s = slope.cwiseProduct(drive);
      else
        s = slope.cwiseProduct(drive) + (*force - stiffness * s);
    });
  }
  /// Returns the d that minimises -slope d + curvature d^2 / 2 + bend |d|^3 / 6, in a form without cancellation.
  template <Scalar S>
  static S cubic_step(const S& slope, RealOf<S> curvature, RealOf<S> bend) {
    using std::abs;
    using std::sqrt;
    const RealOf<S> size = magnitude(slope);
    const RealOf<S> sum = abs(curvature) + sqrt(curvature * curvature + 2 * bend * size);
    if (curvature > 0) return slope * S(2 / sum);
    return size > 0 ? S(slope * S(sum / (bend * size))) : S(0);
  }

  Activation activation_;
  Potential potential_;
};

}  // namespace equiprop
