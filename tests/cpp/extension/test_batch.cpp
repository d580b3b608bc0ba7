/// A user-defined batch, as for a device, with both second phases: the calls that they make, and results equal to those
/// of the library's batch.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Computes with HostBatch and records every call.
template <class S>
class Recorder {
 public:
  using Scalar = S;

  Recorder(AnyEnergy<S> energy, AnyCost<S> cost) : host_(std::move(energy), std::move(cost)) {}

  Index samples() const { return host_.samples(); }
  bool conservative() const { return host_.conservative(); }
  void aim(const NudgingRule<S>& rule, Slot from) {
    note("aim", from);
    host_.aim(rule, from);
  }
  const Report& relax(const Solver& solver, S beta, Slot from, Slot to) {
    note("relax", from, to);
    return host_.relax(solver, beta, from, to);
  }
  const Report& solve(const LinearSolver& solver, Slot at, Slot lambda) {
    note("solve", at, lambda);
    return host_.solve(solver, at, lambda);
  }
  void refine(const NudgingRule<S>& rule, Slot first, Report& report) {
    note("refine", first);
    host_.refine(rule, first, report);
  }
  void displacement(Slot to, Slot first, Slot from, std::span<const S> weights) {
    note("displacement", to, first, from);
    host_.displacement(to, first, from, weights);
  }
  bool contrast(Slot first, std::span<const S> weights, ParameterSink<S>& sink) {
    note("contrast", first);
    return host_.contrast(first, weights, sink);
  }
  bool mixed(Slot at, Slot v, S weight, ParameterSink<S>& sink) {
    note("mixed", at, v);
    return host_.mixed(at, v, weight, sink);
  }
  void mark_contrast(Slot first, std::span<const S> weights, Report& report) {
    note("mark_contrast", first);
    host_.mark_contrast(first, weights, report);
  }
  void mark_mixed(Slot at, Slot v, S weight, Report& report) {
    note("mark_mixed", at, v);
    host_.mark_mixed(at, v, weight, report);
  }
  void input_contrast(Slot first, std::span<const S> weights, StateRef<S> out) {
    note("input_contrast", first);
    host_.input_contrast(first, weights, out);
  }
  void mixed_input(Slot at, Slot v, S weight, StateRef<S> out) {
    note("mixed_input", at, v);
    host_.mixed_input(at, v, weight, out);
  }
  S objective(Slot slot) { return host_.objective(slot); }
  void write(Slot slot, const ConstStateRef<S>& s) { host_.write(slot, s); }
  void read(Slot slot, StateRef<S> s) const { host_.read(slot, s); }

  std::vector<std::string> calls;

 private:
  template <class... Slots>
  void note(const std::string& name, Slots... slots) {
    std::string call = name;
    ((call += " " + std::to_string(slots)), ...);
    calls.push_back(call);
  }

  HostBatch<S> host_;
};
static_assert(SolvingBatch<Recorder<float>> && SolvingBatch<Recorder<double>>);
static_assert(SolvingBatch<HostBatch<double>> && Batch<HostBatch<D>> && Batch<HostBatch<Complex>>);
static_assert(!SolvingBatch<HostBatch<D>>, "linear solvers are for real numbers");

using Calls = std::vector<std::string>;

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        energy(network.clamp(random_state(random, network.topology().num_inputs(), batch))),
        cost(SquaredError<double>(random_state(random, network.topology().num_outputs(), batch))),
        s(fixed_point(energy, network.initial_state(batch))) {}

  Recorder<double> recorder() const {
    Recorder<double> made(energy, cost);
    made.write(free_slot, s);
    return made;
  }
  /// Runs the second phases on the recorder, with a sink.
  ///@{
  Report propagate(Recorder<double>& on, ParameterSink<double>& sink) {
    Report report;
    equilibrium_propagation(on, rule, solver, sink, report, weights);
    return report;
  }
  Report backpropagate(Recorder<double>& on, ParameterSink<double>& sink) {
    Report report;
    recurrent_backpropagation(on, linear_solver, sink, report);
    return report;
  }
  ///@}
  DescendSGD<double> descent() { return {theta, velocity, {{0, 0.1}}, 0, 0}; }

  static constexpr Index batch = 3;
  const FixedPointIteration solver{{1e-10, 20000}, 0.6};
  const LinearSolver linear_solver = GMRES{{1e-10, 1000}};
  const NudgingRule<double> rule = centered<double>(0.2);
  HopfieldNetwork<double> network;
  Random random{27};
  AnyEnergy<double> energy;
  AnyCost<double> cost;
  State<double> s;
  Parameters<double> theta = network.parameters(), velocity;
  std::vector<double> weights;
};

/// The results agree bit for bit, because the templates do not depend on HostBatch.
TEST(OwnBatch, HasTheLibrarysGradients) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      Recorder<double> batch = probe.recorder();
      const auto expected = equilibrium_propagation<double>(probe.energy, probe.cost, probe.s,
                                                            probe.rule, probe.solver);
      Parameters<double> gradient = Parameters<double>::Zero(probe.theta.size());
      AddTo<double> sum(gradient);
      const Report nudged = probe.propagate(batch, sum);
      expect_identical(gradient, expected.parameters, "EqProp");
      EXPECT_TRUE((nudged.status == expected.report.status).all());
      State<double> inputs = State<double>::Zero(expected.inputs.rows(), Probe::batch);
      add_input_contrast(batch, std::span<const double>(probe.weights), StateRef<double>(inputs));
      expect_identical(inputs, expected.inputs, "EqProp, inputs");

      const auto side =
          recurrent_backpropagation<double>(probe.energy, probe.cost, probe.s, probe.linear_solver);
      gradient.setZero();
      const Report solved = probe.backpropagate(batch, sum);
      expect_identical(gradient, side.parameters, "RBP");
      EXPECT_TRUE((solved.status == side.report.status).all());
    });
}

TEST(OwnBatch, IsCalledOnceForEachNodeAndOnceForTheSum) {
  for_each<Probe>(is_any, [](Probe& probe) {
    Recorder<double> batch = probe.recorder();
    DescendSGD<double> descent = probe.descent();
    probe.propagate(batch, descent);
    EXPECT_EQ(batch.calls, (Calls{"aim 0", "relax 0 2", "relax 0 3", "refine 2", "contrast 2"}));
    batch.calls.clear();
    probe.backpropagate(batch, descent);
    EXPECT_EQ(batch.calls, (Calls{"solve 0 1", "mixed 0 1"}));
  });
}

TEST(OwnBatch, OfAVectorFieldIsAskedForItsDisplacement) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    Recorder<double> batch = probe.recorder();
    DescendSGD<double> descent = probe.descent();
    probe.propagate(batch, descent);
    EXPECT_EQ(batch.calls, (Calls{"aim 0", "relax 0 2", "relax 0 3", "refine 2",
                                  "displacement 1 2 0", "mixed 0 1"}));
    batch.calls.clear();
    State<double> inputs = State<double>::Zero(probe.energy.num_inputs(), Probe::batch);
    add_input_contrast(batch, std::span<const double>(probe.weights), StateRef<double>(inputs));
    EXPECT_EQ(batch.calls, (Calls{"mixed_input 0 1"}));
  });
}

/// If a sample diverges and the sink changes parameters, the second phase ends before anything is summed.
TEST(OwnBatch, IsNotAskedForSumsOfASampleThatDiverged) {
  for_each<Probe>(is_any, [](Probe& probe) {
    probe.s(probe.s.rows() - 1, 1) = std::nan("");  // an output, on which the cost depends
    Recorder<double> batch = probe.recorder();
    DescendSGD<double> descent = probe.descent();
    EXPECT_EQ(probe.propagate(batch, descent).status(1), Status::diverged);
    EXPECT_EQ(batch.calls, (Calls{"aim 0", "relax 0 2", "relax 0 3", "refine 2"}));
    batch.calls.clear();
    EXPECT_EQ(probe.backpropagate(batch, descent).status(1), Status::diverged);
    EXPECT_EQ(batch.calls, (Calls{"solve 0 1"}));
    expect_identical(probe.theta, probe.network.parameters(), "theta");
  });
}

/// If sums overflow although every state is finite, the batch must mark the samples that cause it.
TEST(OwnBatch, IsAskedWhichSamplesMadeASumOverflow) {
  HopfieldNetwork<double> network({{"x", 2}, {"y", 2, linear()}}, chain(2));
  State<double> x = State<double>::Ones(2, 3);
  x.col(1).setConstant(1e200);
  network.initialize(1);
  network.parameters() *= 1e-190;
  State<double> y = State<double>::Zero(2, 3);
  y.col(1).setConstant(1e150);
  Recorder<double> batch(network.clamp(x), SquaredError<double>(y));
  batch.write(free_slot, State<double>::Zero(2, 3));
  Parameters<double> theta = network.parameters(), velocity;
  DescendSGD<double> descent(theta, velocity, {{0, 0.1}}, 0, 0);
  Report report;
  std::vector<double> weights;
  equilibrium_propagation(batch, centered<double>(0.2), BlockUpdate{}, descent, report, weights);
  EXPECT_EQ(batch.calls, (Calls{"aim 0", "relax 0 2", "relax 0 3", "refine 2", "contrast 2",
                                "mark_contrast 2"}));
  EXPECT_EQ(report.status(1), Status::diverged);
  EXPECT_NE(report.status(0), Status::diverged);
  batch.calls.clear();
  recurrent_backpropagation(batch, ConjugateGradient{}, descent, report);
  EXPECT_EQ(batch.calls, (Calls{"solve 0 1", "mixed 0 1", "mark_mixed 0 1"}));
  EXPECT_EQ(report.status(1), Status::diverged);
  EXPECT_NE(report.status(0), Status::diverged);
  expect_identical(theta, network.parameters(), "theta");
}

}  // namespace
}  // namespace equiprop::tests
