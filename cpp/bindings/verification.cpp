#include <pybind11/stl.h>

#include "bindings.hpp"
#include "cost.hpp"
#include "equiprop/verification/trajectories.hpp"

namespace equiprop::bindings {
namespace {

/// Runs `process` without the GIL and returns both its parts at every step: states
/// (steps + 1, batch, units) and parameters (steps + 1, parameters).
template <class S, class Part, class Process>
py::tuple record(const Array<double>& state, Index units, Index parameters, Index steps,
                 double step_size, const Part& part, const Process& process) {
  const ProcessOptions options{steps, step_size};
  options.check();
  const auto s = as_state<double>(state, units, "trajectories");
  Array<double> states({steps + 1, s.cols(), units}), thetas({steps + 1, parameters});
  double* const state_rows = states.mutable_data();
  double* const theta_rows = thetas.mutable_data();
  {
    const py::gil_scoped_release release;
    process(s, options, [&](Index n, const State<S>& at, const Parameters<S>& theta) {
      Eigen::Map<State<double>>(state_rows + n * at.size(), at.rows(), at.cols()) =
          at.unaryExpr(part);
      Eigen::Map<Parameters<double>>(theta_rows + n * theta.size(), theta.size()) =
          theta.unaryExpr(part);
    });
  }
  return py::make_tuple(states, thetas);
}

py::tuple error_process(const AnyEnergy<double>& energy, const BoundCost<double>& cost,
                        const Array<double>& state, Index steps, double step_size) {
  return record<double>(
      state, energy.num_units(), energy.num_parameters(), steps, step_size,
      [](double v) { return v; },
      [&](const auto& s, const auto& options, const auto& observe) {
        error_derivatives(energy, cost.cost(), s, options, observe);
      });
}

py::tuple temporal_process(const AnyEnergy<double>& energy, const BoundCost<double>& cost,
                           const Array<double>& state,
                           const std::vector<std::pair<double, double>>& nodes, Index steps,
                           double step_size) {
  NudgingRule<double> rule;
  for (const auto& [beta, weight] : nodes) rule.push_back({beta, weight});
  return record<double>(
      state, energy.num_units(), energy.num_parameters(), steps, step_size,
      [](double v) { return v; },
      [&](const auto& s, const auto& options, const auto& observe) {
        temporal_derivatives<double>(energy, cost.cost(), s, rule, options, observe);
      });
}

py::tuple temporal_process_limit(const AnyEnergy<Dual<double>>& energy,
                                 const BoundCost<double>& cost, const Array<double>& state,
                                 Index steps, double step_size) {
  using S = Dual<double>;
  return record<S>(
      state, energy.num_units(), energy.num_parameters(), steps, step_size,
      [](const S& v) { return v.derivative; },
      [&](const auto& s, const auto& options, const auto& observe) {
        temporal_derivatives<S>(energy, cost.dual(), s.template cast<S>().eval(), exact_limit(),
                                options, observe);
      });
}

}  // namespace

void bind_verification(py::module_& m) {
  m.def("error_derivatives", &error_process);
  m.def("temporal_derivatives", &temporal_process);
  m.def("temporal_derivatives_limit", &temporal_process_limit);
}

}  // namespace equiprop::bindings
