/// The theorem at the fixed point: the limit of Equilibrium Propagation, Recurrent Backpropagation with any linear
/// solver, and the implicit function theorem with dense matrices give the same gradient.

#include "layer_targets.hpp"
#include "second_phase/implicit.hpp"

namespace equiprop::tests {
namespace {

constexpr double agreement = 1e-10;

/// Returns the largest eigenvalue of D H over the batch, which determines the stable step size of linear solvers.
double largest_eigenvalue(const EnergyFamily& family, const State<double>& s) {
  State<double> mobility(s.rows(), s.cols());
  family.energy().mobility(s, {}, mobility);
  double largest = 0;
  for (Index j = 0; j < s.cols(); ++j) {
    const State<double> root = mobility.col(j).cwiseSqrt().asDiagonal();
    const State<double> scaled = root * dense_hessian(family.sample(j), s.col(j)) * root;
    largest = std::max(largest, tests::largest_eigenvalue(scaled));
  }
  return largest;
}

std::vector<LinearSolver> linear_solvers(double largest) {
  const StoppingRule exact{1e-13, 20000};
  std::vector<LinearSolver> solvers{ConjugateGradient{exact}, Richardson{exact, 1 / largest},
                                    GMRES{exact}};
  if (largest < 1.95) solvers.emplace_back(Neumann{exact});  // it has no step size
  return solvers;
}

std::vector<Solver> solvers_for(const AnyEnergy<double>& energy) {
  const StoppingRule exact{1e-14, 20000};
  std::vector<Solver> solvers{FixedPointIteration{exact, 0.6}, Euler{exact, 0.08}};
  if (energy.num_blocks() > 0) solvers.emplace_back(BlockUpdate{exact});
  return solvers;
}

/// Checks every second phase against `expected` and returns the number of linear solvers used.
std::size_t check_gradients(const EnergyFamily& family, const State<double>& s,
                            const std::pair<AnyCost<double>, AnyCost<D>>& cost,
                            const DenseGradient& expected) {
  const auto all_linear = linear_solvers(largest_eigenvalue(family, s));
  for (const auto& linear : all_linear) {
    const auto rbp = recurrent_backpropagation<double>(family.energy(), cost.first, s, linear);
    EXPECT_TRUE((rbp.report.status == Status::converged).all()) << "linear " << linear.index();
    expect_close(rbp.parameters, expected.parameters, agreement, "RBP, parameters");
    expect_close(rbp.inputs, expected.inputs, agreement, "RBP, inputs");
  }
  for (const auto& solver : solvers_for(family.energy())) {
    const auto ep = equilibrium_propagation_limit(family.dual_energy(), cost.second, s, solver);
    EXPECT_TRUE((ep.report.status == Status::converged).all()) << "solver " << solver.index();
    expect_close(ep.parameters, expected.parameters, agreement, "EqProp, parameters");
    expect_close(ep.inputs, expected.inputs, agreement, "EqProp, inputs");
  }
  return all_linear.size();
}

/// One block of two is eliminated. The remaining matrix is a scaled unit matrix plus a matrix whose rank is at most the
/// size of the other block.
TEST(FixedPoint, ConjugateGradientsNeedAStepForEachUnitOfTheSmallerBlock) {
  Index networks = 0;
  for (const Case& c : zoo()) {
    const HopfieldNetwork<double> network = make_network(c);
    Random random(2);
    const State<double> x = random_state(random, network.topology().num_inputs(), 3),
                        y = random_state(random, network.topology().num_outputs(), 3);
    const AnyEnergy<double> energy = network.clamp(x);
    const BlockUpdates<double>* blocks = energy.block_updates();
    if (blocks == nullptr || blocks->num_blocks() != 2 || !blocks->has_block_hessian()) continue;
    ++networks;
    Index outputs = 0;
    const auto kept = static_cast<std::size_t>(blocks->output_block());
    for (const auto k : network.topology().blocks()[kept])
      outputs += network.topology().state()[k].rows;
    const State<double> s = fixed_point(energy, network.initial_state(3));
    const auto rbp = recurrent_backpropagation<double>(energy, SquaredError<double>(y), s,
                                                       ConjugateGradient{{1e-12, 1000}});
    EXPECT_LE(rbp.report.iterations.maxCoeff(), std::min(outputs, energy.num_units() - outputs) + 1)
        << c.name;
  }
  EXPECT_GT(networks, 0);
}

/// The block in which the cost acts remains, also if it is not that of the outputs.
TEST(FixedPoint, ConjugateGradientsKeepTheBlockOfTheCost) {
  Index networks = 0;
  for (const Case& c : zoo()) {
    const HopfieldNetwork<double> network = make_network(c);
    const Topology& topology = network.topology();
    Random random(2);
    const AnyEnergy<double> energy = network.clamp(random_state(random, topology.num_inputs(), 3));
    const BlockUpdates<double>* blocks = energy.block_updates();
    if (blocks == nullptr || blocks->num_blocks() != 2 || !blocks->has_block_hessian()) continue;
    ++networks;
    const State<double> s = fixed_point(energy, network.initial_state(3));
    for (const auto& kept : topology.blocks()) {
      Index units = 0;
      for (const auto k : kept) units += topology.state()[k].rows;
      const LayerTargets targets = random_layer_targets(topology, random, 3, kept);
      const auto rbp = recurrent_backpropagation<double>(energy, targets.as<double>(), s,
                                                         ConjugateGradient{{1e-12, 1000}});
      EXPECT_LE(rbp.report.iterations.maxCoeff(), std::min(units, energy.num_units() - units) + 1)
          << c.name;
    }
  }
  EXPECT_GT(networks, 0);
}

TEST(FixedPoint, EveryGradientAgreesOnEveryNetwork) {
  Index held = 0;
  std::size_t linear_runs = 0;
  for_each<Case>(is_any, [&](const Case& c) {
    Random random(11);
    const auto network = make_network(c);
    const Index batch = 3, outputs = network.topology().num_outputs();
    const State<double> x = random_state(random, network.topology().num_inputs(), batch, 2);
    const EnergyFamily family = make_family(network, x);
    const State<double> s = fixed_point(family.energy(), network.initial_state(batch));
    const auto free = [&](Index j) { return free_units(c, s.col(j)); };
    for (Index j = 0; j < batch; ++j) held += s.rows() - static_cast<Index>(free(j).size());
    const Targets targets(random_targets(random, outputs, batch));
    for (const auto& cost : targets.costs)
      linear_runs +=
          check_gradients(family, s, cost, implicit_gradient(family, cost.first, s, free));
  });
  EXPECT_GT(held, 20) << "the zoo must hold units at their bounds for this test to mean anything";
  EXPECT_GT(linear_runs, 2 * 3 * zoo().size() + zoo().size()) << "Neumann hardly took part";
}

TEST(FixedPoint, EveryGradientAgreesForCostsOfAnyLayers) {
  for_each<Case>(is_any, [&](const Case& c) {
    Random random(13);
    const auto network = make_network(c);
    const Topology& topology = network.topology();
    const State<double> x = random_state(random, topology.num_inputs(), 2, 2);
    const EnergyFamily family = make_family(network, x);
    const State<double> s = fixed_point(family.energy(), network.initial_state(2));
    const auto free = [&](Index j) { return free_units(c, s.col(j)); };
    for (const auto& chosen : layer_choices(topology)) {
      const LayerTargets targets = random_layer_targets(topology, random, 2, chosen);
      const AnyCost<double> cost = targets.as<double>();
      check_gradients(family, s, {cost, targets.as<D>()}, implicit_gradient(family, cost, s, free));
    }
  });
}

TEST(FixedPoint, EveryGradientAgreesOnAUsersModel) {
  Random random(12);
  for (const Index units : {1, 2, 5}) {
    const EnergyFamily family = chain_family(random, units, 3);
    const State<double> s = fixed_point(family.energy(), State<double>::Zero(units, 3));
    std::vector<Index> all(static_cast<std::size_t>(units));
    std::iota(all.begin(), all.end(), 0);
    const Targets targets(random_targets(random, family.energy().num_outputs(), 3));
    for (const auto& cost : targets.costs)
      check_gradients(family, s, cost,
                      implicit_gradient(family, cost.first, s, [&](Index) { return all; }));
  }
}

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        y(random_targets(random, network.topology().num_outputs(), batch)),
        family(make_family(network, x)),
        s(fixed_point(family.energy(), network.initial_state(batch))) {}

  Gradient<double> rbp(Index begin, Index count) const {
    const ConjugateGradient exact{{1e-14, 1000}};
    return recurrent_backpropagation<double>(
        family.energy().samples(begin, count),
        AnyCost<double>(SquaredError<double>(y)).samples(begin, count), s.middleCols(begin, count),
        exact);
  }

  static constexpr Index batch = 5;
  HopfieldNetwork<double> network;
  Random random{13};
  State<double> x, y;
  EnergyFamily family;
  State<double> s;
};

TEST(FixedPoint, TheGradientOfABatchIsTheMeanOverItsSamples) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const Gradient<double> all = probe.rbp(0, Probe::batch);
    Parameters<double> mean = Parameters<double>::Zero(all.parameters.size());
    double objective = 0;
    for (Index j = 0; j < Probe::batch; ++j) {
      const Gradient<double> one = probe.rbp(j, 1);
      mean += one.parameters / Probe::batch;
      objective += one.objective / Probe::batch;
      expect_close(all.inputs.col(j), one.inputs / Probe::batch, rounding, "inputs");
    }
    expect_close(all.parameters, mean, rounding, "parameters");
    EXPECT_NEAR(all.objective, objective, rounding);
  });
}

TEST(FixedPoint, OnlyWhatIsWantedIsComputed) {
  Probe probe(zoo()[1]);
  const AnyCost<double> cost = SquaredError<double>(probe.y);
  const auto all = probe.rbp(0, Probe::batch);
  const auto some = recurrent_backpropagation<double>(
      probe.family.energy(), cost, probe.s, ConjugateGradient{{1e-14, 1000}}, Wanted::parameters);
  expect_identical(some.parameters, all.parameters, "parameters");
  EXPECT_EQ(some.inputs.rows(), 0);
}

TEST(FixedPoint, ThreadsDoNotChangeABitOfAGradient) {
  Probe probe(zoo()[1]);
  const Index batch = 200;
  const State<double> x = random_state(probe.random, probe.x.rows(), batch);
  const AnyCost<double> cost =
      SquaredError<double>(random_state(probe.random, probe.y.rows(), batch));
  const AnyEnergy<double> energy = probe.network.clamp(x);
  const State<double> s = fixed_point(energy, probe.network.initial_state(batch));
  const auto gradients = [&] {
    return std::pair{
        recurrent_backpropagation<double>(energy, cost, s, ConjugateGradient{}),
        equilibrium_propagation<double>(energy, cost, s, centered<double>(0.1), BlockUpdate{})};
  };
  set_num_threads(1);
  const auto [rbp, ep] = gradients();
  for (const int threads : {2, 5}) {
    set_num_threads(threads);
    const auto [other_rbp, other_ep] = gradients();
    expect_identical(other_rbp.parameters, rbp.parameters, "RBP");
    expect_identical(other_ep.parameters, ep.parameters, "EqProp");
    expect_identical(other_ep.inputs, ep.inputs, "EqProp, inputs");
  }
  set_num_threads(0);
}

TEST(FixedPoint, RefusesWrongShapesAndEmptyBatches) {
  Probe probe(zoo()[1]);
  const AnyEnergy<double> energy = probe.family.energy();
  const AnyCost<double> cost = SquaredError<double>(probe.y);
  const AnyCost<double> wide = SquaredError<double>(State<double>::Zero(7, Probe::batch));
  const State<double> none(probe.s.rows(), 0);
  const ConjugateGradient linear;
  EXPECT_THROW(recurrent_backpropagation<double>(energy, wide, probe.s, linear), InvalidArgument);
  EXPECT_THROW(recurrent_backpropagation<double>(energy, cost, probe.x, linear), InvalidArgument);
  EXPECT_THROW(recurrent_backpropagation<double>(energy, cost, none, linear), InvalidArgument);
  EXPECT_THROW(
      equilibrium_propagation<double>(energy, cost, none, centered<double>(0.1), BlockUpdate{}),
      InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
