#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "cost.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/verification/comparison.hpp"

namespace equiprop::bindings {
namespace {

using D = Dual<double>;

/// Copies (groups, steps + 1) into a NumPy array (steps + 1, groups), which has the same memory layout.
Array<double> as_rows(const State<double>& values) {
  auto out = new_state<double>(values.rows(), values.cols());
  as_state<double>(out) = values;
  return out;
}

py::dict as_dict(const Groups& groups) {
  py::dict out;
  out["difference"] = as_rows(groups.difference);
  out["size"] = as_rows(groups.size);
  out["product"] = as_vector(groups.product);
  out["power"] = as_vector(groups.power);
  out["value_power"] = as_vector(groups.value_power);
  return out;
}

struct Request {
  Index steps = 200;
  double step_size = 0.3;
  Integrator integrator = Integrator::euler;
  std::vector<Index> layer_ends, block_ends, units, samples, parameters;
};

template <class S>
py::dict compare(const AnyEnergy<double>& energy, const BoundCost<double>& cost,
                 const AnyEnergy<S>& nudged, const Array<double>& state,
                 const NudgingRule<S>& nudging, const Request& request) {
  const auto s = as_state<double>(state, energy.num_units(), "equivalence");
  const ProcessOptions options{request.steps, request.step_size, request.integrator};
  options.check();
  const auto run = [&] {
    const py::gil_scoped_release release;
    return compare_processes<S>(energy, cost.cost(), nudged, cost.as<S>(), s, nudging, options,
                                request.layer_ends, request.block_ends,
                                {request.units, request.samples, request.parameters});
  };
  const Comparison result = run();
  py::dict out;
  out["states"] = as_dict(result.states);
  out["parameters"] = as_dict(result.parameters);
  out["error_states"] = as_rows(result.error_states);
  out["temporal_states"] = as_rows(result.temporal_states);
  out["error_parameters"] = as_rows(result.error_parameters);
  out["temporal_parameters"] = as_rows(result.temporal_parameters);
  return out;
}

py::dict compare_rule(const AnyEnergy<double>& energy, const BoundCost<double>& cost,
                      const AnyEnergy<double>& nudged, const Array<double>& state,
                      const std::vector<std::pair<double, double>>& nodes, const Request& request) {
  NudgingRule<double> rule;
  for (const auto& [beta, weight] : nodes) rule.push_back({beta, weight});
  return compare<double>(energy, cost, nudged, state, rule, request);
}

py::dict compare_limit(const AnyEnergy<double>& energy, const BoundCost<double>& cost,
                       const AnyEnergy<D>& nudged, const Array<double>& state,
                       const Request& request) {
  return compare<D>(energy, cost, nudged, state, exact_limit(), request);
}

/// Returns d/dbeta at beta = 0 of the states of `solver` in the nudged phase, (steps + 1, batch, units), and of their
/// dE/dtheta averaged over the batch, (steps + 1, parameters). The phase starts at the fixed point `state`. If
/// `outside`, the nudge is added to the result of the free step instead of to the energy.
py::tuple nudged_tangents(const AnyEnergy<D>& energy, const BoundCost<double>& cost,
                          const Array<double>& state, const Solver& solver, Index steps,
                          bool outside) {
  const auto s_star = as_state<double>(state, energy.num_units(), "discrete_time");
  Array<double> states({steps + 1, s_star.cols(), energy.num_units()});
  Array<double> thetas({steps + 1, energy.num_parameters()});
  double *to_state = states.mutable_data(), *to_theta = thetas.mutable_data();
  const auto derivative = [](const D& v) { return v.derivative; };
  {
    const py::gil_scoped_release release;
    const AnyCost<D> bound = cost.as<D>();
    const AnyEnergy<D> total = outside ? energy : TotalEnergy<D>(energy, bound, D(0, 1));
    State<D> s = s_star.cast<D>(), next = s, force = s;
    Parameters<D> theta(energy.num_parameters());
    for (Index n = 0; n <= steps; ++n) {
      poll_interrupt();
      theta.setZero();
      energy.parameter_gradient(s, D(1.0 / static_cast<double>(s.cols())), theta);
      to_state = std::transform(s.data(), s.data() + s.size(), to_state, derivative);
      to_theta = std::transform(theta.data(), theta.data() + theta.size(), to_theta, derivative);
      std::visit([&](const auto& chosen) { chosen.template step<D>(total, s, next); }, solver);
      if (outside) {
        cost_gradient<D>(bound, s, force);
        next -= D(0, 1) * force;
      }
      s.swap(next);
    }
  }
  return py::make_tuple(states, thetas);
}

}  // namespace

void bind_verification(py::module_& m) {
  py::class_<Request>(m, "Request")
      .def(py::init<>())
      .def_readwrite("steps", &Request::steps)
      .def_readwrite("step_size", &Request::step_size)
      .def_property(
          "runge_kutta", [](const Request& r) { return r.integrator == Integrator::runge_kutta; },
          [](Request& r, bool yes) {
            r.integrator = yes ? Integrator::runge_kutta : Integrator::euler;
          })
      .def_readwrite("layer_ends", &Request::layer_ends)
      .def_readwrite("block_ends", &Request::block_ends)
      .def_readwrite("units", &Request::units)
      .def_readwrite("samples", &Request::samples)
      .def_readwrite("parameters", &Request::parameters);
  m.def("compare", &compare_rule);
  m.def("compare_limit", &compare_limit);
  m.def("nudged_tangents", &nudged_tangents);
}

}  // namespace equiprop::bindings
