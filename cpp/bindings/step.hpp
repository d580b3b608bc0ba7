#pragma once
/// One training step as Python takes it, in one call: free phase, second phase, update.

#include <optional>
#include <variant>

#include "arrays.hpp"
#include "cost.hpp"
#include "equiprop/model/hopfield.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop::bindings {

/// How Equilibrium Propagation estimates the gradient.
struct NudgedPhases {
  enum class Kind { finite, exact_limit, holomorphic };
  Kind kind = Kind::finite;
  std::vector<std::pair<Complex, Complex>> nodes;  ///< (beta, weight); unused in the exact limit
  Solver solver;
  bool symmetrize = false;
};

/// How Recurrent Backpropagation solves its side network.
struct SideNetwork {
  LinearSolver solver;
};

using SecondPhase = std::variant<NudgedPhases, SideNetwork>;

/// Rounds the nodes of a rule to the scalar of a network.
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

/// The optimiser's part of a step: (kind, arrays and numbers), as `optimizers.py` writes it.
template <class T>
using Sink = std::variant<AddTo<T>, DescendSGD<T>, DescendAdam<T>>;

/// Takes training steps of one model and keeps their memory. A network is clamped anew in place while the batch has one
/// size; a model written in Python is clamped by its method `clamp` in each step.
template <class T>
class TrainingStep {
 public:
  /// `network` is the core's network, or None for a model that only Python knows.
  TrainingStep(py::object model, std::shared_ptr<HopfieldNetwork<T>> network)
      : model_(std::move(model)), network_(std::move(network)) {}

  /// (objective, error, mean iterations of the free and of the second phase, largest free residual, samples that did not
  /// converge, gradient or None). `sink` None returns the gradient. None if a sample diverged: nothing is updated then,
  /// and `free` and `second` have the statuses.
  py::object take(const Array<T>& x, const py::object& y, const py::object& cost,
                  const Solver& solver, const SecondPhase& second_phase, const py::object& sink);

  const Report& free() const { return free_; }  ///< of the last step's free phase
  const Report& second() const {
    return second_;
  }  ///< of the last step's second phase; empty if it did not begin

 private:
  void clamp(const Array<T>& x);
  void bind(const py::object& y, const py::object& cost);
  void take_targets(const py::object& y);
  void relax_free(const Solver& solver);
  void run(const NudgedPhases& phases, ParameterSink<T>& sink);
  void run(const SideNetwork& side, ParameterSink<T>& sink);
  void run_in_double(const NudgedPhases& phases, ParameterSink<T>& sink);
  template <class S>
  AnyEnergy<S> clamped_as(const char* method) const;
  double error() const;
  py::tuple metrics(py::object gradient) const;

  py::object model_;
  std::shared_ptr<HopfieldNetwork<T>> network_;
  State<T> rest_;                              // (units, 1): the start of every sample of a network
  std::optional<ClampedHopfield<T>> clamped_;  // of a network
  py::object x_;                               // the input of the last step
  State<T> targets_;                           // (outputs, batch)
  Eigen::Array<std::int64_t, Eigen::Dynamic, 1>
      labels_;  // (batch,), or empty where y holds targets
  std::variant<std::monostate, SquaredError<T>, CrossEntropy<T>> cost_;
  CostKind kind_ = CostKind::squared_error;
  std::optional<HostBatch<T>> batch_;
  std::vector<T> weights_;
  Report free_, second_;
};

}  // namespace equiprop::bindings
