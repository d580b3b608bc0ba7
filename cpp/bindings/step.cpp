#include "step.hpp"

#include <pybind11/complex.h>
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "equiprop/model/symmetrized.hpp"

namespace equiprop::bindings {
namespace {

constexpr const char* where = "Trainer.step";

template <class T>
using Vector = py::array_t<T, py::array::c_style>;

/// Returns a view of an array (size,) of the model's type, without a copy. Throws InvalidArgument if that is not
/// possible.
template <class T>
Eigen::Map<Parameters<T>> memory_of(const py::handle& given, Index size) {
  auto array = given.cast<Vector<T>>();
  require(array.is(given) && array.ndim() == 1 && array.shape(0) == size, where,
          "Parameters and averages are contiguous vectors of one length and of the model's type.",
          array.size(), " numbers for ", size);
  return {array.mutable_data(), size};
}

template <class T>
BlockRates<T> rates_of(const py::handle& given) {
  BlockRates<T> rates;
  for (const auto& piece : given.cast<py::tuple>()) {
    const auto [begin, rate] = piece.cast<std::pair<Index, T>>();
    rates.push_back({begin, rate});
  }
  return rates;
}

/// Builds the sink from Python's description: ("sgd", theta, velocity or None, rates, momentum, decay), or ("adam",
/// theta, mean, square, rates, beta1, beta2, epsilon, decay, correction1, correction2), or None to sum the derivative
/// into `gradient`.
template <class T>
Sink<T> sink_of(const py::object& given, Parameters<T>& gradient, Index size) {
  if (given.is_none()) {
    gradient.setZero(size);
    return AddTo<T>(gradient);
  }
  const auto fields = given.cast<py::tuple>();
  const auto number = [&](int i) { return fields[i].template cast<T>(); };
  if (fields[0].cast<std::string>() == "sgd") {
    Eigen::Map<Parameters<T>> velocity(nullptr, 0);
    if (!fields[2].is_none())
      new (&velocity) Eigen::Map<Parameters<T>>(memory_of<T>(fields[2], size));
    return DescendSGD<T>(memory_of<T>(fields[1], size), velocity, rates_of<T>(fields[3]), number(4),
                         number(5));
  }
  const AdamStep<T> step{T(0), number(5), number(6), number(7), number(8), number(9), number(10)};
  return DescendAdam<T>(memory_of<T>(fields[1], size), memory_of<T>(fields[2], size),
                        memory_of<T>(fields[3], size), rates_of<T>(fields[4]), step);
}

/// Hands a gradient that was computed in double precision to a sink. Returns false if it is not finite in precision T.
template <class T>
bool deliver(const Parameters<double>& gradient, ParameterSink<T>& sink) {
  const Parameters<T> sums = gradient.cast<T>();
  if (!all_finite(sums)) return false;
  sink.numbers(0, sums);
  return true;
}

double mean(const PerSample<Index>& counts) {
  return static_cast<double>(counts.sum()) / static_cast<double>(counts.size());
}

/// Throws InvalidArgument with the position of the first number of x (inputs, batch) that is not finite.
template <class T>
void refuse_not_finite(const Eigen::Map<const State<T>>& x) {
  for (Index j = 0; j < x.cols(); ++j)
    for (Index i = 0; i < x.rows(); ++i)
      require(std::isfinite(x(i, j)), where, "`x` holds finite numbers.", x(i, j), " at sample ", j,
              ", unit ", i);
}

}  // namespace

template <class T>
void TrainingStep<T>::clamp(const Array<T>& x) {
  x_ = x;
  if (network_ == nullptr) {
    batch_.reset();
    return;
  }
  const Eigen::Map<const State<T>> input(x.data(), x.shape(1), x.shape(0));
  const bool same = clamped_ && batch_ && batch_->samples() == input.cols();
  const py::gil_scoped_release release;
  if (same) {
    clamped_->reclamp(input);
  } else {
    batch_.reset();
    clamped_.emplace(network_->clamp(input));
  }
  if (!std::isfinite(clamped_->largest_input())) refuse_not_finite<T>(input);
}

template <class T>
void TrainingStep<T>::take_targets(const py::object& y) {
  const auto given = y.cast<py::array>();
  if (given.ndim() == 1) {
    const auto labels = given.cast<py::array_t<std::int64_t, py::array::c_style>>();
    labels_ = Eigen::Map<const Eigen::Array<std::int64_t, Eigen::Dynamic, 1>>(labels.data(),
                                                                              labels.size());
    const Index outputs = network_ != nullptr ? network_->topology().num_outputs()
                                              : model_.attr("num_outputs").cast<Index>();
    take_one_hot<T>(labels_, outputs, targets_, where);
  } else {
    labels_.resize(0);
    targets_ = as_state<T>(given.cast<Array<T>>(), -1, where);
  }
}

/// Creates energy and cost of this mini-batch, or reuses the memory of the last mini-batch if the sizes are equal.
template <class T>
void TrainingStep<T>::bind(const py::object& y, const py::object& cost) {
  take_targets(y);
  const Index samples = x_.cast<Array<T>>().shape(0);
  require(targets_.cols() == samples, where, "`y` has one target for each sample.", targets_.cols(),
          " for ", samples, " samples");
  const bool known = py::isinstance<CostKind>(cost);
  if (known && batch_ && kind_ == cost.cast<CostKind>() && cost_.index() != 0) {
    std::visit(
        [&](auto& bound) {
          if constexpr (!std::same_as<std::decay_t<decltype(bound)>, std::monostate>)
            bound.retarget(targets_);
        },
        cost_);
    return;
  }
  AnyEnergy<T> energy =
      network_ != nullptr ? AnyEnergy<T>(*clamped_) : model_.attr("clamp")(x_).cast<AnyEnergy<T>>();
  if (!known) {
    cost_ = std::monostate();
    batch_.emplace(std::move(energy), cost.cast<const BoundCost<T>&>().cost());
    return;
  }
  kind_ = cost.cast<CostKind>();
  if (kind_ == CostKind::squared_error)
    cost_ = SquaredError<T>(targets_);
  else
    cost_ = CrossEntropy<T>(targets_);
  std::visit(
      [&](const auto& bound) {
        if constexpr (!std::same_as<std::decay_t<decltype(bound)>, std::monostate>)
          batch_.emplace(std::move(energy), bound);
      },
      cost_);
}

template <class T>
void TrainingStep<T>::relax_free(const Solver& solver) {
  if (network_ == nullptr) {
    const auto start = model_.attr("initial_state")(batch_->samples()).template cast<Array<T>>();
    const auto states = as_state<T>(start, batch_->energy().num_units(), where);
    const py::gil_scoped_release release;
    free_ = batch_->relax_free(
        solver, [&](Index begin, StateRef<T> s) { s = states.middleCols(begin, s.cols()); },
        free_slot);
    return;
  }
  const py::gil_scoped_release release;
  if (rest_.size() == 0) rest_ = network_->initial_state(1);
  free_ = batch_->relax_free(
      solver, [&](Index, StateRef<T> s) { s.colwise() = rest_.col(0); }, free_slot);
}

template <class T>
void TrainingStep<T>::run(const NudgedPhases& phases, ParameterSink<T>& sink) {
  if (phases.kind != NudgedPhases::Kind::finite) return run_in_double(phases, sink);
  std::vector<std::pair<double, double>> nodes;
  for (const auto& [beta, weight] : phases.nodes) nodes.push_back({beta.real(), weight.real()});
  const NudgingRule<T> rule = rule_of<T>(nodes);
  const py::gil_scoped_release release;
  if (!phases.symmetrize)
    return equilibrium_propagation(*batch_, rule, phases.solver, sink, second_, weights_);
  HostBatch<T> turned(Symmetrized<T>(batch_->energy(), batch_->state(free_slot)), batch_->cost());
  turned.write(free_slot, batch_->state(free_slot));
  equilibrium_propagation(turned, rule, phases.solver, sink, second_, weights_);
}

/// Returns the clamped model with states of scalar S, created by its Python method `method`.
template <class T>
template <class S>
AnyEnergy<S> TrainingStep<T>::clamped_as(const char* method) const {
  return model_.attr(method)(x_).template cast<AnyEnergy<S>>();
}

template <class T>
void TrainingStep<T>::run_in_double(const NudgedPhases& phases, ParameterSink<T>& sink) {
  const State<double> s_star = batch_->state(free_slot).template cast<double>();
  const auto estimate = [&](auto energy, const auto& gradient_of) {
    using S = typename decltype(energy)::Scalar;
    if (phases.symmetrize) energy = Symmetrized<S>(energy, s_star.template cast<S>());
    const py::gil_scoped_release release;
    const Gradient<double> gradient = gradient_of(energy);
    second_ = gradient.report;
    if (any_diverged(second_) || !deliver<T>(gradient.parameters, sink))
      explain_overflow(second_, [](Report&) {});
  };
  if (phases.kind == NudgedPhases::Kind::exact_limit) {
    const auto cost = make_cost<Dual<double>>(kind_, targets_);
    estimate(clamped_as<Dual<double>>("clamp_dual"), [&](const AnyEnergy<Dual<double>>& energy) {
      return equilibrium_propagation_limit(energy, cost, s_star, phases.solver, Wanted::parameters);
    });
  } else {
    NudgingRule<Complex> rule;
    for (const auto& [beta, weight] : phases.nodes) rule.push_back({beta, weight});
    const auto cost = make_cost<Complex>(kind_, targets_);
    estimate(clamped_as<Complex>("clamp_complex"), [&](const AnyEnergy<Complex>& energy) {
      return holomorphic_equilibrium_propagation(energy, cost, s_star, rule, phases.solver,
                                                 Wanted::parameters);
    });
  }
}

template <class T>
void TrainingStep<T>::run(const SideNetwork& side, ParameterSink<T>& sink) {
  const py::gil_scoped_release release;
  recurrent_backpropagation(*batch_, side.solver, sink, second_);
}

/// Returns the fraction of misclassified samples, or the root mean square of outputs - targets if y holds targets.
template <class T>
double TrainingStep<T>::error() const {
  const auto outputs = batch_->state(free_slot).bottomRows(targets_.rows());
  if (labels_.size() == 0)
    return std::sqrt((outputs.template cast<double>() - targets_.template cast<double>())
                         .array()
                         .square()
                         .mean());
  Index wrong = 0;
  for (Index j = 0; j < outputs.cols(); ++j) {
    Index largest = 0;
    outputs.col(j).maxCoeff(&largest);
    wrong += largest != labels_(j) ? 1 : 0;
  }
  return static_cast<double>(wrong) / static_cast<double>(outputs.cols());
}

template <class T>
py::tuple TrainingStep<T>::metrics(py::object gradient) const {
  const Index failed =
      (free_.status > Status::fixed_steps || second_.status > Status::fixed_steps).count();
  return py::make_tuple(static_cast<double>(batch_->objective(free_slot)), error(),
                        mean(free_.iterations), mean(second_.iterations),
                        free_.residual.template maxCoeff<Eigen::PropagateNaN>(), failed,
                        std::move(gradient));
}

template <class T>
py::object TrainingStep<T>::take(const Array<T>& x, const py::object& y, const py::object& cost,
                                 const Solver& solver, const SecondPhase& second_phase,
                                 const py::object& sink) {
  require(x.ndim() == 2 && x.shape(0) > 0 &&
              (network_ == nullptr || x.shape(1) == network_->topology().num_inputs()),
          where,
          network_ == nullptr
              ? std::string("`x` has shape (batch, inputs).")
              : "`x` has shape (batch, " + std::to_string(network_->topology().num_inputs()) + ").",
          "shape ", py::str(py::tuple(x.attr("shape"))).cast<std::string>());
  clamp(x);
  bind(y, cost);
  second_.restart(0);
  relax_free(solver);
  if (any_diverged(free_)) return py::none();
  Parameters<T> gradient;
  Sink<T> to = sink_of<T>(sink, gradient, batch_->energy().num_parameters());
  std::visit(
      [&](auto& chosen) { std::visit([&](const auto& way) { run(way, chosen); }, second_phase); },
      to);
  if (any_diverged(second_)) return py::none();
  return metrics(sink.is_none() ? py::object(hand_over(std::move(gradient))) : py::none());
}

void bind_second_phases(py::module_& m) {
  py::native_enum<CostKind>(m, "CostKind", "enum.Enum")
      .value("SQUARED_ERROR", CostKind::squared_error)
      .value("CROSS_ENTROPY", CostKind::cross_entropy)
      .finalize();
  py::native_enum<NudgedPhases::Kind>(m, "NudgingKind", "enum.Enum")
      .value("FINITE", NudgedPhases::Kind::finite)
      .value("EXACT_LIMIT", NudgedPhases::Kind::exact_limit)
      .value("HOLOMORPHIC", NudgedPhases::Kind::holomorphic)
      .finalize();
  py::class_<NudgedPhases>(m, "NudgedPhases")
      .def(py::init([](NudgedPhases::Kind kind, std::vector<std::pair<Complex, Complex>> nodes,
                       Solver solver, bool symmetrize) {
        return NudgedPhases{kind, std::move(nodes), std::move(solver), symmetrize};
      }));
  py::class_<SideNetwork>(m, "SideNetwork").def(py::init([](LinearSolver solver) {
    return SideNetwork{std::move(solver)};
  }));
}

template <class T>
void bind_steps(py::module_& m) {
  using Step = TrainingStep<T>;
  py::class_<Step>(m, "TrainingStep")
      .def(py::init<py::object, std::shared_ptr<HopfieldNetwork<T>>>(), py::arg("model"),
           py::arg("network").none(true))
      .def("take", &Step::take)
      .def_property_readonly("free", [](const Step& step) { return as_tuple(step.free()); })
      .def_property_readonly("second", [](const Step& step) { return as_tuple(step.second()); });
}

template void bind_steps<float>(py::module_&);
template void bind_steps<double>(py::module_&);

}  // namespace equiprop::bindings
