/// Equilibrium Propagation at a finite beta is the exact gradient of a surrogate: the mean cost between its nudges.

#include "second_phase/implicit.hpp"

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

  /// Returns the mean over the batch of min_s (E + beta C), with its derivative along (along_theta, along_x). s is
  /// relaxed as dual numbers, so the envelope theorem is not used.
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
  /// Returns (F*(b2) - F*(b1)) / (b2 - b1), the mean of C(s^b) over [b1, b2].
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

/// A rule gives the weighted sum of its nodes up to rounding, also if a network has several fixed points and a nudged
/// phase with another start than s* would end in another one.
TEST(EquilibriumPropagation, IsTheSumOfItsNodes) {
  for (const Activation& activation : {hard_sigmoid(), tanh_activation()})
    for (const double gain : {0.5, 1.0, 1.5, 2.0})
      for (const double tolerance : {1e-10, 0.0}) {
        SCOPED_TRACE("gain " + std::to_string(gain) + ", tolerance " + std::to_string(tolerance));
        HopfieldNetwork<double> network({{"x", 4}, {"h", 8, activation}, {"y", 3}}, chain(3));
        network.initialize(0, gain);
        Random random(16);
        const AnyEnergy<double> energy = network.clamp(random_state(random, 4, 64, 2));
        const AnyCost<double> cost = CrossEntropy<double>(random_targets(random, 3, 64));
        State<double> s = network.initial_state(64);
        relax<double>(energy, BlockUpdate{{1e-12, 5000}}, s);
        const BlockUpdate solver{{tolerance, tolerance > 0 ? Index{5000} : Index{3}}};
        const auto run = [&](const NudgingRule<double>& rule) {
          return equilibrium_propagation<double>(energy, cost, s, rule, solver).parameters;
        };
        const auto rule = centered<double>(0.25);
        const Parameters<double> sum = run({rule[0]}) + run({rule[1]});
        expect_close(run(rule), sum, rounding, "gradient");
      }
}

/// If both phases of a one-sided rule stop early after equally many steps, the error of the free phase cancels.
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
  // Without the cancellation the error would be about error_of_start / beta = 10.
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
