#include <pybind11/complex.h>
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "cost.hpp"
#include "equiprop/base/update.hpp"
#include "equiprop/second_phase/backpropagation_through_time.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "step.hpp"

namespace equiprop::bindings {
namespace {

/// Returns (parameters, inputs, objective, (status, iterations, residual, fallbacks, error)).
template <class T>
py::tuple gradient_tuple(Gradient<T> gradient) {
  auto inputs = new_state<T>(gradient.inputs.rows(), gradient.inputs.cols());
  as_state<T>(inputs) = gradient.inputs;
  return py::make_tuple(hand_over(std::move(gradient.parameters)), inputs,
                        static_cast<double>(gradient.objective), as_tuple(gradient.report));
}

Wanted wanted(bool inputs) {
  return inputs ? Wanted::everything : Wanted::parameters;
}

/// Returns ((beta, weight), ...), one pair per node.
template <class S>
py::tuple nodes_of(const NudgingRule<S>& rule) {
  py::tuple nodes(rule.size());
  for (std::size_t k = 0; k < rule.size(); ++k)
    nodes[k] = py::make_tuple(rule[k].beta, rule[k].weight);
  return nodes;
}

template <class T, class Compute>
py::tuple released(const Compute& compute) {
  Gradient<T> gradient;
  {
    const py::gil_scoped_release release;
    gradient = compute();
  }
  return gradient_tuple<T>(std::move(gradient));
}

/// Copies a trajectory (steps + 1, batch, units) into a vector with one state per step.
template <class T>
std::vector<State<T>> trajectory_of(const py::array_t<T, py::array::c_style>& array, Index units) {
  require(array.ndim() == 3 && array.shape(2) == units, "backpropagation_through_time",
          "A trajectory has shape (steps + 1, batch, " + std::to_string(units) + ").", array.ndim(),
          " dimensions");
  const Index batch = array.shape(1);
  std::vector<State<T>> states;
  for (Index t = 0; t < array.shape(0); ++t)
    states.push_back(Eigen::Map<const State<T>>(array.data() + t * batch * units, units, batch));
  return states;
}

/// Returns the gradient, the adjoints (steps + 1, batch, units) and dL/dtheta summed over the last t steps (steps + 1,
/// parameters), t = 0, 1, .... The last two are empty unless `record`.
template <class T>
py::tuple sweep(const AnyEnergy<T>& energy, const BoundCost<T>& cost, const Array<T>& trajectory,
                const Solver& solver, bool inputs, bool record) {
  const auto states = trajectory_of<T>(trajectory, energy.num_units());
  const Index steps = record ? static_cast<Index>(states.size()) : 0;
  const Index batch = trajectory.shape(1);
  Array<T> adjoints({steps, batch, energy.num_units()});
  Array<T> thetas({steps, energy.num_parameters()});
  T *to_adjoint = adjoints.mutable_data(), *to_theta = thetas.mutable_data();
  const auto observe = [&](Index, const State<T>& adjoint, const Parameters<T>& parameters) {
    to_adjoint = std::copy_n(adjoint.data(), adjoint.size(), to_adjoint);
    to_theta = std::copy_n(parameters.data(), parameters.size(), to_theta);
  };
  const py::tuple gradient = released<T>([&] {
    return backpropagation_through_time<T>(energy, cost.cost(), states, solver, wanted(inputs),
                                           record ? SweepObserver<T>(observe) : SweepObserver<T>());
  });
  return py::make_tuple(gradient, adjoints, thetas);
}

/// Returns a view of a one-dimensional array. Throws InvalidArgument unless it has `size` numbers.
template <class T>
Eigen::Map<Parameters<T>> as_parameters(Vector<T>& array, Index size) {
  require(array.ndim() == 1 && array.shape(0) == size, "update",
          "Parameters, gradient and averages are vectors of one length.", array.size(), " for ",
          size);
  return {array.mutable_data(), size};
}

template <class T>
Eigen::Map<const Parameters<T>> as_gradient(const Vector<T>& array) {
  return {array.data(), array.size()};
}

void check_range(Index begin, Index count, Index size) {
  require(begin >= 0 && count >= 0 && begin <= size - count, "update",
          "A block lies inside the parameters.", begin, " + ", count, " of ", size);
}

template <class T>
void bind_updates(py::module_& m) {
  m.def("momentum_update", [](Vector<T> theta, const Vector<T>& gradient, Vector<T> velocity,
                              Index begin, Index count, T rate, T momentum, T decay) {
    const auto g = as_gradient<T>(gradient);
    auto parameters = as_parameters<T>(theta, g.size());
    auto v = as_parameters<T>(velocity, g.size());
    check_range(begin, count, g.size());
    const py::gil_scoped_release release;
    update<T>(MomentumStep<T>{rate, momentum, decay}, begin, count, parameters, g, v);
  });
  m.def("adam_update", [](Vector<T> theta, const Vector<T>& gradient, Vector<T> mean,
                          Vector<T> square, Index begin, Index count, T rate, T beta1, T beta2,
                          T epsilon, T decay, T correction1, T correction2) {
    const auto g = as_gradient<T>(gradient);
    auto parameters = as_parameters<T>(theta, g.size());
    auto m1 = as_parameters<T>(mean, g.size()), m2 = as_parameters<T>(square, g.size());
    check_range(begin, count, g.size());
    const py::gil_scoped_release release;
    update<T>(AdamStep<T>{rate, beta1, beta2, epsilon, decay, correction1, correction2}, begin,
              count, parameters, g, m1, m2);
  });
}

template <class T>
void bind_cost(py::module_& m) {
  using C = BoundCost<T>;
  py::class_<C>(m, "Cost")
      .def_property_readonly("num_rows", [](const C& c) { return c.rows; })
      .def_property_readonly("batch", &C::batch)
      .def_property_readonly("sample_weight",
                             [](const C& c) -> py::object {
                               if (c.weights.size() == 0) return py::none();
                               return as_vector(c.weights);
                             })
      .def("weighted", [](const C& c, const Vector<T>& weights) { return c.weighted(weights); })
      .def("state_gradient",
           [](const C& c, const Array<T>& s) {
             auto out = new_state<T>(as_state<T>(s, -1, "cost").rows(), c.batch());
             cost_gradient<T>(c.cost(), as_state<T>(s, -1, "cost"), as_state<T>(out));
             return out;
           })
      .def("value", [](const C& c, const Array<T>& s) {
        const auto states = as_state<T>(s, -1, "cost");
        require(states.rows() >= c.rows && states.cols() == c.batch(), "cost",
                "The states have the units that the cost reads, for each sample.", states.rows(),
                " units of ", states.cols(), " samples for ", c.rows, " of ", c.batch());
        PerSample<T> out(c.batch());
        c.cost().value(states.bottomRows(c.rows), out);
        return as_vector(out);
      });
  m.def("one_hot", [](const py::array_t<std::int64_t, py::array::c_style>& labels, Index outputs,
                      const std::string& where) {
    const Eigen::Map<const Eigen::Array<std::int64_t, Eigen::Dynamic, 1>> numbers(labels.data(),
                                                                                  labels.size());
    State<T> targets;
    take_one_hot<T>(numbers, outputs, targets, where);
    auto out = new_state<T>(targets.rows(), targets.cols());
    as_state<T>(out) = targets;
    return out;
  });
  m.def("bind_cost", [](const CostKind& kind, const Array<T>& y) { return C(kind, y); });
  m.def("bind_layer_costs",
        [](Index rows, const std::vector<std::tuple<CostKind, Array<T>, Index, double>>& costs) {
          std::vector<BoundLayer<T>> layers;
          for (const auto& [kind, y, begin, scale] : costs)
            layers.push_back({kind, as_state<T>(y, -1, "cost"), begin, scale});
          return C(rows, std::move(layers));
        });
}

}  // namespace

template <class T>
void bind_second_phase(py::module_& m) {
  bind_cost<T>(m);
  bind_updates<T>(m);
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
            return equilibrium_propagation_limit(energy, cost.template as<Dual<double>>(), s,
                                                 solver, wanted(inputs));
          });
        });
  m.def(
      "holomorphic_equilibrium_propagation",
      [](const AnyEnergy<Complex>& energy, const BoundCost<T>& cost, const Array<double>& state,
         const std::vector<std::pair<Complex, Complex>>& nodes, const Solver& solver, bool inputs) {
        const auto s = as_state<double>(state, energy.num_units(), "equilibrium_propagation");
        NudgingRule<Complex> rule;
        for (const auto& [beta, weight] : nodes) rule.push_back({beta, weight});
        return released<double>([&] {
          return holomorphic_equilibrium_propagation(energy, cost.template as<Complex>(), s, rule,
                                                     solver, wanted(inputs));
        });
      });
  m.def("backpropagation_through_time", &sweep<T>);
}

void bind_nudging(py::module_& m) {
  m.def("one_sided", [](double beta) { return nodes_of(one_sided<double>(beta)); });
  m.def("centered", [](double beta) { return nodes_of(centered<double>(beta)); });
  m.def("holomorphic",
        [](double radius, int points) { return nodes_of(holomorphic(radius, points)); });
}

void bind_second_phases(py::module_& m) {
  py::class_<CostKind>(m, "CostKind")
      .def(py::init([](double logit_scale) { return CostKind{logit_scale}; }),
           py::arg("logit_scale"))
      .def_readonly("logit_scale", &CostKind::logit_scale);
  py::native_enum<NudgedPhases::Kind>(m, "NudgingKind", "enum.Enum")
      .value("FINITE", NudgedPhases::Kind::finite)
      .value("EXACT_LIMIT", NudgedPhases::Kind::exact_limit)
      .value("HOLOMORPHIC", NudgedPhases::Kind::holomorphic)
      .finalize();
  py::class_<NudgedPhases>(m, "NudgedPhases")
      .def(py::init([](NudgedPhases::Kind kind, std::vector<std::pair<Complex, Complex>> nodes,
                       Solver solver, bool symmetrize) {
        return NudgedPhases{kind, std::move(nodes), std::move(solver), symmetrize};
      }))
      .def_readonly("kind", &NudgedPhases::kind)
      .def_readonly("nodes", &NudgedPhases::nodes)
      .def_readonly("solver", &NudgedPhases::solver)
      .def_readonly("symmetrize", &NudgedPhases::symmetrize);
  py::class_<SideNetwork>(m, "SideNetwork")
      .def(py::init([](LinearSolver solver) { return SideNetwork{std::move(solver)}; }))
      .def_readonly("solver", &SideNetwork::solver);
}

template void bind_second_phase<float>(py::module_&);
template void bind_second_phase<double>(py::module_&);

}  // namespace equiprop::bindings
