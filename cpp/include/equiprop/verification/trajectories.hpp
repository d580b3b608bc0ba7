#pragma once
/// The two processes that Scellier & Bengio (2019) proved equal, step by step.
///
///   error derivatives (RBP)       Sbar_0 = dC/ds,  Sbar_{n+1} = D Sbar_n - eps H^T D Sbar_n
///                                 Thbar_0 = 0,     Thbar_{n+1} = Thbar_n - eps (d2E/dtheta ds) D Sbar_n
///   temporal derivatives (EqProp) Stil_n = (s_{n+1} - s_n) / (eps beta)      (forward difference)
///                                 Thtil_n = (dE/dtheta(s_n) - dE/dtheta(s*)) / beta
///
/// with s_n the nudged Euler flow from s*, H the Hessian at s*, and D = 1 on free units, 0 on units
/// held by a bound. In the limit beta -> 0, for every n and every step size,
/// Stil_n = -D Sbar_n and Thtil_n = Thbar_n (eq. 8).
///
/// Any Runge-Kutta scheme will do in place of Euler if Stil_n is the field value -dF/ds(s_n) / beta;
/// as a difference quotient it is off by the order of the step.

#include <functional>

#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// `runge_kutta` is the classic scheme of order four; it needs states that no bound holds.
enum class Integrator { euler, runge_kutta };

struct ProcessOptions {
  Index steps = 200;
  double step_size = 0.3;
  Integrator integrator = Integrator::euler;

  void check() const;
};

/// The side network at the fixed point s_star (units, batch), integrated step by step.
class ErrorProcess {
 public:
  ErrorProcess(AnyEnergy<double> energy, const AnyCost<double>& cost, State<double> s_star,
               const ProcessOptions& options);

  const State<double>& state() const { return state_; }                 // Sbar_n
  const Parameters<double>& parameters() const { return parameters_; }  // Thbar_n, batch mean
  const State<double>& free_units() const { return free_units_; }       // D, 0 or 1
  void step();

 private:
  void euler();
  void runge_kutta();

  AnyEnergy<double> energy_;
  State<double> s_star_;
  ProcessOptions options_;
  State<double> free_units_, state_, image_;
  State<double> stage_, sum_;  // of Runge-Kutta
  Parameters<double> parameters_;
};

/// The nudged flows of a rule, started at s_star (units, batch) and combined by its weights.
template <class S>
class TemporalProcess {
 public:
  TemporalProcess(AnyEnergy<S> energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
                  const NudgingRule<S>& nudging, const ProcessOptions& options);

  const State<S>& state() const { return state_; }                 // Stil_n
  const Parameters<S>& parameters() const { return parameters_; }  // Thtil_n, batch mean
  /// Measures both at the present states and moves every flow to its next one.
  void step();

 private:
  struct Flow {
    AnyEnergy<S> total;
    S weight;
    State<S> s;
  };

  void euler(Flow& flow);
  void runge_kutta(Flow& flow);

  AnyEnergy<S> energy_;
  ProcessOptions options_;
  S samples_;
  std::vector<Flow> flows_;
  State<S> s_star_;  // of a vector field alone
  State<S> state_, next_;
  State<S> stage_, sum_;  // of Runge-Kutta
  Parameters<S> parameters_;
};

/// Receives step n = 0, ..., steps: the state's derivatives (units, batch), the parameters'
/// (parameters,), the latter averaged over the batch like a gradient.
template <class S>
using ProcessObserver =
    std::function<void(Index n, const State<S>& state, const Parameters<S>& parameters)>;

/// Shows every step of Sbar and Thbar.
void error_derivatives(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                       const ConstStateRef<double>& s_star, const ProcessOptions& options,
                       const ProcessObserver<double>& observe);

/// Shows every step of Stil and Thtil of a nudging rule; on dual numbers with exact_limit() their
/// derivative parts are the limit beta -> 0.
template <class S>
void temporal_derivatives(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                          const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                          const ProcessOptions& options, const ProcessObserver<S>& observe);

}  // namespace equiprop
