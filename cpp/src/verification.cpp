#include "equiprop/verification/trajectories.hpp"

namespace equiprop {
namespace {

/// One nudged Euler flow; its steps are those of the free phase's own solver.
template <class S>
struct NudgedFlow {
  NudgedFlow(const AnyEnergy<S>& energy, const AnyCost<S>& cost, const NudgingNode<S>& node,
             const ConstStateRef<S>& start)
      : total(TotalEnergy<S>(energy, cost, node.beta)),
        weight(node.weight),
        s(start),
        next(start) {}

  AnyEnergy<S> total;
  S weight;
  State<S> s, next;
};

}  // namespace

void ProcessOptions::check() const {
  require(steps >= 0, "trajectories", "The number of steps is at least 0.", steps);
  require(step_size > 0 && std::isfinite(step_size), "trajectories",
          "The step size is a positive number.", step_size);
}

void error_derivatives(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                       const ConstStateRef<double>& s_star, const ProcessOptions& options,
                       const ProcessObserver<double>& observe) {
  options.check();
  Parameters<double> parameters =
      start_gradient<double>(energy, cost, s_star, Wanted::parameters).parameters;
  State<double> free_units(s_star.rows(), s_star.cols()), state(free_units), image(free_units);
  energy.mobility(s_star, {}, free_units);
  free_units = (free_units.array() != 0).cast<double>();
  cost_gradient<double>(cost, s_star, state);
  const double weight = -options.step_size / static_cast<double>(s_star.cols());
  for (Index n = 0;; ++n) {
    poll_interrupt();
    observe(n, state, parameters);
    if (n == options.steps) return;
    state.array() *= free_units.array();
    energy.mixed_derivative_product(s_star, state, weight, parameters);
    energy.hessian_vector_product(s_star, state, image);
    state -= options.step_size * image;
  }
}

template <class S>
void temporal_derivatives(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                          const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                          const ProcessOptions& options, const ProcessObserver<S>& observe) {
  options.check();
  Parameters<S> parameters = start_gradient<S>(energy, cost, s_star, Wanted::parameters).parameters;
  std::vector<NudgedFlow<S>> flows;
  for (const auto& node : nudging) flows.emplace_back(energy, cost, node, s_star);
  Euler euler;
  euler.step_size = options.step_size;
  const S samples(static_cast<RealOf<S>>(s_star.cols()));
  const S step_size(static_cast<RealOf<S>>(options.step_size));
  State<S> state(s_star.rows(), s_star.cols());
  for (Index n = 0; n <= options.steps; ++n) {
    poll_interrupt();
    state.setZero();
    parameters.setZero();
    for (auto& flow : flows) {
      euler.step<S>(flow.total, flow.s, flow.next);
      state += flow.weight / step_size * (flow.next - flow.s);
      energy.parameter_gradient(flow.s, flow.weight / samples, parameters);
      flow.s.swap(flow.next);
    }
    observe(n, state, parameters);
  }
}

template void temporal_derivatives(const AnyEnergy<double>&, const AnyCost<double>&,
                                   const ConstStateRef<double>&, const NudgingRule<double>&,
                                   const ProcessOptions&, const ProcessObserver<double>&);
template void temporal_derivatives(const AnyEnergy<Dual<double>>&, const AnyCost<Dual<double>>&,
                                   const ConstStateRef<Dual<double>>&,
                                   const NudgingRule<Dual<double>>&, const ProcessOptions&,
                                   const ProcessObserver<Dual<double>>&);

}  // namespace equiprop
