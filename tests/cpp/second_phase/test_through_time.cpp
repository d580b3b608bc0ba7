/// Backpropagation through time against the dual-number derivative of the unrolled loss.

#include "second_phase/implicit.hpp"

namespace equiprop::tests {
namespace {

constexpr Index steps = 9;

const std::vector<Solver>& solvers() {
  static const std::vector<Solver> all{Euler{{0.0, steps}, 0.03},
                                       FixedPointIteration{{0.0, steps}, 0},
                                       FixedPointIteration{{0.0, steps}, 0.35}};
  return all;
}

Solver with_steps(Solver solver, Index count) {
  std::visit([&](auto& chosen) { chosen.max_iterations = count; }, solver);
  return solver;
}

template <class S>
std::vector<State<S>> unroll(const AnyEnergy<S>& energy, const Solver& solver, State<S> s) {
  std::vector<State<S>> states;
  relax<S>(energy, solver, s, [&](Index, const ConstStateRef<S>& at) { states.emplace_back(at); });
  return states;
}

/// Returns d/de of the mean cost after some steps, where theta, x and the start depend on e.
double loss_derivative(const AnyEnergy<D>& energy, const AnyCost<D>& cost, const Solver& solver,
                       const State<D>& start) {
  const State<D> end = unroll<D>(energy, solver, start).back();
  PerSample<D> out(start.cols());
  cost.value(end.bottomRows(cost.num_rows()), out);
  return out.sum().derivative / static_cast<double>(start.cols());
}

struct Sweep {
  Sweep(const EnergyFamily& family_, const State<double>& start, Solver solver_, Random& random)
      : family(family_), solver(std::move(solver_)) {
    const Targets targets(random_targets(random, family.energy().num_outputs(), start.cols()));
    std::tie(cost, dual_cost) = targets.costs[random.below(2)];
    trajectory = unroll<double>(family.energy(), solver, start);
  }
  Gradient<double> gradient(const SweepObserver<double>& observe = {}) const {
    return backpropagation_through_time<double>(family.energy(), cost, trajectory, solver,
                                                Wanted::everything, observe);
  }
  /// Returns the derivative of the last `count` steps.
  double derivative(const Parameters<D>& theta, const State<D>& x, const State<double>& along_start,
                    Index count) const {
    const State<double>& start =
        trajectory[trajectory.size() - 1 - static_cast<std::size_t>(count)];
    return loss_derivative(family.on_dual(theta, x), dual_cost, with_steps(solver, count),
                           dual(start, along_start));
  }

  EnergyFamily family;
  Solver solver;
  AnyCost<double> cost = SquaredError<double>(State<double>(0, 0));
  AnyCost<D> dual_cost = SquaredError<D>(State<D>(0, 0));
  std::vector<State<double>> trajectory;
};

/// Checks the gradient with respect to every parameter and every input.
void check_gradient(const Sweep& sweep) {
  const EnergyFamily& family = sweep.family;
  const State<double> still = State<double>::Zero(sweep.trajectory[0].rows(), family.x.cols());
  const auto gradient = sweep.gradient();
  Parameters<double> expected(family.theta.size());
  for (Index p = 0; p < expected.size(); ++p) {
    Parameters<D> theta = family.theta.cast<D>();
    theta(p).derivative = 1;
    expected(p) = sweep.derivative(theta, family.x.cast<D>(), still, steps);
  }
  expect_close(gradient.parameters, expected, rounding, "dL/dtheta");
  State<double> inputs(gradient.inputs.rows(), gradient.inputs.cols());
  for (Index i = 0; i < inputs.size(); ++i) {
    State<D> x = family.x.cast<D>();
    x(i).derivative = 1;
    inputs(i) = sweep.derivative(family.theta.cast<D>(), x, still, steps);
  }
  expect_close(gradient.inputs, inputs, rounding, "dL/dx");
}

/// At every t the adjoint is dL/ds_{T-t}, and the partial sum is the gradient of the last t steps.
void check_partial_sums(const Sweep& sweep, Random& random) {
  const EnergyFamily& family = sweep.family;
  const Index units = sweep.trajectory[0].rows(), batch = family.x.cols();
  const State<double> along = random_state(random, units, batch);
  const State<double> still = State<double>::Zero(units, batch);
  const Parameters<double> turn = random_parameters(random, family.theta.size());
  Index seen = 0;
  sweep.gradient([&](Index t, const State<double>& adjoint, const Parameters<double>& sum) {
    EXPECT_EQ(t, seen++);
    const double by_state = adjoint.cwiseProduct(along).sum() / static_cast<double>(batch);
    EXPECT_NEAR(by_state, sweep.derivative(family.theta.cast<D>(), family.x.cast<D>(), along, t),
                rounding);
    EXPECT_NEAR(sum.dot(turn),
                sweep.derivative(dual(family.theta, turn), family.x.cast<D>(), still, t), rounding);
  });
  EXPECT_EQ(seen, steps + 1);
}

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        family(make_family(network, random_state(random, network.topology().num_inputs(), 2))) {}

  void check(const EnergyFamily& chosen, const Solver& solver) {
    const State<double> start =  // between rest and random, so that E stays finite
        (network.initial_state(2) + interior_state(network, random, 2)) / 2;
    const Sweep sweep(chosen, start, solver, random);
    check_gradient(sweep);
    check_partial_sums(sweep, random);
    for (const auto& at : sweep.trajectory) {
      State<double> mobility = at;
      chosen.energy().mobility(at, {}, mobility);
      held += (mobility.array() == 0).count();
    }
    const auto gradient = sweep.gradient();
    EXPECT_TRUE((gradient.report.status == Status::fixed_steps).all());
    EXPECT_TRUE((gradient.report.iterations == steps).all());
  }

  HopfieldNetwork<double> network;
  Random random{24};
  EnergyFamily family;
  Index held = 0;
};

TEST(ThroughTime, IsTheDerivativeOfTheUnrolledLoss) {
  Index held = 0;
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [&](Probe& probe) {
      for (const auto& solver : solvers()) probe.check(probe.family, solver);
      held += probe.held;
    });
  EXPECT_GT(held, 1000) << "bounds hardly took part";
}

TEST(ThroughTime, GoesThroughNudgedSteps) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const Index outputs = probe.network.topology().num_outputs();
      const State<double> y = random_state(probe.random, outputs, 2);
      const EnergyFamily nudged{probe.family.theta, probe.family.x,
                                [&](const auto& theta, const auto& x) -> AnyEnergy<double> {
                                  return TotalEnergy<double>(probe.family.on_double(theta, x),
                                                             SquaredError<double>(y), 0.3);
                                },
                                [&](const auto& theta, const auto& x) -> AnyEnergy<D> {
                                  return TotalEnergy<D>(probe.family.on_dual(theta, x),
                                                        SquaredError<D>(y.cast<D>()), D(0.3));
                                }};
      for (const auto& solver : solvers()) probe.check(nudged, solver);
    });
}

TEST(ThroughTime, GoesThroughAUsersModel) {
  Random random(25);
  const StoppingRule rule{0.0, steps};
  for (const Index units : {1, 2, 5})
    for (const Solver& solver :
         {Solver(Euler{rule, 0.2}), Solver(FixedPointIteration{rule, 0.6})}) {
      const Sweep sweep(chain_family(random, units, 2), random_state(random, units, 2, 0.5), solver,
                        random);
      check_gradient(sweep);
      check_partial_sums(sweep, random);
    }
}

/// If a bound holds the unit at the last step, the loss does not depend on earlier steps.
TEST(ThroughTime, NothingFlowsThroughAHeldUnit) {
  HopfieldNetwork<double> network({{"x", 1}, {"y", 1, hard_sigmoid()}}, chain(2));
  network.parameters() << 2, 0.1;  // the drive is 2.1, the bound 1
  const AnyEnergy<double> energy = network.clamp(State<double>::Ones(1, 1));
  const AnyCost<double> cost = SquaredError<double>(State<double>::Zero(1, 1));
  for (const Solver& solver :
       {Solver(Euler{{0.0, 9}, 0.5}), Solver(FixedPointIteration{{0.0, 9}})}) {
    const auto states = unroll<double>(energy, solver, State<double>::Constant(1, 1, 0.2));
    const auto gradient = backpropagation_through_time<double>(energy, cost, states, solver);
    EXPECT_EQ(states.back()(0), 1);
    EXPECT_TRUE((gradient.parameters.array() == 0).all() && gradient.inputs(0) == 0);
  }
}

/// At a fixed point, the sweep is the side network integrated by Euler, step by step.
TEST(ThroughTime, AtAFixedPointIsTheErrorProcess) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const AnyEnergy<double> energy = probe.family.energy();
      const State<double> s = fixed_point(energy, probe.network.initial_state(2));
      const AnyCost<double> cost =
          SquaredError<double>(random_state(probe.random, energy.num_outputs(), 2));
      ErrorProcess process(energy, cost, s, {30, 0.05});
      const std::vector<State<double>> rest(31, s);
      backpropagation_through_time<double>(
          energy, cost, rest, Euler{{0.0, 30}, 0.05}, Wanted::parameters,
          [&](Index, const State<double>& adjoint, const Parameters<double>& sum) {
            expect_close(adjoint, process.state(), 1e-13, "Sbar");
            expect_close(sum, process.parameters(), 1e-13, "Thbar");
            process.step();
          });
    });
}

TEST(ThroughTime, AfterManyStepsAtAFixedPointIsTheImplicitGradient) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const AnyEnergy<double> energy = probe.family.energy();
      const State<double> s = fixed_point(energy, probe.network.initial_state(2));
      const AnyCost<double> cost =
          SquaredError<double>(random_state(probe.random, energy.num_outputs(), 2));
      const auto expected =
          recurrent_backpropagation<double>(energy, cost, s, GMRES{{1e-13, 1000}});
      const std::vector<State<double>> rest(4001, s);
      const auto gradient =
          backpropagation_through_time<double>(energy, cost, rest, FixedPointIteration{{}, 0.6});
      expect_close(gradient.parameters, expected.parameters, 1e-10, "parameters");
      expect_close(gradient.inputs, expected.inputs, 1e-10, "inputs");
      EXPECT_NEAR(gradient.objective, expected.objective, rounding);
    });
}

TEST(ThroughTime, InFloatAgreesWithDouble) {
  Probe probe(zoo()[1]);
  const AnyEnergy<double> energy = probe.family.energy();
  const State<double> y = random_state(probe.random, energy.num_outputs(), 2);
  const AnyEnergy<float> single =
      probe.network.cast<float>().clamp(probe.family.x.cast<float>().eval());
  const State<double> start = interior_state(probe.network, probe.random, 2);
  const Solver& solver = solvers().front();
  const auto expected = backpropagation_through_time<double>(
      energy, SquaredError<double>(y), unroll<double>(energy, solver, start), solver);
  const auto actual = backpropagation_through_time<float>(
      single, SquaredError<float>(y.cast<float>()),
      unroll<float>(single, solver, start.cast<float>()), solver);
  expect_close(actual.parameters.cast<double>(), expected.parameters, 1e-5, "parameters");
  expect_close(actual.inputs.cast<double>(), expected.inputs, 1e-5, "inputs");
}

TEST(ThroughTime, WithoutStepsThereIsNothingToDifferentiate) {
  Probe probe(zoo()[1]);
  const Sweep sweep(probe.family, probe.network.initial_state(2), with_steps(solvers()[0], 0),
                    probe.random);
  EXPECT_EQ(sweep.trajectory.size(), 1);
  const auto gradient = sweep.gradient();
  EXPECT_TRUE((gradient.parameters.array() == 0).all() && (gradient.inputs.array() == 0).all());
  EXPECT_GT(gradient.objective, 0);
}

TEST(ThroughTime, RefusesBlockUpdatesEmptyTrajectoriesAndOtherShapes) {
  Probe probe(zoo()[1]);
  const AnyEnergy<double> energy = probe.family.energy();
  const AnyCost<double> cost = SquaredError<double>(State<double>::Zero(energy.num_outputs(), 2));
  const AnyCost<double> wide = SquaredError<double>(State<double>::Zero(17, 2));
  const std::vector<State<double>> states(3, probe.network.initial_state(2)), none;
  const auto run = [&](const auto& chosen, const auto& trajectory, const Solver& solver) {
    return backpropagation_through_time<double>(energy, chosen, trajectory, solver);
  };
  EXPECT_NO_THROW(run(cost, states, Euler{}));
  EXPECT_THROW(run(cost, states, BlockUpdate{}), InvalidArgument);
  EXPECT_THROW(run(cost, states, Euler{{}, 0.1, 2}), InvalidArgument);
  EXPECT_THROW(run(cost, none, Euler{}), InvalidArgument);
  EXPECT_THROW(run(wide, states, Euler{}), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
