#pragma once
/// The two processes that Scellier & Bengio (2019) proved equal, step by step.
///
///   error derivatives (RBP)       Sbar_0 = dC/ds,  Sbar_{n+1} = D Sbar_n - eps H D Sbar_n
///                                 Thbar_0 = 0,     Thbar_{n+1} = Thbar_n - eps (d2E/dtheta ds) D Sbar_n
///   temporal derivatives (EqProp) Stil_n = (s_{n+1} - s_n) / (eps beta)      (forward difference)
///                                 Thtil_n = (dE/dtheta(s_n) - dE/dtheta(s*)) / beta
///
/// with s_n the nudged Euler flow from s*, H the Hessian at s*, and D = 1 on free units, 0 on units
/// held by a bound. In the limit beta -> 0, for every n and every step size,
/// Stil_n = -D Sbar_n and Thtil_n = Thbar_n (eq. 8).

#include <functional>

#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace equiprop {

/// Receives step n = 0, ..., steps: the state's derivatives (units, batch), the parameters'
/// (parameters,), the latter averaged over the batch like a gradient.
template <class S>
using ProcessObserver =
    std::function<void(Index n, const State<S>& state, const Parameters<S>& parameters)>;

struct ProcessOptions {
  Index steps = 200;
  double step_size = 0.3;

  void check() const;
};

/// Sbar and Thbar at the fixed point s_star (units, batch).
void error_derivatives(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                       const ConstStateRef<double>& s_star, const ProcessOptions& options,
                       const ProcessObserver<double>& observe);

/// Stil and Thtil of a nudging rule; on dual numbers with exact_limit() their derivative parts are
/// the limit beta -> 0.
template <class S>
void temporal_derivatives(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                          const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                          const ProcessOptions& options, const ProcessObserver<S>& observe);

}  // namespace equiprop
