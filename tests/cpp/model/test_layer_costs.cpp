/// Costs of several layers: the sum by its formula, the laws of a cost, and nudges of any layers.

#include "layer_targets.hpp"

namespace equiprop::tests {
namespace {

constexpr Index batch = 3;

PerSample<double> energies(const AnyEnergy<double>& energy, const State<double>& s) {
  PerSample<double> out(s.cols());
  energy.energy(s, out);
  return out;
}

State<double> map_of(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.fixed_point_map(s, {}, out);
  return out;
}

State<double> gradient(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.gradient(s, out);
  return out;
}

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        energy(network.clamp(random_state(random, network.topology().num_inputs(), batch))) {}

  State<double> start() {
    State<double> s = interior_state(network, random, batch);
    energy.project(s);
    return s;
  }
  /// Calls check(targets) for each choice of layers.
  template <class Check>
  void for_each_choice(const Check& check) {
    for (const auto& chosen : layer_choices(network.topology())) {
      SCOPED_TRACE("layers " + std::to_string(chosen.front()) + " to " +
                   std::to_string(chosen.back()));
      check(random_layer_targets(network.topology(), random, batch, chosen));
    }
  }

  Random random{9};
  HopfieldNetwork<double> network;
  AnyEnergy<double> energy;
};

TEST(LayerCosts, AreTheSumOfTheCostsByTheirFormulas) {
  for_each<Probe>(is_any, [](Probe& probe) {
    probe.for_each_choice([&](const LayerTargets& targets) {
      const State<double> s = probe.start();
      const LayerCosts<double> cost = targets.as<double>();
      PerSample<double> value(batch);
      cost.value(s.bottomRows(cost.num_rows()), value);
      expect_close(value.matrix(), targets.value(s).matrix(), rounding, "value");
    });
  });
}

TEST(LayerCosts, ObeyTheLawsOfACost) {
  Random random(3);
  const HopfieldNetwork<double> network({{"x", 2}, {"h", 4}, {"g", 3}, {"y", 2}}, chain(4));
  for (const auto& chosen :
       std::vector<std::vector<std::size_t>>{{0, 1, 2}, {0, 2}, {0, 1}, {1}, {2}}) {
    const LayerTargets targets = random_layer_targets(network.topology(), random, batch, chosen);
    const LayerCosts<double> cost = targets.as<double>();
    check_cost(cost, targets.as<D>(), random_state(random, cost.num_rows(), batch));
  }
}

TEST(LayerCosts, ThatOfTheOutputsAloneHasTheBitsOfThePlainCost) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const Index outputs = probe.network.topology().num_outputs();
    const SquaredError<double> plain(random_state(probe.random, outputs, batch));
    const LayerCosts<double> sum(outputs, {{0, plain}});
    for (const double beta : {0.4, -0.3}) {
      const AnyEnergy<double> a = TotalEnergy<double>(probe.energy, plain, beta);
      const AnyEnergy<double> b = TotalEnergy<double>(probe.energy, sum, beta);
      State<double> s = probe.start(), t = s;
      expect_identical(map_of(a, s), map_of(b, s), "map");
      for (Index block = 0; block < a.num_blocks(); ++block) {
        a.block_update(block, {}, s);
        b.block_update(block, {}, t);
        expect_identical(s, t, "block update");
      }
    }
  });
}

TEST(LayerCosts, TheTotalEnergyObeysEveryLaw) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const State<double> x = random_state(probe.random, probe.network.topology().num_inputs(), 1);
      const EnergyFamily family = make_family(probe.network, x);
      const State<double> s = interior_state(probe.network, probe.random, 1);
      for (const auto& chosen : layer_choices(probe.network.topology())) {
        const LayerTargets targets =
            random_layer_targets(probe.network.topology(), probe.random, 1, chosen);
        const EnergyFamily nudged{
            family.theta, family.x,
            [=](const auto& theta, const auto& in) -> AnyEnergy<double> {
              return TotalEnergy<double>(family.on_double(theta, in), targets.as<double>(), 0.4);
            },
            [=](const auto& theta, const auto& in) -> AnyEnergy<D> {
              return TotalEnergy<D>(family.on_dual(theta, in), targets.as<D>(), D(0.4));
            }};
        check_energy(nudged, s);
      }
    });
}

TEST(LayerCosts, BlockUpdatesNeverRaiseTheTotalEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    probe.for_each_choice([&](const LayerTargets& targets) {
      const AnyEnergy<double> total = TotalEnergy<double>(probe.energy, targets.as<double>(), 0.6);
      State<double> s = probe.start();
      PerSample<double> before = energies(total, s);
      for (int sweep = 0; sweep < 5; ++sweep)
        for (Index block = 0; block < total.num_blocks(); ++block) {
          total.block_update(block, {}, s);
          const PerSample<double> after = energies(total, s);
          EXPECT_TRUE((after <= before + rounding * (1 + before.abs())).all());
          before = after;
        }
    });
  });
}

/// A squared error is its own quadratic model, so one update of a block reaches the minimum over it for clipped units.
TEST(LayerCosts, BlockUpdatesOfClippedUnitsAreExactUnderSquaredErrors) {
  const auto is_clipped = [](const Case& c) {
    return is_exact(c) && !has_couplings_within(c) &&
           std::all_of(c.layers.begin() + 1, c.layers.end(), [](const Layer& layer) {
             return std::holds_alternative<Clip>(layer.activation);
           });
  };
  int cases = 0;
  for_each<Probe>(is_clipped, [&](Probe& probe) {
    probe.for_each_choice([&](LayerTargets targets) {
      ++cases;
      for (auto& layer : targets.layers) layer.entropy = false;
      for (const double beta : {0.4, 3.0, -0.3}) {
        const AnyEnergy<double> total =
            TotalEnergy<double>(probe.energy, targets.as<double>(), beta);
        State<double> s = probe.start();
        for (Index block = 0; block < total.num_blocks(); ++block) {
          const State<double> before = s;
          total.block_update(block, {}, s);
          State<double> once = s, rest = s - gradient(total, s);
          total.project(rest);
          total.block_update(block, {}, once);
          expect_close(once, s, rounding, "a second update changes nothing");
          rest -= s;
          const State<double> left = (s.array() != before.array()).select(rest, 0 * s);
          expect_close(left, 0 * s, rounding, "descent left in the block");
        }
      }
    });
  });
  EXPECT_GT(cases, 10);
}

TEST(LayerCosts, TheResidualInOnePassIsThatOfTheMap) {
  int measured = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    probe.for_each_choice([&](const LayerTargets& targets) {
      const AnyEnergy<double> total = TotalEnergy<double>(probe.energy, targets.as<double>(), 0.4);
      if (total.one_pass_residual() == nullptr) return;
      State<double> s = probe.start();
      for (int sweep = 0; sweep < 3; ++sweep) {
        for (Index block = 0; block < total.num_blocks(); ++block) total.block_update(block, {}, s);
        PerSample<double> largest(batch), expected(batch);
        max_difference<double>(map_of(total, s), s, expected);
        total.one_pass_residual()->residual(s, {}, total.num_blocks() - 1, largest);
        expect_close(largest.matrix(), expected.matrix(), rounding, "residual");
        ++measured;
      }
    });
  });
  EXPECT_GT(measured, 0);
}

/// Anderson acceleration copies only the rows that determine the next sweep. Those it leaves out must not matter.
TEST(LayerCosts, RowsThatASweepOverwritesDoNotMatter) {
  int smaller = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    probe.for_each_choice([&](const LayerTargets& targets) {
      const AnyEnergy<double> total = TotalEnergy<double>(probe.energy, targets.as<double>(), 0.4);
      if (total.num_blocks() == 0) return;
      const std::vector<Rows> carried = total.block_updates()->carried(0);
      if (carried.empty()) return;
      State<double> s = probe.start(), t = probe.start();
      Index rows = 0;
      for (const auto& [begin, size] : carried) {
        t.middleRows(begin, size) = s.middleRows(begin, size);
        rows += size;
      }
      smaller += rows < s.rows() ? 1 : 0;
      for (Index block = 0; block < total.num_blocks(); ++block)
        for (State<double>* state : {&s, &t}) total.block_update(block, {}, *state);
      expect_identical(t, s, "a sweep");
    });
  });
  EXPECT_GT(smaller, 10);
}

TEST(LayerCosts, EverySolverReachesTheSameNudgedState) {
  const StoppingRule exact{1e-13, 20000};
  std::vector<Solver> solvers{BlockUpdate{exact}, FixedPointIteration{exact, 0.5},
                              Euler{exact, 0.1}};
  add_accelerated(solvers, {1});
  for_each<Probe>(is_any, [&](Probe& probe) {
    const State<double> s_star = fixed_point(probe.energy, probe.network.initial_state(batch));
    probe.for_each_choice([&](const LayerTargets& targets) {
      const AnyEnergy<double> total = TotalEnergy<double>(probe.energy, targets.as<double>(), 0.2);
      State<double> expected;
      for (const Solver& solver : solvers) {
        State<double> s = s_star;
        const Report report = relax<double>(total, solver, s);
        EXPECT_TRUE((report.status == Status::converged).all()) << solver.index();
        if (expected.size() == 0) expected = s;
        expect_close(s, expected, 1e-10, "nudged state");
      }
    });
  });
}

TEST(LayerCosts, SelectSamples) {
  Random random(4);
  const HopfieldNetwork<double> network({{"x", 2}, {"h", 4}, {"y", 2}}, chain(3));
  const LayerTargets targets = random_layer_targets(network.topology(), random, 5, {0, 1});
  const State<double> s = random_state(random, 6, 5);
  const std::vector<Index> which{4, 0, 3};
  const LayerCosts<double> some = targets.as<double>().select(which);
  PerSample<double> value(3);
  some.value(columns_of<double>(s, which), value);
  for (Index i = 0; i < 3; ++i)
    EXPECT_NEAR(value(i), targets.value(s)(which[static_cast<std::size_t>(i)]), rounding);
}

TEST(LayerCosts, RefuseWhatIsNoSum) {
  const AnyCost<double> cost = SquaredError<double>(State<double>::Zero(2, 3));
  const AnyCost<double> other = SquaredError<double>(State<double>::Zero(2, 4));
  using Costs = std::vector<LayerCost<double>>;
  EXPECT_THROW(LayerCosts<double>(2, Costs{}), InvalidArgument);
  for (const double scale : {0.0, -1.0, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(LayerCosts<double>(2, Costs{{0, cost, scale}}), InvalidArgument) << scale;
  EXPECT_THROW(LayerCosts<double>(4, Costs{{0, cost}, {2, other}}), InvalidArgument);
  EXPECT_THROW(LayerCosts<double>(4, Costs{{0, cost}, {1, cost}}), InvalidArgument);
  EXPECT_THROW(LayerCosts<double>(3, Costs{{2, cost}}), InvalidArgument);
  EXPECT_THROW(LayerCosts<double>(3, Costs{{-1, cost}}), InvalidArgument);
}

/// Second phases refuse costs of rows that are no layer of the model.
TEST(LayerCosts, ActOnWholeLayers) {
  const HopfieldNetwork<double> network({{"x", 2}, {"h", 4}, {"g", 3}, {"y", 2}}, chain(4));
  const AnyEnergy<double> energy = network.clamp(State<double>::Ones(2, 1));
  const auto refuses = [&](Index rows, Index begin, Index units) {
    const AnyCost<double> cost = LayerCosts<double>(
        rows, {{begin, AnyCost<double>(SquaredError<double>(State<double>::Zero(units, 1)))}});
    try {
      check_cost(energy, cost);
    } catch (const InvalidArgument&) {
      return true;
    }
    return false;
  };
  EXPECT_FALSE(refuses(2, 0, 2));
  EXPECT_FALSE(refuses(5, 0, 3));
  EXPECT_FALSE(refuses(5, 3, 2));
  EXPECT_FALSE(refuses(9, 0, 4));
  EXPECT_TRUE(refuses(3, 0, 3));
  EXPECT_TRUE(refuses(4, 0, 2));
  EXPECT_TRUE(refuses(5, 0, 2));
  EXPECT_TRUE(refuses(10, 1, 4) != refuses(10, 0, 4));
  Random random(1);
  const EnergyFamily users = chain_family(random, 5, 1);
  const AnyCost<double> hidden = LayerCosts<double>(
      5, {{0, AnyCost<double>(SquaredError<double>(State<double>::Zero(2, 1)))}});
  EXPECT_THROW(check_cost(users.energy(), hidden), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
