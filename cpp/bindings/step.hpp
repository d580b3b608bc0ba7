#pragma once
/// One training step (free phase, second phase, update) as one call from Python.

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <variant>

#include "arrays.hpp"
#include "cost.hpp"
#include "equiprop/model/hopfield.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop::bindings {

/// Options of Equilibrium Propagation.
struct NudgedPhases {
  enum class Kind { finite, exact_limit, holomorphic };
  Kind kind = Kind::finite;
  std::vector<std::pair<Complex, Complex>> nodes;  ///< (beta, weight); unused in the exact limit
  Solver solver;
  bool symmetrize = false;
};

/// Options of Recurrent Backpropagation.
struct SideNetwork {
  LinearSolver solver;
};

/// Python's options of the second phase, which this only refers to.
using SecondPhase = std::variant<const NudgedPhases*, const SideNetwork*>;

/// Converts the nodes of a rule to scalar S. Throws InvalidArgument if a beta underflows to 0 or a weight overflows.
template <class S>
NudgingRule<S> rule_of(const std::vector<std::pair<double, double>>& nodes) {
  NudgingRule<S> rule;
  for (const auto& [beta, weight] : nodes) {
    rule.push_back({static_cast<S>(beta), static_cast<S>(weight)});
    require((beta == 0) == (rule.back().beta == 0) && std::isfinite(rule.back().weight),
            "equilibrium_propagation", "beta has a value in the precision of the network.", beta);
  }
  return rule;
}

/// Settings of an optimiser whose step the core takes, and views of the arrays that it updates.
template <class T>
class OptimizerSink {
 public:
  using Rates =
      std::vector<std::pair<Index, T>>;  ///< index of the first parameter, and learning rate

  /// Creates a sink of SGD. `velocity` is None if momentum is 0. Throws InvalidArgument if the core cannot update an
  /// array in place.
  OptimizerSink(py::object theta, py::object velocity, const Rates& rates, T momentum, T decay);
  /// Creates a sink of Adam: `numbers` has beta1, beta2, epsilon, decay, and the two corrections.
  OptimizerSink(py::object theta, py::object mean, py::object square, const Rates& rates,
                const std::array<T, 6>& numbers);

  /// Returns the sink of the core. Throws InvalidArgument if theta does not have `size` parameters.
  ParameterSink<T>& of_size(Index size);

 private:
  std::vector<py::object> arrays_;  // keeps the memory alive
  Index size_;
  std::variant<DescendSGD<T>, DescendAdam<T>> sink_;
};

/// Takes training steps of one model and keeps the memory between them. A network is reclamped in place as long as the
/// batch size does not change; a model written in Python is clamped by its method `clamp` in each step.
template <class T>
class TrainingStep {
 public:
  /// Creates the step of `model`. `network` is its network in the core, or nullptr for a model written in Python.
  TrainingStep(py::object model, std::shared_ptr<HopfieldNetwork<T>> network)
      : model_(std::move(model)), network_(std::move(network)) {}

  /// Takes one step. Returns (objective, error, mean iterations of the free phase, mean iterations of the second phase,
  /// largest free residual, number of samples that did not converge, norm of the gradient, estimated error of the
  /// gradient, number of samples that are inaccurate, gradient or None). A gradient of a larger norm than `largest_norm`
  /// is scaled to it; NaN: the norm is not computed. Objective, gradient and error have weights of the samples,
  /// `sample_weight` (batch,), if they are given. The gradient is returned if `sink` is null. Returns None and updates
  /// nothing if a sample diverged; `free` and `second` then have the statuses. The free phase starts at `start`
  /// (batch, units), which is read in place, or at the initial state of the model if there is none.
  py::object take(const Array<T>& x, const py::object& y, const py::object& cost,
                  const Solver& solver, const SecondPhase& second_phase, OptimizerSink<T>* sink,
                  double largest_norm, const std::optional<Vector<T>>& sample_weight,
                  const std::optional<Array<T>>& start);

  /// Turns the control of the gradient's error off or on, to measure what it costs.
  void set_control(bool on) { judging_ = on ? Judging::batch : Judging::none; }
  /// Returns true if the gradient's error is estimated and lowered.
  bool control() const { return judging_ != Judging::none; }
  /// Returns the report of the last step's free phase.
  const Report& free() const { return free_; }
  /// Returns a copy of the free states (batch, units) of the last step, which must have ended.
  Array<T> free_state() const;
  /// Returns the report of the last step's second phase; it is empty if that phase did not start.
  const Report& second() const { return second_; }

 private:
  void check_shape(const Array<T>& x) const;
  void clamp(const Array<T>& x);
  void bind(const py::object& y, const py::object& cost);
  void take_targets(const py::object& y);
  void relax_free(const Solver& solver, const std::optional<Array<T>>& start);
  void run(const NudgedPhases& phases, ParameterSink<T>& sink);
  void run(const SideNetwork& side, ParameterSink<T>& sink);
  void run_in_double(const NudgedPhases& phases, ParameterSink<T>& sink);
  template <class S>
  AnyEnergy<S> clamped_as(const char* method) const;
  template <class S>
  AnyCost<S> cost_as() const;
  double error_of(Index j) const;
  double error() const;
  double gradient_error() const;
  void judge_together();
  double objective_in(std::unique_ptr<char[]> aside) const;
  py::tuple metrics(double norm, double objective, py::object gradient) const;

  std::atomic<bool> busy_ = false;  // true during take, which runs without Python's lock
  bool relaxed_ = false;            // true if the free phase of the last step has ended
  py::object model_;
  std::shared_ptr<HopfieldNetwork<T>> network_;
  State<T> rest_;                              // (units, 1): the start of all samples of a network
  std::optional<ClampedHopfield<T>> clamped_;  // empty for a model written in Python
  py::object x_;                               // the input of the last step
  State<T> targets_;                           // (outputs, batch)
  Eigen::Array<std::int64_t, Eigen::Dynamic, 1> labels_;  // (batch,), or empty if y holds targets
  py::object cost_given_;                                 // what the last step got as its cost
  std::variant<std::monostate, SquaredError<T>, CrossEntropy<T>> cost_;  // empty for another cost
  CostKind kind_;
  std::optional<HostBatch<T>> batch_;
  Judging judging_ = Judging::batch;
  std::vector<T> weights_;
  Report free_, second_;
};

}  // namespace equiprop::bindings
