/// Vector fields: the nudged rule uses A^-1 where the gradient needs A^-T; the antisymmetric term corrects this.

#include "second_phase/implicit.hpp"

namespace equiprop::tests {
namespace {

constexpr double agreement = 1e-10;
const StoppingRule exact{1e-14, 30000};

struct Probe {
  explicit Probe(const Case& c_)
      : c(c_),
        network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch, 2)),
        y(random_targets(random, network.topology().num_outputs(), batch)),
        family(make_family(network, x)),
        s(fixed_point(family.energy(), network.initial_state(batch))),
        euler{exact, stable_step(family, s)} {}

  DenseGradient dense(Side side) const {
    return implicit_gradient(
        family, cost, s, [&](Index j) { return free_units(c, s.col(j)); }, side);
  }
  AnyEnergy<D> repaired() const { return Symmetrized<D>(family.dual_energy(), s.cast<D>()); }

  static constexpr Index batch = 3;
  Case c;
  HopfieldNetwork<double> network;
  Random random{26};
  State<double> x, y;
  EnergyFamily family;
  State<double> s;
  Euler euler;
  AnyCost<double> cost = CrossEntropy<double>(y);
  AnyCost<D> dual_cost = CrossEntropy<D>(y.cast<D>());
};

void expect_gradient(const Gradient<double>& actual, const DenseGradient& expected,
                     const std::string& what) {
  EXPECT_TRUE((actual.report.status == Status::converged).all()) << what;
  expect_close(actual.parameters, expected.parameters, agreement, what + ", parameters");
  expect_close(actual.inputs, expected.inputs, agreement, what + ", inputs");
}

/// The result is -(dmu/dtheta)^T A^-1 c, with every solver.
TEST(WithoutEnergy, TheNudgedRuleIsItsDenseSolution) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const DenseGradient expected = probe.dense(Side::nudged);
    const AnyEnergy<D> field = probe.family.dual_energy();
    std::vector<Solver> solvers{FixedPointIteration{exact, 0.6}, probe.euler};
    if (field.num_blocks() > 0) solvers.emplace_back(BlockUpdate{exact});
    for (const auto& solver : solvers)
      expect_gradient(equilibrium_propagation_limit(field, probe.dual_cost, probe.s, solver),
                      expected, "solver " + std::to_string(solver.index()));
  });
}

/// The result is -(dmu/dtheta)^T A^-T c, which is the gradient.
TEST(WithoutEnergy, TheRepairedRuleIsTheExactGradient) {
  Index wrong_without = 0;
  for_each_of<Probe>(fields(), is_any, [&](Probe& probe) {
    const DenseGradient expected = probe.dense(Side::exact);
    for (const Solver& solver : {Solver(probe.euler), Solver(FixedPointIteration{exact, 0.6})})
      expect_gradient(
          equilibrium_propagation_limit(probe.repaired(), probe.dual_cost, probe.s, solver),
          expected, "Symmetrized, solver " + std::to_string(solver.index()));
    const auto plain = equilibrium_propagation_limit(probe.family.dual_energy(), probe.dual_cost,
                                                     probe.s, FixedPointIteration{exact, 0.6});
    wrong_without +=
        (plain.parameters - expected.parameters).norm() > 1e-3 * expected.parameters.norm();
  });
  EXPECT_GT(wrong_without, fields().size() / 2) << "where no inner coupling acts, nothing is wrong";
}

/// Both solvers find the same fixed point of the symmetrized dynamics, for any beta.
TEST(WithoutEnergy, TheRepairedRuleDoesNotDependOnTheSolver) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const AnyEnergy<double> repaired = Symmetrized<double>(probe.family.energy(), probe.s);
    const auto run = [&](const Solver& solver) {
      return equilibrium_propagation<double>(repaired, probe.cost, probe.s, centered<double>(0.2),
                                             solver);
    };
    const auto by_euler = run(probe.euler), by_map = run(FixedPointIteration{exact, 0.6});
    EXPECT_TRUE((by_map.report.status == Status::converged).all());
    expect_close(by_map.parameters, by_euler.parameters, agreement, "gradient");
  });
}

TEST(WithoutEnergy, TheRepairChangesNothingWhereThereIsAnEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    expect_gradient(
        equilibrium_propagation_limit(probe.repaired(), probe.dual_cost, probe.s, probe.euler),
        probe.dense(Side::exact), "Symmetrized");
  });
}

TEST(WithoutEnergy, RecurrentBackpropagationSolvesTheTransposedSystem) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const DenseGradient expected = probe.dense(Side::exact);
    for (const LinearSolver& solver :
         {LinearSolver(GMRES{{1e-13, 1000}}), LinearSolver(Richardson{{1e-13, 30000}, 0.25})})
      expect_gradient(
          recurrent_backpropagation<double>(probe.family.energy(), probe.cost, probe.s, solver),
          expected, "linear solver " + std::to_string(solver.index()));
  });
}

TEST(WithoutEnergy, ConjugateGradientsAreRefused) {
  Probe field(fields()[1]), tied(zoo()[1]);
  const auto run = [](const Probe& probe) {
    return recurrent_backpropagation<double>(probe.family.energy(), probe.cost, probe.s,
                                             ConjugateGradient{});
  };
  EXPECT_THROW(run(field), InvalidArgument);
  EXPECT_NO_THROW(run(tied));
}

TEST(WithoutEnergy, BlockUpdatesCannotTakeTheRepair) {
  Probe probe(fields()[1]);
  EXPECT_GT(probe.family.energy().num_blocks(), 0);
  EXPECT_THROW(
      equilibrium_propagation_limit(probe.repaired(), probe.dual_cost, probe.s, BlockUpdate{}),
      InvalidArgument);
}

/// Halving beta divides the error of the symmetrized rule by 2, or by 4 if it is centered.
TEST(WithoutEnergy, TheRepairedRuleHasTheOrderOfItsNudging) {
  const auto curved = [](const Case& c) {
    return is_smooth(c) && c.name.ends_with("_chain_separate") && !c.name.starts_with("linear_");
  };
  for_each_of<Probe>(fields(), curved, [](Probe& probe) {
    const Parameters<double> expected = probe.dense(Side::exact).parameters;
    const AnyEnergy<double> repaired = Symmetrized<double>(probe.family.energy(), probe.s);
    const auto error = [&](const NudgingRule<double>& rule) {
      const auto gradient =
          equilibrium_propagation<double>(repaired, probe.cost, probe.s, rule, probe.euler);
      return (gradient.parameters - expected).cwiseAbs().maxCoeff();
    };
    const double beta = 0.01;
    EXPECT_NEAR(error(one_sided<double>(beta)) / error(one_sided<double>(beta / 2)), 2, 0.1);
    EXPECT_NEAR(error(centered<double>(beta)) / error(centered<double>(beta / 2)), 4, 0.1);
  });
}

/// The symmetrized flow is holomorphic too: a few points on a circle are exact.
TEST(WithoutEnergy, TheRepairedRuleMayBeNudgedOnACircle) {
  for_each_of<Probe>(fields(), is_smooth, [](Probe& probe) {
    const AnyEnergy<Complex> repaired =
        Symmetrized<Complex>(probe.network.clamp_as<Complex>(probe.x), probe.s.cast<Complex>());
    const AnyCost<Complex> cost = SquaredError<Complex>(probe.y.cast<Complex>());
    probe.cost = SquaredError<double>(probe.y);
    expect_gradient(holomorphic_equilibrium_propagation(repaired, cost, probe.s,
                                                        holomorphic(0.05, 16), probe.euler),
                    probe.dense(Side::exact), "holomorphic");
  });
}

TEST(WithoutEnergy, ThreadsDoNotChangeABitOfARepairedGradient) {
  Probe probe(fields()[1]);
  const Index batch = 200;
  const State<double> x = random_state(probe.random, probe.x.rows(), batch);
  const AnyCost<double> cost =
      SquaredError<double>(random_state(probe.random, probe.y.rows(), batch));
  const AnyEnergy<double> field = probe.network.clamp(x);
  const State<double> s = fixed_point(field, probe.network.initial_state(batch));
  const auto gradient = [&] {
    return equilibrium_propagation<double>(Symmetrized<double>(field, s), cost, s,
                                           centered<double>(0.1), Euler{{1e-9, 1000}, 0.2});
  };
  set_num_threads(1);
  const auto one = gradient();
  for (const int threads : {2, 5}) {
    set_num_threads(threads);
    const auto many = gradient();
    expect_identical(many.parameters, one.parameters, "parameters");
    expect_identical(many.inputs, one.inputs, "inputs");
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace equiprop::tests
