#include "step.hpp"

#include <pybind11/complex.h>
#include <pybind11/stl.h>

#include <memory>
#include <new>

#include "bindings.hpp"
#include "equiprop/model/symmetrized.hpp"

namespace equiprop::bindings {
namespace {

constexpr const char* where = "Trainer.step";
/// Bytes that are put aside for what a step computes after its update, more than the numbers of the samples.
constexpr std::size_t least_aside = 4096;

/// Returns a view of the array (size,), without a copy. Throws InvalidArgument if that is not possible.
template <class T>
Eigen::Map<Parameters<T>> memory_of(const py::object& given, Index size) {
  auto array = given.cast<Vector<T>>();
  require(array.is(given) && array.ndim() == 1 && array.shape(0) == size, where,
          "Parameters and averages are contiguous vectors of one length and of the model's type.",
          array.size(), " numbers for ", size);
  return {array.mutable_data(), size};
}

template <class T>
BlockRates<T> rates_of(const typename OptimizerSink<T>::Rates& given) {
  BlockRates<T> rates;
  for (const auto& [begin, rate] : given) rates.push_back({begin, rate});
  return rates;
}

/// Hands a gradient that was computed in double precision to a sink. Returns false if it is not finite in precision T.
template <class T>
bool deliver(const Parameters<double>& gradient, ParameterSink<T>& sink) {
  const Parameters<T> sums = gradient.cast<T>();
  if (!all_finite(sums)) return false;
  sink.numbers(0, sums);
  return true;
}

/// Sets a flag while it exists. Throws InvalidArgument if the flag is set already.
class Occupied {
 public:
  explicit Occupied(std::atomic<bool>& busy) : busy_(busy) {
    require(!busy_.exchange(true), where, "One thread at a time trains with a Trainer.",
            "a step during another step");
  }
  ~Occupied() { busy_ = false; }
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;

 private:
  std::atomic<bool>& busy_;
};

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
OptimizerSink<T>::OptimizerSink(py::object theta, py::object velocity, const Rates& rates,
                                T momentum, T decay)
    : arrays_{theta, velocity},
      size_(static_cast<Index>(py::len(theta))),
      sink_(DescendSGD<T>(memory_of<T>(theta, size_),
                          velocity.is_none() ? Eigen::Map<Parameters<T>>(nullptr, 0)
                                             : memory_of<T>(velocity, size_),
                          rates_of<T>(rates), momentum, decay)) {}

template <class T>
OptimizerSink<T>::OptimizerSink(py::object theta, py::object mean, py::object square,
                                const Rates& rates, const std::array<T, 6>& numbers)
    : arrays_{theta, mean, square},
      size_(static_cast<Index>(py::len(theta))),
      sink_(DescendAdam<T>(
          memory_of<T>(theta, size_), memory_of<T>(mean, size_), memory_of<T>(square, size_),
          rates_of<T>(rates),
          {T(0), numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]})) {}

template <class T>
ParameterSink<T>& OptimizerSink<T>::of_size(Index size) {
  require(size_ == size, where, "The optimizer updates the parameters of the model.", size_,
          " numbers for ", size);
  return std::visit([](auto& sink) -> ParameterSink<T>& { return sink; }, sink_);
}

/// Throws InvalidArgument unless x has shape (batch, inputs) and at least one sample.
template <class T>
void TrainingStep<T>::check_shape(const Array<T>& x) const {
  const Index inputs = network_ != nullptr ? network_->topology().num_inputs() : -1;
  if (x.ndim() == 2 && x.shape(0) > 0 && (inputs < 0 || x.shape(1) == inputs)) return;
  require(false, where,
          "`x` has shape (batch, " + (inputs < 0 ? "inputs" : std::to_string(inputs)) + ").",
          "shape ", py::str(py::tuple(x.attr("shape"))).cast<std::string>());
}

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
  if (cost.is(cost_given_) && batch_ && cost_.index() != 0) {
    std::visit(
        [&](auto& bound) {
          if constexpr (!std::same_as<std::decay_t<decltype(bound)>, std::monostate>)
            bound.retarget(targets_);
        },
        cost_);
    return;
  }
  cost_given_ = cost;
  AnyEnergy<T> energy =
      network_ != nullptr ? AnyEnergy<T>(*clamped_) : model_.attr("clamp")(x_).cast<AnyEnergy<T>>();
  if (!py::isinstance<CostKind>(cost)) {
    cost_ = std::monostate();
    batch_.emplace(std::move(energy), cost.cast<const BoundCost<T>&>().cost());
    return;
  }
  kind_ = cost.cast<CostKind>();
  if (kind_.logit_scale == 0)
    cost_ = SquaredError<T>(targets_);
  else
    cost_ = CrossEntropy<T>(targets_, kind_.logit_scale);
  std::visit(
      [&](const auto& bound) {
        if constexpr (!std::same_as<std::decay_t<decltype(bound)>, std::monostate>)
          batch_.emplace(std::move(energy), bound);
      },
      cost_);
}

template <class T>
void TrainingStep<T>::relax_free(const Solver& solver, const std::optional<Array<T>>& start) {
  if (start || network_ == nullptr) {
    const auto given =
        start ? *start : model_.attr("initial_state")(batch_->samples()).template cast<Array<T>>();
    const auto states = as_state<T>(given, batch_->energy().num_units(), where);
    require(states.cols() == batch_->samples(), where, "Each sample has one start state.",
            states.cols(), " for ", batch_->samples(), " samples");
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
Array<T> TrainingStep<T>::free_state() const {
  require(relaxed_ && !busy_, where, "The free states are those of a step that has ended.", "none");
  const State<T>& state = batch_->state(free_slot);
  Array<T> out = new_state<T>(state.rows(), state.cols());
  as_state<T>(out) = state;
  return out;
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
  turned.set_sample_weights(batch_->sample_weights());
  turned.set_judging(judging_);
  turned.write(free_slot, batch_->state(free_slot));
  equilibrium_propagation(turned, rule, phases.solver, sink, second_, weights_);
}

/// Returns the clamped model with states of scalar S, created by its Python method `method`.
template <class T>
template <class S>
AnyEnergy<S> TrainingStep<T>::clamped_as(const char* method) const {
  return model_.attr(method)(x_).template cast<AnyEnergy<S>>();
}

/// Returns the cost with states of scalar S, and with the weights of the samples.
template <class T>
template <class S>
AnyCost<S> TrainingStep<T>::cost_as() const {
  const AnyCost<S> cost = cost_.index() != 0
                              ? make_cost<S>(kind_, targets_)
                              : cost_given_.cast<const BoundCost<T>&>().template as<S>();
  return cost.weighted(batch_->sample_weights().template cast<RealOf<S>>());
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
    judge_together();
    if (any_diverged(second_) || !deliver<T>(gradient.parameters, sink))
      explain_overflow(second_, [](Report&) {});
  };
  if (phases.kind == NudgedPhases::Kind::exact_limit) {
    const auto cost = cost_as<Dual<double>>();
    estimate(clamped_as<Dual<double>>("clamp_dual"), [&](const AnyEnergy<Dual<double>>& energy) {
      return equilibrium_propagation_limit(energy, cost, s_star, phases.solver, Wanted::parameters);
    });
  } else {
    NudgingRule<Complex> rule;
    for (const auto& [beta, weight] : phases.nodes) rule.push_back({beta, weight});
    const auto cost = cost_as<Complex>();
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
  free_ = batch_->report(free_slot);  // some samples may have been relaxed further
}

/// Returns the error of sample j: 1 if it is misclassified, otherwise 0; or the mean square of outputs - targets.
template <class T>
double TrainingStep<T>::error_of(Index j) const {
  const auto outputs = batch_->state(free_slot).col(j).tail(targets_.rows());
  if (labels_.size() == 0)
    return (outputs.template cast<double>() - targets_.col(j).template cast<double>())
        .array()
        .square()
        .mean();
  Index largest = 0;
  outputs.maxCoeff(&largest);
  return largest != labels_(j) ? 1 : 0;
}

/// Returns sum_j w_j e_j / sum_j w_j of the errors e_j, or the root of it if y holds targets; 0 if all weights are 0.
template <class T>
double TrainingStep<T>::error() const {
  const PerSample<T>& given = batch_->sample_weights();
  double sum = 0, weights = 0;
  for (Index j = 0; j < targets_.cols(); ++j) {
    const double weight = given.size() == 0 ? 1 : static_cast<double>(given(j));
    sum += weight * error_of(j);
    weights += weight;
  }
  const double mean = weights > 0 ? sum / weights : 0;
  return labels_.size() == 0 ? std::sqrt(mean) : mean;
}

/// Returns the estimated relative error of the gradient: the root mean square of the samples' errors.
template <class T>
double TrainingStep<T>::gradient_error() const {
  return std::sqrt(second_.error.square().mean());
}

/// Accepts all samples that converged if the gradient of the batch is accurate.
template <class T>
void TrainingStep<T>::judge_together() {
  if (!(gradient_error() <= most_gradient_error)) return;
  for (Status& status : second_.status)
    if (status == Status::inaccurate) status = Status::converged;
}

/// Returns the objective of the free states after the update of the parameters, when the step must not fail: if there
/// is no other memory, `aside` is freed for it.
template <class T>
double TrainingStep<T>::objective_in(std::unique_ptr<char[]> aside) const {
  try {
    return static_cast<double>(batch_->objective(free_slot));
  } catch (const std::bad_alloc&) {
    aside.reset();
    return static_cast<double>(batch_->objective(free_slot));
  }
}

template <class T>
py::tuple TrainingStep<T>::metrics(double norm, double objective, py::object gradient) const {
  const Index failed =
      (free_.status > Status::fixed_steps || second_.status > Status::fixed_steps).count();
  return py::make_tuple(objective, error(), mean(free_.iterations), mean(second_.iterations),
                        free_.residual.template maxCoeff<Eigen::PropagateNaN>(), failed, norm,
                        gradient_error(), (second_.status == Status::inaccurate).count(),
                        std::move(gradient));
}

template <class T>
py::object TrainingStep<T>::take(const Array<T>& x, const py::object& y, const py::object& cost,
                                 const Solver& solver, const SecondPhase& second_phase,
                                 OptimizerSink<T>* sink, double largest_norm,
                                 const std::optional<Vector<T>>& sample_weight,
                                 const std::optional<Array<T>>& start) {
  const Occupied occupied(busy_);
  relaxed_ = false;
  check_shape(x);
  clamp(x);
  bind(y, cost);
  if (sample_weight)
    batch_->set_sample_weights(weights_of<T>(*sample_weight));
  else if (cost_.index() != 0)  // another cost has its own weights
    batch_->set_sample_weights({});
  batch_->set_judging(judging_);
  second_.restart(0);
  relax_free(solver, start);
  relaxed_ = true;
  if (any_diverged(free_)) return py::none();
  const Index size = batch_->energy().num_parameters();
  Parameters<T> gradient = Parameters<T>::Zero(sink == nullptr ? size : 0);
  AddTo<T> sum(gradient);
  ParameterSink<T>& to = sink == nullptr ? sum : sink->of_size(size);
  ClipTo<T> clipped(to, largest_norm);
  ParameterSink<T>& first = std::isnan(largest_norm) ? to : static_cast<ParameterSink<T>&>(clipped);
  auto aside =
      std::make_unique<char[]>(static_cast<std::size_t>(x.shape(0)) * sizeof(T) + least_aside);
  std::visit([&](const auto* way) { run(*way, first); }, second_phase);
  if (any_diverged(second_)) return py::none();
  return metrics(std::isnan(largest_norm) ? largest_norm : clipped.norm(),
                 objective_in(std::move(aside)),
                 sink == nullptr ? py::object(hand_over(std::move(gradient))) : py::none());
}

template <class T>
void bind_steps(py::module_& m) {
  using Step = TrainingStep<T>;
  using Rates = typename OptimizerSink<T>::Rates;
  using Numbers = std::array<T, 6>;
  py::class_<OptimizerSink<T>>(m, "OptimizerSink")
      .def_static(
          "sgd",
          [](py::object theta, py::object velocity, const Rates& rates, T momentum, T decay) {
            return OptimizerSink<T>(std::move(theta), std::move(velocity), rates, momentum, decay);
          })
      .def_static("adam", [](py::object theta, py::object mean, py::object square,
                             const Rates& rates, const Numbers& numbers) {
        return OptimizerSink<T>(std::move(theta), std::move(mean), std::move(square), rates,
                                numbers);
      });
  py::class_<Step>(m, "TrainingStep")
      .def(py::init<py::object, std::shared_ptr<HopfieldNetwork<T>>>(), py::arg("model"),
           py::arg("network").none(true))
      .def("take", &Step::take, py::arg("x"), py::arg("y"), py::arg("cost"), py::arg("solver"),
           py::arg("second_phase").none(false), py::arg("sink").none(true), py::arg("largest_norm"),
           py::arg("sample_weight") = py::none(), py::arg("start") = py::none())
      .def_property("control", &Step::control, &Step::set_control)
      .def_property_readonly("free_state", &Step::free_state)
      .def_property_readonly("free", [](const Step& step) { return as_tuple(step.free()); })
      .def_property_readonly("second", [](const Step& step) { return as_tuple(step.second()); });
}

template void bind_steps<float>(py::module_&);
template void bind_steps<double>(py::module_&);

}  // namespace equiprop::bindings
