#pragma once
/// The two processes that Scellier & Bengio (2019) proved to be equal, step by step.
///
///   error derivatives (RBP)       Sbar_0 = dC/ds,  Sbar_{n+1} = D Sbar_n - eps H^T D Sbar_n
///                                 Thbar_0 = 0,     Thbar_{n+1} = Thbar_n - eps (d2E/dtheta ds) D Sbar_n
///   temporal derivatives (EqProp) Stil_n = (s_{n+1} - s_n) / (eps beta)      (forward difference)
///                                 Thtil_n = (dE/dtheta(s_n) - dE/dtheta(s*)) / beta
///
/// with s_n the nudged Euler flow from s*, H the Hessian at s*, and D = 1 on free units, 0 on units held by a bound. In
/// the limit beta -> 0, for every n and every step size, Stil_n = -D Sbar_n and Thtil_n = Thbar_n (eq. 8).
///
/// Any Runge-Kutta scheme can replace Euler if Stil_n is the value -dF/ds(s_n) / beta of the field; a difference
/// quotient has an error of the order of the step size.

#include <functional>

#include "equiprop/base/export.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace equiprop {

/// The integration scheme. `runge_kutta` is the classical method of order four; it requires that no bound holds a unit.
enum class Integrator { euler, runge_kutta };

/// Options of the integration of both processes.
struct EQUIPROP_EXPORT ProcessOptions {
  Index steps = 200;                          ///< number of steps, at least 0
  double step_size = 0.3;                     ///< step size eps, positive
  Integrator integrator = Integrator::euler;  ///< scheme of both processes

  /// Throws InvalidArgument if an option is out of range.
  void check() const;
};

/// The side network of Recurrent Backpropagation at the fixed point s_star (units, batch), integrated step by step.
class EQUIPROP_EXPORT ErrorProcess {
 public:
  /// Creates the process at step 0.
  ErrorProcess(AnyEnergy<double> energy, const AnyCost<double>& cost, State<double> s_star,
               const ProcessOptions& options);

  const State<double>& state() const { return state_; }                 ///< Sbar_n, (units, batch)
  const Parameters<double>& parameters() const { return parameters_; }  ///< Thbar_n, batch mean
  const State<double>& free_units() const { return free_units_; }       ///< D, 0 or 1
  /// Moves from step n to step n + 1.
  void step();

 private:
  void euler();
  void runge_kutta();

  AnyEnergy<double> energy_;
  State<double> s_star_;
  ProcessOptions options_;
  State<double> free_units_, state_, image_;
  State<double> stage_, sum_;  // scratch memory of Runge-Kutta
  Parameters<double> parameters_;
};

/// The nudged flows of a rule that start at s_star (units, batch), combined with the weights of the rule.
template <class S>
class EQUIPROP_EXPORT TemporalProcess {
 public:
  /// Creates the process at step 0 and measures it.
  TemporalProcess(AnyEnergy<S> energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
                  const NudgingRule<S>& nudging, const ProcessOptions& options);

  const State<S>& state() const { return state_; }                 ///< Stil_n, (units, batch)
  const Parameters<S>& parameters() const { return parameters_; }  ///< Thtil_n, batch mean
  /// Measures the derivatives at the present states and moves every flow to its next state.
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
  State<S> s_star_;  // empty unless the model is a vector field
  State<S> state_, next_;
  State<S> stage_, sum_;  // scratch memory of Runge-Kutta
  Parameters<S> parameters_;
};

/// Function that is called at step n = 0, ..., steps with the derivatives of the state, (units, batch), and of the
/// parameters, (parameters,); the latter are averaged over the batch.
template <class S>
using ProcessObserver =
    std::function<void(Index n, const State<S>& state, const Parameters<S>& parameters)>;

/// Calls `observe` at every step with Sbar and Thbar.
EQUIPROP_EXPORT void error_derivatives(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                                       const ConstStateRef<double>& s_star,
                                       const ProcessOptions& options,
                                       const ProcessObserver<double>& observe);

/// Calls `observe` at every step with Stil and Thtil of a nudging rule. On dual numbers with exact_limit(), their
/// derivative parts are the limit beta -> 0.
template <class S>
EQUIPROP_EXPORT void temporal_derivatives(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                          const ConstStateRef<S>& s_star,
                                          const NudgingRule<S>& nudging,
                                          const ProcessOptions& options,
                                          const ProcessObserver<S>& observe);

extern template class TemporalProcess<double>;
extern template class TemporalProcess<Dual<double>>;

}  // namespace equiprop
