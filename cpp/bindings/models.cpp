#include <pybind11/complex.h>
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "cost.hpp"
#include "coupling_fields.hpp"
#include "equiprop/model/activation_fields.hpp"
#include "equiprop/model/checkpoint.hpp"
#include "equiprop/model/hopfield.hpp"
#include "equiprop/model/symmetrized.hpp"
#include "equiprop/model/total_energy.hpp"
#include "equiprop/solver/relax.hpp"
#include "python_energy.hpp"

namespace equiprop::bindings {
namespace {

using Released = py::call_guard<py::gil_scoped_release>;

/// Returns (name, offset, shape in C order) of each block.
py::list describe(const Layout& layout) {
  py::list blocks;
  for (const auto& block : layout.blocks())
    blocks.append(py::make_tuple(block.name, block.offset, py::tuple(py::cast(block.shape))));
  return blocks;
}

/// Returns (name, (channels, height, width), (kind, gain, shift, lower, upper)) of each layer.
py::list layers(const Topology& topology) {
  py::list layers;
  for (const auto& [name, shape, activation] : topology.layers()) {
    const auto [kind, gain, shift, lower, upper] = fields_of(activation);
    layers.append(py::make_tuple(name, py::make_tuple(shape.channels, shape.height, shape.width),
                                 py::make_tuple(kind, gain, shift, lower, upper)));
  }
  return layers;
}

/// The offsets and the factors of a scaling.
using ScalingNumbers = std::pair<Array<double>, Array<double>>;

std::optional<ScalingNumbers> numbers_of(const std::optional<Scaling>& scaling) {
  if (!scaling) return {};
  return ScalingNumbers(as_vector(scaling->offset()), as_vector(scaling->factor()));
}

std::optional<Scaling> scaling_of(const std::optional<ScalingNumbers>& numbers) {
  if (!numbers) return {};
  const auto vector = [](const Array<double>& array) {
    return Scaling::Vector(Eigen::Map<const Scaling::Vector>(array.data(), array.size()));
  };
  return Scaling(vector(numbers->first), vector(numbers->second));
}

template <class T>
AnyEnergy<T> python_energy(py::object model, py::object x, Index units, Index outputs,
                           Index parameters) {
  return PythonEnergy<T>(std::move(model), std::move(x), units, outputs, parameters);
}

/// Clamps a network with states of another scalar. A double-precision network shares its parameters; a single-precision
/// one is converted to double first.
template <class S, class T>
AnyEnergy<S> clamp_as(const HopfieldNetwork<T>& network, const Array<double>& x) {
  const auto input = as_state<double>(x, network.topology().num_inputs(), "clamp");
  const py::gil_scoped_release release;
  if constexpr (std::same_as<T, double>)
    return network.template clamp_as<S>(input);
  else
    return network.template cast<double>().template clamp_as<S>(input);
}

/// Returns the energy whose Jacobian at `s_star` is replaced by its transpose (see Symmetrized).
template <class S>
AnyEnergy<S> symmetrized(const AnyEnergy<S>& energy, const Array<double>& s_star) {
  return Symmetrized<S>(
      energy, as_state<double>(s_star, energy.num_units(), "symmetrized").template cast<S>());
}

/// Returns the total energy F = E + beta C.
template <class S>
AnyEnergy<S> total_energy(const AnyEnergy<S>& energy, const BoundCost<double>& cost, S beta) {
  return TotalEnergy<S>(energy, cost.as<S>(), beta);
}

template <class T>
void bind_network(py::module_& m) {
  using Network = HopfieldNetwork<T>;
  py::class_<Network, std::shared_ptr<Network>>(m, "HopfieldNetwork")
      .def(py::init([](std::vector<Layer> layers, const std::vector<CouplingFields>& edges,
                       Potential potential, bool separate_feedback, bool channels_first) {
             std::vector<Coupling> couplings;
             for (const CouplingFields& fields : edges) couplings.push_back(coupling_of(fields));
             return std::make_shared<Network>(Topology(
                 std::move(layers), std::move(couplings), potential,
                 separate_feedback ? Feedback::separate : Feedback::tied,
                 channels_first ? ImageFormat::channels_first : ImageFormat::channels_last));
           }),
           py::arg("layers"), py::arg("couplings"), py::arg("potential"),
           py::arg("separate_feedback") = false, py::arg("channels_first") = false)
      .def("initialize", &Network::initialize, py::arg("seed"), py::arg("gain") = 0.5)
      .def_property_readonly("parameters",
                             [](py::object self) {
                               auto& theta = self.cast<Network&>().parameters();
                               return py::array_t<T>(theta.size(), theta.data(), self);
                             })
      .def_property_readonly("layers", [](const Network& n) { return layers(n.topology()); })
      .def_property_readonly("couplings", [](const Network& n) { return couplings(n.topology()); })
      .def_property_readonly("potential", [](const Network& n) { return n.topology().potential(); })
      .def_property_readonly(
          "separate_feedback",
          [](const Network& n) { return n.topology().feedback() == Feedback::separate; })
      .def_property_readonly(
          "channels_first",
          [](const Network& n) { return n.topology().format() == ImageFormat::channels_first; })
      .def_property_readonly("colors", [](const Network& n) { return n.topology().blocks(); })
      .def_property_readonly("parameter_blocks",
                             [](const Network& n) { return describe(n.topology().parameters()); })
      .def_property_readonly("state_blocks",
                             [](const Network& n) { return describe(n.topology().state()); })
      .def_property_readonly("holomorphic",
                             [](const Network& n) { return n.topology().holomorphic(); })
      .def("initial_state",
           [](const Network& n, Index batch) {
             auto out = new_state<T>(n.topology().state().size(), batch);
             n.rest(as_state<T>(out));
             return out;
           })
      .def_property(
          "scaling", [](const Network& n) { return numbers_of(n.scaling()); },
          [](Network& n, const std::optional<ScalingNumbers>& numbers) {
            n.set_scaling(scaling_of(numbers));
          })
      .def("description", [](const Network& n) { return equiprop::describe(n); })
      .def("save",
           [](const Network& n, const std::string& path) {
             const py::gil_scoped_release release;
             save(n, path_of(path));
           })
      .def("clamp",
           [](const Network& n, const Array<T>& x) {
             const auto input = as_state<T>(x, n.topology().num_inputs(), "clamp");
             const py::gil_scoped_release release;
             return AnyEnergy<T>(n.clamp(input));
           })
      .def("clamp_dual", &clamp_as<Dual<double>, T>)
      .def("clamp_complex", &clamp_as<Complex, T>);
}

/// Throws InvalidArgument if a state has another number of samples than the energy is clamped to.
template <class T>
void check_samples(const AnyEnergy<T>& e, Index samples, const char* where) {
  require(e.num_samples() < 0 || samples == e.num_samples(), where,
          "A state has as many samples as the clamped input.", samples, " for ", e.num_samples());
}

/// Returns a view of the array (batch, units) as a state of the energy. Throws InvalidArgument if it has another number
/// of units, or of samples than the energy is clamped to.
template <class T>
Eigen::Map<const State<T>> state_of(const AnyEnergy<T>& e, const Array<T>& array) {
  const auto state = as_state<T>(array, e.num_units(), "Energy");
  check_samples<T>(e, state.cols(), "Energy");
  return state;
}

/// Wraps a method of the energy that maps states to a state.
template <class T, class Method>
auto state_method(Method method) {
  return [method](const AnyEnergy<T>& e, const Array<T>& s) {
    const auto state = state_of<T>(e, s);
    auto out = new_state<T>(e.num_units(), state.cols());
    auto image = as_state<T>(out);
    const py::gil_scoped_release release;
    method(e, state, image);
    return out;
  };
}

/// Binds the derivatives of the energy with respect to the input and the parameters.
template <class T>
void bind_derivatives(py::class_<AnyEnergy<T>>& energy) {
  using E = AnyEnergy<T>;
  energy
      .def("input_gradient",
           [](const E& e, const Array<T>& s) {
             const auto state = state_of<T>(e, s);
             auto out = new_state<T>(e.num_inputs(), state.cols());
             auto grad = as_state<T>(out);
             grad.setZero();
             const py::gil_scoped_release release;
             e.input_gradient(state, T(1), grad);
             return out;
           })
      .def("mixed_input_product",
           [](const E& e, const Array<T>& s, const Array<T>& v) {
             const auto state = state_of<T>(e, s);
             const auto direction = state_of<T>(e, v);
             auto out = new_state<T>(e.num_inputs(), state.cols());
             auto grad = as_state<T>(out);
             grad.setZero();
             const py::gil_scoped_release release;
             e.mixed_input_product(state, direction, T(1), grad);
             return out;
           })
      .def("parameter_gradient",
           [](const E& e, const Array<T>& s) {
             const auto state = state_of<T>(e, s);
             Parameters<T> out = Parameters<T>::Zero(e.num_parameters());
             {
               const py::gil_scoped_release release;
               e.parameter_gradient(state, T(1), out);
             }
             return as_vector(out);
           })
      .def("mixed_derivative_product", [](const E& e, const Array<T>& s, const Array<T>& v) {
        const auto state = state_of<T>(e, s);
        const auto direction = state_of<T>(e, v);
        Parameters<T> out = Parameters<T>::Zero(e.num_parameters());
        {
          const py::gil_scoped_release release;
          e.mixed_derivative_product(state, direction, T(1), out);
        }
        return as_vector(out);
      });
}

template <class T>
void bind_energy(py::module_& m) {
  using E = AnyEnergy<T>;
  using In = Eigen::Map<const State<T>>;
  using Out = Eigen::Map<State<T>>;
  py::class_<E> energy(m, "Energy");
  energy.def_property_readonly("num_units", &E::num_units)
      .def_property_readonly("num_outputs", &E::num_outputs)
      .def_property_readonly("num_parameters", &E::num_parameters)
      .def_property_readonly("num_blocks", &E::num_blocks)
      .def_property_readonly("num_inputs", &E::num_inputs)
      .def_property_readonly("conservative", &E::conservative)
      .def("symmetrized", &symmetrized<T>)
      .def("energy",
           [](const E& e, const Array<T>& s) {
             const auto state = state_of<T>(e, s);
             PerSample<T> out(state.cols());
             {
               const py::gil_scoped_release release;
               e.energy(state, out);
             }
             return as_vector(out);
           })
      .def("gradient",
           state_method<T>([](const E& e, const In& s, Out& out) { e.gradient(s, out); }))
      .def("fixed_point_map", state_method<T>([](const E& e, const In& s, Out& out) {
             e.fixed_point_map(s, {}, out);
           }))
      .def("mobility",
           state_method<T>([](const E& e, const In& s, Out& out) { e.mobility(s, {}, out); }))
      .def("hessian_vector_product",
           [](const E& e, const Array<T>& s, const Array<T>& v) {
             const auto direction = state_of<T>(e, v);
             return state_method<T>([&](const E& at, const In& state, Out& out) {
               at.hessian_vector_product(state, direction, out);
             })(e, s);
           })
      .def("transposed_hessian_vector_product",
           [](const E& e, const Array<T>& s, const Array<T>& v) {
             const auto direction = state_of<T>(e, v);
             return state_method<T>([&](const E& at, const In& state, Out& out) {
               at.transposed_hessian_vector_product(state, direction, out);
             })(e, s);
           })
      .def("residual", [](const E& e, const Array<T>& s) {
        const auto state = state_of<T>(e, s);
        PerSample<double> out(state.cols());
        {
          const py::gil_scoped_release release;
          Residual<T>().measure(e, state, out);
        }
        return as_vector(out);
      });
  bind_derivatives(energy);
}

/// Copies states into one array (steps, batch, units).
template <class T>
Array<T> stacked(const std::vector<State<T>>& states, Index units, Index batch) {
  Array<T> out({static_cast<Index>(states.size()), batch, units});
  T* to = out.mutable_data();
  for (const State<T>& state : states) to = std::copy_n(state.data(), state.size(), to);
  return out;
}

/// Returns (state, (status, iterations, residual, fallbacks), residuals of each step or None, states of each step or
/// None). If `samples` > 0 and `start` holds one state, that many samples start from it.
template <class T>
py::tuple relax_copy(const AnyEnergy<T>& energy, const Solver& solver, const Array<T>& start,
                     bool trace, bool record, Index samples) {
  const auto from = as_state<T>(start, energy.num_units(), "relax");
  const bool one = samples > 0 && from.cols() == 1;
  auto state = new_state<T>(from.rows(), one ? samples : from.cols());
  auto s = as_state<T>(state);
  check_samples<T>(energy, s.cols(), "relax");
  std::vector<PerSample<double>> residuals;
  std::vector<State<T>> states;
  Residual<T> residual;
  const auto observe = [&](Index, const ConstStateRef<T>& at) {
    if (record) states.emplace_back(at);
    if (!trace) return;
    residuals.emplace_back(at.cols());
    residual.measure(energy, at, residuals.back());
  };
  Report report;
  {
    const py::gil_scoped_release release;
    report = relax<T>(energy, solver, s, trace || record ? Observer<T>(observe) : Observer<T>(),
                      [&](Index begin, StateRef<T> piece) {
                        if (one)
                          piece.colwise() = from.col(0);
                        else
                          piece = from.middleCols(begin, piece.cols());
                      });
  }
  const py::object trajectory =
      record ? py::object(stacked<T>(states, s.rows(), s.cols())) : py::none();
  if (!trace) return py::make_tuple(state, as_tuple(report), py::none(), trajectory);
  auto history = new_state<double>(s.cols(), static_cast<Index>(residuals.size()));
  for (std::size_t n = 0; n < residuals.size(); ++n)
    as_state<double>(history).col(static_cast<Index>(n)) = residuals[n];
  return py::make_tuple(state, as_tuple(report), history, trajectory);
}

}  // namespace

void bind_layers(py::module_& m) {
  py::native_enum<Potential>(m, "Potential", "enum.Enum")
      .value("QUADRATIC", Potential::quadratic)
      .value("LEGENDRE", Potential::legendre)
      .finalize();
  py::class_<Tanh>(m, "Tanh");
  py::class_<Logistic>(m, "Logistic");
  py::class_<Softplus>(m, "Softplus");
  py::class_<Clip>(m, "Clip");
  m.def("activation_of",
        [](std::string kind, double gain, double shift, double lower, double upper) {
          return activation_of({std::move(kind), gain, shift, lower, upper});
        });
  py::class_<Layer>(m, "Layer")
      .def(py::init(
          [](std::string name, std::tuple<Index, Index, Index> shape, Activation activation) {
            return Layer{std::move(name), std::make_from_tuple<Shape>(shape), activation};
          }));
  m.def("activation", [](const Activation& rho, const Array<double>& x) {
    // The rows are value, first derivative and second derivative; the boolean says if rho is holomorphic.
    auto out = new_state<double>(x.size(), 3);
    std::visit(
        [&](const auto& f) {
          for (Index i = 0; i < x.size(); ++i) {
            const double r = f.value(x.data()[i]);
            as_state<double>(out)(i, 0) = r;
            as_state<double>(out)(i, 1) = f.slope(r);
            as_state<double>(out)(i, 2) = f.curvature(r);
          }
        },
        rho);
    return py::make_tuple(out, holomorphic(rho));
  });
}

template <class T>
void bind_models(py::module_& m) {
  bind_network<T>(m);
  bind_energy<T>(m);
  m.def("relax", &relax_copy<T>, py::arg("energy"), py::arg("solver"), py::arg("start"),
        py::arg("trace") = false, py::arg("record") = false, py::arg("samples") = 0);
  if constexpr (std::same_as<T, double>) {
    m.def("python_energy", &python_energy<double>);
    m.def("total_energy", &total_energy<double>);
  }
}

void bind_dual(py::module_& dual) {
  py::class_<AnyEnergy<Dual<double>>>(dual, "Energy")
      .def("symmetrized", &symmetrized<Dual<double>>);
  dual.def("python_energy", &python_energy<Dual<double>>);
}

void bind_complex(py::module_& complex) {
  bind_energy<Complex>(complex);
  complex.def("python_energy", &python_energy<Complex>);
  complex.def("total_energy", &total_energy<Complex>);
}

template void bind_models<float>(py::module_&);
template void bind_models<double>(py::module_&);

}  // namespace equiprop::bindings
