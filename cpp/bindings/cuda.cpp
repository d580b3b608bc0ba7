/// The module equiprop_cuda._cuda: batches on a CUDA device. It is linked with a copy of the library of its own, so only
/// plain data crosses between it and equiprop._core: descriptions as JSON, solvers as tuples, and NumPy arrays.

#include <pybind11/stl.h>

#include <array>

#include "arrays.hpp"
#include "cuda_run.hpp"
#include "dlpack.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/model/checkpoint.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop::bindings {
namespace {

template <class T>
using Vector = py::array_t<T, py::array::c_style>;
using Nodes = std::vector<std::pair<double, double>>;
/// Name, damping or step size, tolerance, and largest number of steps of a solver.
using SolverFields = std::tuple<std::string, double, std::optional<double>, Index>;
/// Blocks of a cluster, samples of a tile, and threads of a block; see cuda::Division.
using DivisionFields = std::array<int, 3>;
template <class T>
using Rates = std::vector<std::pair<Index, T>>;

/// Raises an exception of equiprop.cuda.
py::object exception(const char* name, const std::exception& failure) {
  return py::module_::import("equiprop.cuda").attr(name)(failure.what());
}
void translate(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const cuda::OutOfDeviceMemory& failure) {
    const py::object raised = exception("OutOfDeviceMemory", failure);
    raised.attr("samples_that_fit") = failure.samples_that_fit();
    PyErr_SetObject(py::type::of(raised).ptr(), raised.ptr());
  } catch (const cuda::DeviceError& failure) {
    const py::object raised = exception("DeviceError", failure);
    PyErr_SetObject(py::type::of(raised).ptr(), raised.ptr());
  }
}

Solver solver_of(const SolverFields& fields) {
  const auto& [kind, number, tolerance, max_iterations] = fields;
  const auto stopping = [&](auto solver) {
    solver.tolerance = tolerance;
    solver.max_iterations = max_iterations;
    solver.anderson = 0;
    return solver;
  };
  if (kind == "FixedPointIteration") {
    auto solver = stopping(FixedPointIteration{});
    solver.damping = number;
    return solver;
  }
  if (kind == "Euler") {
    auto solver = stopping(Euler{});
    solver.step_size = number;
    return solver;
  }
  require(kind == "BlockUpdate", "cuda", "A solver is a BlockUpdate, FixedPointIteration or Euler.",
          kind);
  return stopping(BlockUpdate{});
}

template <class T>
NudgingRule<T> rule_of(const Nodes& nodes) {
  NudgingRule<T> rule;
  for (const auto& [beta, weight] : nodes) {
    rule.push_back({static_cast<T>(beta), static_cast<T>(weight)});
    require((beta == 0) == (rule.back().beta == 0) && std::isfinite(rule.back().weight), "cuda",
            "beta has a value in the precision of the network.", beta);
  }
  return rule;
}

template <class T>
Eigen::Map<const Parameters<T>> as_parameters(const Vector<T>& array) {
  require(array.ndim() == 1, "cuda", "Parameters are a vector.", array.ndim(), " dimensions");
  return {array.data(), array.size()};
}

template <class T>
BlockRates<T> rates_of(const Rates<T>& given) {
  BlockRates<T> rates;
  for (const auto& [begin, rate] : given) rates.push_back({begin, rate});
  return rates;
}

/// A batch on a device with the sizes that its arrays have.
template <class T>
class Batch {
 public:
  Batch(const std::string& description, const Vector<T>& theta, Index most,
        const DivisionFields& division, const std::string& precision)
      : Batch(network_of(description, as_parameters<T>(theta)), most,
              cuda::Division{division[0], division[1], division[2]},
              cuda::precision_of(precision)) {}

  void upload(const Vector<T>& theta) {
    const auto numbers = as_parameters<T>(theta);
    const py::gil_scoped_release release;
    batch_.upload(numbers);
  }
  Vector<T> download() const {
    Vector<T> theta(parameters_);
    Eigen::Map<Parameters<T>> numbers(theta.mutable_data(), parameters_);
    const py::gil_scoped_release release;
    batch_.download(numbers);
    return theta;
  }
  void clamp(const Array<T>& x, const Array<T>& y, double logit_scale) {
    const auto inputs = as_state<T>(x, inputs_, "cuda");
    const auto targets = as_state<T>(y, outputs_, "cuda");
    const py::gil_scoped_release release;
    batch_.clamp(inputs, targets, logit_scale);
  }
  void clamp_there(std::uintptr_t x, const Array<T>& y, double logit_scale) {
    const auto targets = as_state<T>(y, outputs_, "cuda");
    const py::gil_scoped_release release;
    batch_.clamp_there(reinterpret_cast<const T*>(x), targets.cols(), targets, logit_scale);
  }
  void follow(std::uintptr_t stream) { batch_.follow(reinterpret_cast<void*>(stream)); }
  std::uintptr_t stream() const { return reinterpret_cast<std::uintptr_t>(batch_.stream()); }
  void wait() const { batch_.wait(); }
  bool finite(std::uintptr_t numbers, Index count) {
    const py::gil_scoped_release release;
    return batch_.all_finite(reinterpret_cast<const T*>(numbers), count);
  }
  void set_sample_weights(const std::optional<Vector<T>>& given) {
    PerSample<T> weights;
    if (given) weights = Eigen::Map<const PerSample<T>>(given->data(), given->size());
    const py::gil_scoped_release release;
    batch_.set_sample_weights(weights);
  }
  py::tuple relax_free(const SolverFields& fields, std::optional<Slot> start) {
    const Solver solver = solver_of(fields);
    if (start) check_slot(*start);
    return report_of([&] { return batch_.relax_free(solver, free_slot, start); });
  }
  py::tuple equilibrium_propagation(const Nodes& nodes, const SolverFields& fields, bool inputs) {
    const NudgingRule<T> rule = rule_of<T>(nodes);
    const Solver solver = solver_of(fields);
    std::vector<T> weights;
    return gradient(
        [&](ParameterSink<T>& sink, Report& report) {
          equiprop::equilibrium_propagation(batch_, rule, solver, sink, report, weights);
        },
        [&](Report& report) { explain_contrast(batch_, std::span<const T>(weights), report); },
        [&](StateRef<T> out) { add_input_contrast(batch_, std::span<const T>(weights), out); },
        inputs);
  }
  py::tuple recurrent_backpropagation(std::optional<double> tolerance, Index max_iterations,
                                      bool inputs) {
    ConjugateGradient solver;
    solver.tolerance = tolerance;
    solver.max_iterations = max_iterations;
    const T weight = T(-1) / static_cast<T>(batch_.samples());
    return gradient(
        [&](ParameterSink<T>& sink, Report& report) {
          equiprop::recurrent_backpropagation(batch_, solver, sink, report);
        },
        [&](Report& report) { explain_product(batch_, weight, report); },
        [&](StateRef<T> out) { batch_.mixed_input(free_slot, adjoint_slot, weight, out); }, inputs);
  }
  void descend(const Rates<T>& given, T momentum, T decay) {
    const BlockRates<T> rates = rates_of<T>(given);
    const py::gil_scoped_release release;
    batch_.descend(rates, momentum, decay);
  }
  void descend_adam(const Rates<T>& given, const std::array<T, 6>& numbers) {
    const BlockRates<T> rates = rates_of<T>(given);
    const AdamStep<T> step{T(0),       numbers[0], numbers[1], numbers[2],
                           numbers[3], numbers[4], numbers[5]};
    const py::gil_scoped_release release;
    batch_.descend(rates, step);
  }
  /// Averages of an optimiser are rows: none, the velocity, or mean and mean square.
  void write_averages(const Array<T>& rows) {
    require(rows.ndim() == 2 && rows.shape(0) <= 2 && rows.shape(1) == parameters_, "cuda",
            "Averages are up to two rows with one number for each parameter.", rows.size(),
            " numbers");
    const auto row = [&](Index k) {
      const bool exists = rows.shape(0) > k;
      return Eigen::Map<const Parameters<T>>(exists ? rows.data(k, 0) : nullptr,
                                             exists ? parameters_ : 0);
    };
    const py::gil_scoped_release release;
    batch_.write_averages(row(0), row(1));
  }
  /// Holds inputs (samples, inputs), labels (samples,) or targets (samples, outputs), and weights (samples,) or none.
  void hold(const Array<T>& x, const std::optional<Vector<int>>& labels,
            const std::optional<Array<T>>& y, const std::optional<Vector<T>>& weights) {
    cuda::HeldSamples<T> held{as_state<T>(x, inputs_, "cuda").cols(), x.data()};
    require(labels.has_value() != y.has_value(), "cuda", "Samples have labels or targets.",
            labels ? "both" : "neither");
    if (y) held.y = as_state<T>(*y, outputs_, "cuda").data();
    if (labels) held.labels = labels->data();
    if (weights) held.weights = weights->data();
    const Index lengths[] = {y ? y->shape(0) : labels->size(),
                             weights ? weights->size() : held.count};
    for (const Index length : lengths)
      require(length == held.count, "cuda", "Each sample has one target and one weight.", length,
              " for ", held.count, " samples");
    const py::gil_scoped_release release;
    batch_.hold(held);
  }
  void release() { batch_.hold({}); }
  /// Returns rows of metrics, the state of the run after it, the reason for which it stopped, and arrays; see RunResult.
  py::tuple run(const SolverFields& free, const SolverFields& nudged,
                const std::optional<std::pair<std::optional<double>, Index>>& side,
                double logit_scale, bool classes, const std::vector<T>& optimizer,
                const LimitFields& limits, const std::vector<StepTuple<T>>& steps,
                const Vector<int>& samples, const StateFields& state, const Vector<T>& mean) {
    auto settings = settings_of<T>(optimizer, limits);
    settings.free = solver_of(free);
    settings.nudged = solver_of(nudged);
    settings.logit_scale = logit_scale;
    settings.classes = classes;
    if (side) {
      settings.side_network.emplace();
      settings.side_network->tolerance = side->first;
      settings.side_network->max_iterations = side->second;
    }
    const auto fields = steps_of<T>(steps, rule_of<T>, rates_of<T>);
    cuda::RunState numbers;
    std::tie(numbers.steps, numbers.mean_norm, numbers.clipped, numbers.start, numbers.recent) =
        state;
    const Eigen::Map<const Parameters<T>> before(mean.data(), mean.size());
    const std::span<const int> rows(samples.data(), static_cast<std::size_t>(samples.size()));
    cuda::RunResult<T> result;
    {
      const py::gil_scoped_release release;
      result = batch_.run(settings, fields, rows, numbers, before);
    }
    const StateFields after{numbers.steps, numbers.mean_norm, numbers.clipped, numbers.start,
                            numbers.recent};
    return py::make_tuple(rows_of(result.records), after, numbers.stopped,
                          hand_over(std::move(result.theta)), hand_over(std::move(result.first)),
                          hand_over(std::move(result.second)), hand_over(std::move(result.mean)));
  }
  py::tuple reports() const {
    const cuda::RunReports reports = batch_.reports();
    return py::make_tuple(as_tuple(reports.free), as_tuple(reports.second));
  }
  void write(Slot slot, const Array<T>& s) {
    check_slot(slot);
    const auto state = as_state<T>(s, units_, "cuda");
    const py::gil_scoped_release release;
    batch_.write(slot, state);
  }
  Array<T> read(Slot slot) const {
    check_slot(slot);
    auto out = new_state<T>(units_, samples());
    auto state = as_state<T>(out);
    const py::gil_scoped_release release;
    batch_.read(slot, state);
    return out;
  }
  double objective(Slot slot) const {
    check_slot(slot);
    return static_cast<double>(batch_.objective(slot));
  }
  Index samples() const { return batch_.samples(); }

 private:
  Batch(const HopfieldNetwork<T>& network, Index most, const cuda::Division& division,
        cuda::Precision precision)
      : inputs_(network.topology().num_inputs()),
        outputs_(network.topology().num_outputs()),
        units_(network.topology().state().size()),
        parameters_(network.parameters().size()),
        batch_(network, most, division, precision) {}

  static HopfieldNetwork<T> network_of(const std::string& description,
                                       const Eigen::Map<const Parameters<T>>& theta) {
    SavedNetwork saved = equiprop::network_of(description, theta.size());
    auto* network = std::get_if<HopfieldNetwork<T>>(&saved);
    require(network != nullptr, "cuda", "The network has the precision of the batch.",
            "another one");
    network->parameters() = theta;
    return std::move(*network);
  }
  static void check_slot(Slot slot) {
    require(slot < most_slots, "cuda", "Slots are 0 to " + std::to_string(most_slots - 1) + ".",
            slot);
  }
  template <class Run>
  static py::tuple report_of(const Run& run) {
    Report report;
    {
      const py::gil_scoped_release release;
      report = run();
    }
    return as_tuple(report);
  }
  /// Returns (dJ/dtheta, dJ/dx or no rows, J at the free state, report).
  template <class Compute, class Explain, class AddInputs>
  py::tuple gradient(const Compute& compute, const Explain& explain, const AddInputs& add_inputs,
                     bool inputs) {
    Parameters<T> sums = Parameters<T>::Zero(parameters_);
    auto by_input = new_state<T>(inputs ? inputs_ : 0, samples());
    auto out = as_state<T>(by_input);
    out.setZero();
    double objective = 0;
    Report report;
    {
      const py::gil_scoped_release release;
      AddTo<T> sink(sums);
      compute(sink, report);
      if (inputs) add_inputs(out);
      if (!all_finite(sums)) explain(report);
      objective = static_cast<double>(batch_.objective(free_slot));
    }
    return py::make_tuple(hand_over(std::move(sums)), by_input, objective, as_tuple(report));
  }

  static constexpr Slot most_slots = 10;
  Index inputs_, outputs_, units_, parameters_;
  cuda::DeviceBatch<T> batch_;
};

template <class T>
void bind_batch(py::module_&& m) {
  using B = Batch<T>;
  py::class_<B>(m, "DeviceBatch", py::module_local())
      .def(py::init<const std::string&, const Vector<T>&, Index, const DivisionFields&,
                    const std::string&>(),
           py::arg("description"), py::arg("parameters"), py::arg("most"),
           py::arg("division") = DivisionFields{}, py::arg("precision") = "exact")
      .def_property_readonly("samples", &B::samples)
      .def("upload", &B::upload, py::arg("parameters"))
      .def("download", &B::download)
      .def("clamp", &B::clamp, py::arg("x"), py::arg("y"), py::arg("logit_scale") = 0.0)
      .def("clamp_there", &B::clamp_there, py::arg("x"), py::arg("y"), py::arg("logit_scale") = 0.0)
      .def("follow", &B::follow, py::arg("stream"))
      .def_property_readonly("stream", &B::stream)
      .def("wait", &B::wait, py::call_guard<py::gil_scoped_release>())
      .def("all_finite", &B::finite, py::arg("numbers"), py::arg("count"))
      .def("set_sample_weights", &B::set_sample_weights, py::arg("weights").none(true))
      .def("relax_free", &B::relax_free, py::arg("solver"), py::arg("start") = py::none())
      .def("equilibrium_propagation", &B::equilibrium_propagation, py::arg("nodes"),
           py::arg("solver"), py::arg("inputs") = false)
      .def("recurrent_backpropagation", &B::recurrent_backpropagation, py::arg("tolerance"),
           py::arg("max_iterations"), py::arg("inputs") = false)
      .def("descend", &B::descend, py::arg("rates"), py::arg("momentum"), py::arg("decay"))
      .def("descend_adam", &B::descend_adam, py::arg("rates"), py::arg("numbers"))
      .def("write_averages", &B::write_averages, py::arg("rows"))
      .def("hold", &B::hold, py::arg("x"), py::arg("labels").none(true), py::arg("y").none(true),
           py::arg("weights").none(true))
      .def("release", &B::release)
      .def("run", &B::run, py::arg("free"), py::arg("nudged"), py::arg("side").none(true),
           py::arg("logit_scale"), py::arg("classes"), py::arg("optimizer"), py::arg("limits"),
           py::arg("steps"), py::arg("samples"), py::arg("state"), py::arg("mean"))
      .def("reports", &B::reports)
      .def("write", &B::write, py::arg("slot"), py::arg("state"))
      .def("read", &B::read, py::arg("slot"))
      .def("objective", &B::objective, py::arg("slot"));
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "Batches on a CUDA device. Use `equiprop.cuda`; these names may change.";
  m.attr("version") = EQUIPROP_VERSION;
  m.def("why_unavailable", &cuda::why_unavailable);
  m.def("free_memory", &cuda::free_memory);
  dlpack::bind(m);
  py::register_local_exception_translator(&translate);
  bind_batch<float>(m.def_submodule("f32", "Single precision"));
  bind_batch<double>(m.def_submodule("f64", "Double precision"));
}

}  // namespace equiprop::bindings
