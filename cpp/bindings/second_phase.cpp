#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "cost.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop::bindings {
namespace {

/// (parameters, inputs, objective, (status, iterations, residual))
template <class T>
py::tuple gradient_tuple(const Gradient<T>& gradient) {
  auto inputs = new_state<T>(gradient.inputs.rows(), gradient.inputs.cols());
  as_state<T>(inputs) = gradient.inputs;
  return py::make_tuple(as_vector(gradient.parameters), inputs,
                        static_cast<double>(gradient.objective), as_tuple(gradient.report));
}

Wanted wanted(bool inputs) {
  return inputs ? Wanted::everything : Wanted::parameters;
}

/// ((beta, weight), ...)
py::tuple nodes_of(const NudgingRule<double>& rule) {
  py::tuple nodes(rule.size());
  for (std::size_t k = 0; k < rule.size(); ++k)
    nodes[k] = py::make_tuple(rule[k].beta, rule[k].weight);
  return nodes;
}

template <class T>
NudgingRule<T> rule_of(const std::vector<std::pair<double, double>>& nodes) {
  NudgingRule<T> rule;
  for (const auto& [beta, weight] : nodes) {
    rule.push_back({static_cast<T>(beta), static_cast<T>(weight)});
    require((beta == 0) == (rule.back().beta == 0) && std::isfinite(rule.back().weight),
            "equilibrium_propagation", "beta has a value in the precision of the network.", beta);
  }
  return rule;
}

template <class T, class Compute>
py::tuple released(const Compute& compute) {
  Gradient<T> gradient;
  {
    const py::gil_scoped_release release;
    gradient = compute();
  }
  return gradient_tuple<T>(gradient);
}

template <class T>
void bind_cost(py::module_& m) {
  using C = BoundCost<T>;
  py::class_<C>(m, "Cost")
      .def_property_readonly("num_outputs", [](const C& c) { return c.targets.rows(); })
      .def_property_readonly("batch", [](const C& c) { return c.targets.cols(); })
      .def("state_gradient",
           [](const C& c, const Array<T>& s) {
             auto out = new_state<T>(as_state<T>(s, -1, "cost").rows(), c.targets.cols());
             cost_gradient<T>(c.cost(), as_state<T>(s, -1, "cost"), as_state<T>(out));
             return out;
           })
      .def("value", [](const C& c, const Array<T>& o) {
        PerSample<T> out(c.targets.cols());
        c.cost().value(as_state<T>(o, c.targets.rows(), "cost"), out);
        return as_vector(out);
      });
  m.def("squared_error", [](const Array<T>& y) { return C(CostKind::squared_error, y); });
  m.def("cross_entropy", [](const Array<T>& y) { return C(CostKind::cross_entropy, y); });
}

}  // namespace

template <class T>
void bind_second_phase(py::module_& m) {
  bind_cost<T>(m);
  m.def("equilibrium_propagation",
        [](const AnyEnergy<T>& energy, const BoundCost<T>& cost, const Array<T>& state,
           const std::vector<std::pair<double, double>>& nodes, const Solver& solver, bool inputs) {
          const auto s = as_state<T>(state, energy.num_units(), "equilibrium_propagation");
          const NudgingRule<T> rule = rule_of<T>(nodes);
          return released<T>([&] {
            return equilibrium_propagation<T>(energy, cost.cost(), s, rule, solver, wanted(inputs));
          });
        });
  m.def("recurrent_backpropagation",
        [](const AnyEnergy<T>& energy, const BoundCost<T>& cost, const Array<T>& state,
           const LinearSolver& solver, bool inputs) {
          const auto s = as_state<T>(state, energy.num_units(), "recurrent_backpropagation");
          return released<T>([&] {
            return recurrent_backpropagation<T>(energy, cost.cost(), s, solver, wanted(inputs));
          });
        });
  m.def("equilibrium_propagation_limit",
        [](const AnyEnergy<Dual<double>>& energy, const BoundCost<T>& cost,
           const Array<double>& state, const Solver& solver, bool inputs) {
          const auto s = as_state<double>(state, energy.num_units(), "equilibrium_propagation");
          return released<double>([&] {
            return equilibrium_propagation_limit(energy, cost.dual(), s, solver, wanted(inputs));
          });
        });
}

void bind_nudging(py::module_& m) {
  m.def("one_sided", [](double beta) { return nodes_of(one_sided<double>(beta)); });
  m.def("centered", [](double beta) { return nodes_of(centered<double>(beta)); });
}

template void bind_second_phase<float>(py::module_&);
template void bind_second_phase<double>(py::module_&);

}  // namespace equiprop::bindings
