/// EqProp at a finite beta is the exact gradient of something: the mean cost between its nudges.

#include "support.hpp"

namespace equiprop::tests {
namespace {

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        y(random_state(random, network.topology().num_outputs(), batch)),
        along_theta(random_parameters(random, network.parameters().size())),
        along_x(random_state(random, x.rows(), batch)),
        family(make_family(network, x)),
        start(fixed_point(family.energy(), network.initial_state(batch))) {}

  /// min over s of E + beta C, mean over the batch, with its derivative along (along_theta, along_x):
  /// s is relaxed as a dual, so nothing about envelopes is assumed.
  D minimum(double beta) const {
    Parameters<D> theta = dual(family.theta, along_theta);
    const AnyEnergy<D> total = TotalEnergy<D>(family.on_dual(theta, dual(x, along_x)),
                                              SquaredError<D>(y.cast<D>()), D(beta));
    State<D> s = start.cast<D>();
    EXPECT_TRUE((relax<D>(total, solver, s).status == Status::converged).all());
    PerSample<D> out(batch);
    total.energy(s, out);
    return out.sum() / D(batch);
  }
  /// (F*(b2) - F*(b1)) / (b2 - b1), the mean of C(s^b) over [b1, b2].
  D surrogate(double b1, double b2) const { return (minimum(b2) - minimum(b1)) / D(b2 - b1); }

  void check(const NudgingRule<double>& rule, double b1, double b2) const {
    const auto gradient = equilibrium_propagation<double>(family.energy(), SquaredError<double>(y),
                                                          start, rule, solver);
    const double actual =
        gradient.parameters.dot(along_theta) + gradient.inputs.cwiseProduct(along_x).sum();
    EXPECT_NEAR(actual, surrogate(b1, b2).derivative, 1e-11);
    EXPECT_TRUE((gradient.report.status == Status::converged).all());
  }

  static constexpr Index batch = 3;
  FixedPointIteration solver{{1e-14, 20000}, 0.3};
  HopfieldNetwork<double> network;
  Random random{15};
  State<double> x, y;
  Parameters<double> along_theta;
  State<double> along_x;
  EnergyFamily family;
  State<double> start;
};

TEST(EquilibriumPropagation, AtFiniteBetaIsTheGradientOfItsSurrogate) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const double beta : {0.1, 0.4}) {
      probe.check(one_sided<double>(beta), 0, beta);
      probe.check(one_sided<double>(-beta), -beta, 0);
      probe.check(centered<double>(beta), -beta, beta);
    }
  });
}

/// The minimum is concave in beta, so its chords bound the cost at beta = 0 from both sides.
TEST(EquilibriumPropagation, SurrogatesBoundTheObjective) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const auto gradient =
        equilibrium_propagation<double>(probe.family.energy(), SquaredError<double>(probe.y),
                                        probe.start, centered<double>(0.3), probe.solver);
    EXPECT_LE(probe.surrogate(0, 0.3).value, gradient.objective + rounding);
    EXPECT_GE(probe.surrogate(-0.3, 0).value, gradient.objective - rounding);
    PerSample<double> cost(Probe::batch);
    const Index outputs = probe.y.rows();
    SquaredError<double>(probe.y).value(probe.start.bottomRows(outputs), cost);
    EXPECT_NEAR(gradient.objective, cost.mean(), rounding);
  });
}

TEST(EquilibriumPropagation, ReportsTheWorstOfItsPhases) {
  Probe probe(zoo()[1]);
  const auto run = [&](const NudgingRule<double>& rule, Index limit) {
    return equilibrium_propagation<double>(probe.family.energy(), SquaredError<double>(probe.y),
                                           probe.start, rule, BlockUpdate{{1e-12, limit}})
        .report;
  };
  EXPECT_TRUE((run(one_sided<double>(0.3), 1).status == Status::max_iterations).all());
  const Report both = run({{-0.3, 1}, {0.2, 1}}, 100);
  const Report minus = run({{-0.3, 1}}, 100), plus = run({{0.2, 1}}, 100);
  for (Index j = 0; j < Probe::batch; ++j) {
    EXPECT_EQ(both.iterations(j), std::max(minus.iterations(j), plus.iterations(j)));
    EXPECT_EQ(both.residual(j), std::max(minus.residual(j), plus.residual(j)));
  }
}

/// The second phase of a centered rule starts across s* from where the first has led: it reaches the same fixed
/// point. A fixed number of steps, which its user means to count from s*, is left alone.
TEST(EquilibriumPropagation, TheOppositePhaseStartsFromTheReflection) {
  Probe probe(zoo()[1]);
  const auto run = [&](const NudgingRule<double>& rule, const StoppingRule& stop) {
    return equilibrium_propagation<double>(probe.family.energy(), SquaredError<double>(probe.y),
                                           probe.start, rule, BlockUpdate{stop});
  };
  const auto sum = [](const Parameters<double>& a, const Parameters<double>& b) { return a + b; };
  const NudgingNode<double> minus{-0.01, -50}, plus{0.01, 50};
  for (const StoppingRule stop : {StoppingRule{1e-9, 500}, StoppingRule{0.0, 3}}) {
    const auto both = run({minus, plus}, stop), first = run({minus}, stop),
               second = run({plus}, stop);
    const double tolerance = *stop.tolerance > 0 ? 1e-6 : rounding;
    expect_close(both.parameters, sum(first.parameters, second.parameters), tolerance, "gradient");
  }
}

/// Stopping both phases of a one-sided rule early, alike, cancels the free phase's own motion.
TEST(EquilibriumPropagation, AnUnfinishedFreePhaseCancels) {
  Probe probe(zoo()[1]);
  const double beta = 1e-4, error_of_start = 1e-3;
  const State<double> off =
      probe.start + error_of_start * random_state(probe.random, probe.start.rows(), Probe::batch);
  const auto run = [&](const State<double>& s) {
    return equilibrium_propagation<double>(probe.family.energy(), SquaredError<double>(probe.y), s,
                                           one_sided<double>(beta), FixedPointIteration{{0.0, 5}})
        .parameters;
  };
  // Without cancellation the error would be error_of_start / beta = 10.
  EXPECT_LT((run(off) - run(probe.start)).cwiseAbs().maxCoeff(), 10 * error_of_start);
}

TEST(EquilibriumPropagation, ReportsAGradientThatIsNotFinite) {
  Probe probe(zoo()[1]);
  State<double> y = probe.y;
  y(0, 1) = std::nan("");
  const auto gradient =
      equilibrium_propagation<double>(probe.family.energy(), SquaredError<double>(y), probe.start,
                                      centered<double>(0.1), BlockUpdate{});
  EXPECT_EQ(gradient.report.status(1), Status::diverged);
}

}  // namespace
}  // namespace equiprop::tests
