/// All solvers reach the same fixed point, and their reports are correct.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Returns every kind of solver, with one tolerance.
std::vector<Solver> solvers_for(double tolerance, Index limit = 20000) {
  const StoppingRule rule{tolerance, limit};
  std::vector<Solver> solvers{FixedPointIteration{rule, 0.3}, FixedPointIteration{rule, 0.6},
                              Euler{rule, 0.08}, BlockUpdate{rule}};
  add_accelerated(solvers, {1, 4});
  return solvers;
}

struct Probe {
  explicit Probe(const Case& c_)
      : c(c_),
        x(random_state(random, network.topology().num_inputs(), batch)),
        y(random_state(random, network.topology().num_outputs(), batch)),
        free(network.clamp(x)),
        nudged(TotalEnergy<double>(free, SquaredError<double>(y), 0.3)),
        start(network.initial_state(batch)) {}

  /// Returns |T(s) - s| of each sample, by explicit loops.
  static PerSample<double> residual_of(const AnyEnergy<double>& energy, const State<double>& s) {
    State<double> image(s.rows(), s.cols());
    energy.fixed_point_map(s, {}, image);
    PerSample<double> out = PerSample<double>::Zero(s.cols());
    for (Index j = 0; j < s.cols(); ++j)
      for (Index i = 0; i < s.rows(); ++i)
        out(j) = std::max(out(j), std::abs(image(i, j) - s(i, j)));
    return out;
  }

  static constexpr Index batch = 3;
  const Case& c;
  HopfieldNetwork<double> network = make_network(c);
  Random random{6};
  State<double> x, y;
  AnyEnergy<double> free, nudged;
  State<double> start;
};

TEST(Relax, EverySolverReachesTheSameFixedPoint) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const auto& energy : {probe.free, probe.nudged}) {
      const State<double> expected = fixed_point(energy, probe.start);
      for (const auto& solver : solvers_for(1e-12)) {
        State<double> s = probe.start;
        const Report report = relax<double>(energy, solver, s);
        EXPECT_TRUE((report.status == Status::converged).all()) << "solver " << solver.index();
        expect_close(s, expected, 1e-10, "s*");
      }
    }
  });
}

/// The result is stationary by its gradient alone, without the fixed-point map.
TEST(Relax, WhatItReachesIsStationaryOnEveryFreeUnit) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> s = fixed_point(probe.nudged, probe.start), gradient(s.rows(), s.cols());
    probe.nudged.gradient(s, gradient);
    State<double> moved = s - gradient;
    probe.nudged.project(moved);
    expect_close(moved, s, 100 * rounding, "projected gradient step");
  });
}

TEST(Relax, ReportsTheResidualOfTheStateItReturns) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const double tolerance : {0.0, 1e-3})
      for (const auto& solver : solvers_for(tolerance, 7)) {
        State<double> s = probe.start;
        const Report report = relax<double>(probe.nudged, solver, s);
        const PerSample<double> expected = Probe::residual_of(probe.nudged, s);
        expect_close(report.residual.matrix(), expected.matrix(), rounding, "residual");
        for (Index j = 0; j < Probe::batch; ++j)
          EXPECT_EQ(report.status(j), tolerance == 0             ? Status::fixed_steps
                                      : expected(j) <= tolerance ? Status::converged
                                                                 : Status::max_iterations);
      }
  });
}

TEST(Relax, ZeroIterationsOnlyProjectAndMeasure) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const auto& solver : solvers_for(1e-6, 0)) {
      State<double> s = 3 * random_state(probe.random, probe.start.rows(), Probe::batch), box = s;
      probe.free.project(box);
      if (probe.c.potential == Potential::legendre) s = box = fixed_point(probe.free, probe.start);
      const Report report = relax<double>(probe.free, solver, s);
      expect_identical(s, box, "the projected start");
      EXPECT_TRUE((report.iterations == 0).all());
    }
  });
}

TEST(Euler, StepsDownTheGradientAndStaysInTheBox) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> expected = probe.start, s = probe.start, gradient = probe.start;
    for (int step = 0; step < 5; ++step) {
      probe.nudged.gradient(expected, gradient);
      expected -= 0.08 * gradient;
      probe.nudged.project(expected);
    }
    relax<double>(probe.nudged, Euler{{0.0, 5}, 0.08}, s);
    expect_close(s, expected, rounding, "five Euler steps");
  });
}

TEST(FixedPointIteration, MixesTheMapWithTheOldState) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> expected = probe.start, s = probe.start, image = probe.start;
    for (int step = 0; step < 5; ++step) {
      probe.nudged.fixed_point_map(expected, {}, image);
      expected = 0.75 * image + 0.25 * expected;
    }
    relax<double>(probe.nudged, FixedPointIteration{{0.0, 5}, 0.25}, s);
    expect_close(s, expected, rounding, "five damped steps");
  });
}

TEST(BlockUpdate, SweepsTheBlocksInOrder) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> expected = probe.start, s = probe.start;
    for (int sweep = 0; sweep < 3; ++sweep)
      for (Index block = 0; block < probe.nudged.num_blocks(); ++block)
        probe.nudged.block_update(block, {}, expected);
    relax<double>(probe.nudged, BlockUpdate{{0.0, 3}}, s);
    expect_close(s, expected, rounding, "three sweeps");
  });
}

TEST(BlockUpdate, RefusesAnEnergyWithoutBlocksAndSaysWhatToUse) {
  Random random(7);
  const auto family = chain_family(random, 3, 1);
  State<double> s = State<double>::Zero(3, 1);
  try {
    relax<double>(family.energy(), BlockUpdate{}, s);
    FAIL() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("Use Euler or FixedPointIteration"),
              std::string::npos);
  }
}

TEST(Relax, WorksOnAnEnergyThatIsOnlyAnEnergy) {
  Random random(8);
  for (const Index units : {1, 6}) {
    const auto family = chain_family(random, units, 4);
    const State<double> start = State<double>::Zero(units, 4);
    const State<double> expected = fixed_point(family.energy(), start);
    State<double> s = start, gradient(units, 4);
    const Report report = relax<double>(family.energy(), Euler{{1e-13, 20000}, 0.1}, s);
    EXPECT_TRUE((report.status == Status::converged).all());
    expect_close(s, expected, 1e-10, "s*");
    family.energy().gradient(s, gradient);
    expect_close(gradient, 0 * s, rounding, "dE/ds");
  }
}

TEST(Relax, ReportsDivergenceWithoutRunningToTheEnd) {
  HopfieldNetwork<double> network({{"x", 1}, {"h", 2, linear()}, {"y", 2, linear()}}, chain(3));
  network.parameters().setConstant(2);  // linear units that amplify each other
  for (const double tolerance : {0.0, 1e-6})
    for (const Solver& solver : {Solver(Euler{{tolerance, 1000000}, 0.5}),
                                 Solver(FixedPointIteration{{tolerance, 1000000}}),
                                 Solver(BlockUpdate{{tolerance, 1000000}})}) {
      State<double> s = State<double>::Ones(4, 1);
      const Report report = relax<double>(network.clamp(State<double>::Ones(1, 1)), solver, s);
      EXPECT_EQ(report.status(0), Status::diverged);
      EXPECT_LT(report.iterations(0), 3000);
    }
}

TEST(Relax, RefusesBadArguments) {
  Probe probe(zoo().front());
  State<double> s = probe.start, wrong(s.rows() + 1, 1);
  EXPECT_THROW(relax<double>(probe.free, Euler{}, wrong), InvalidArgument);
  for (const double step_size : {0.0, -0.1, std::nan("")})
    EXPECT_THROW(relax<double>(probe.free, Euler{{}, step_size}, s), InvalidArgument);
  for (const double damping : {1.0, -0.1, std::nan("")})
    EXPECT_THROW(relax<double>(probe.free, FixedPointIteration{{}, damping}, s), InvalidArgument);
  EXPECT_THROW(relax<double>(probe.free, Euler{{-1.0, 5}}, s), InvalidArgument);
  for (const Index anderson : {-1, 21})
    for (const Solver& solver :
         {Solver(BlockUpdate{{}, anderson}), Solver(Euler{{}, 0.1, anderson}),
          Solver(FixedPointIteration{{}, 0.1, anderson})})
      EXPECT_THROW(relax<double>(probe.free, solver, s), InvalidArgument);
  EXPECT_THROW(relax<double>(probe.free, Euler{{1.0, -5}}, s), InvalidArgument);
}

/// A resumed relaxation moves only the samples whose limit is below their residual, in one piece and in several. The bits
/// of a sample that moves do not depend on the others, and the report stays where it is.
TEST(Relax, ResumesEachSampleAlone) {
  for (const int threads : {1, 3})
    for (const Index batch : {5, 150}) {
      set_num_threads(threads);
      Random random(8);
      HopfieldNetwork<double> network(
          {{"x", 4}, {"h", 9, hard_sigmoid()}, {"y", 3, hard_sigmoid()}}, chain(3));
      network.initialize(1);
      const AnyEnergy<double> energy = network.clamp(random_state(random, 4, batch));
      for (const Index anderson : {0, 2}) {
        Relaxation<double> relaxation(energy, BlockUpdate{{1e-2, 500}, anderson});
        State<double> s = network.initial_state(batch);
        const Report& current = relaxation.run(s);
        const Report before = current;
        const State<double> start = s;
        PerSample<double> limits =
            PerSample<double>::Constant(batch, std::numeric_limits<double>::infinity());
        limits(1) = 1e-12;
        const Report& after = relaxation.resume(s, limits);
        EXPECT_EQ(&after, &current);
        Relaxation<double> alone(energy.samples(1, 1), BlockUpdate{{1e-2, 500}, anderson});
        State<double> single = network.initial_state(1);
        alone.run(single);
        const Report& own = alone.resume(single, limits.segment(1, 1));
        expect_identical(s.col(1), single, "a sample that moves");
        EXPECT_EQ(after.error(1), own.error(0));
        EXPECT_EQ(after.iterations(1), own.iterations(0));
        EXPECT_LE(after.residual(1), 1e-12);
        EXPECT_GT(after.iterations(1), before.iterations(1));
        EXPECT_TRUE((after.status == Status::converged).all());
        for (Index j = 0; j < batch; ++j) {
          if (j == 1) continue;
          EXPECT_EQ(s.col(j), start.col(j));
          EXPECT_EQ(after.iterations(j), before.iterations(j));
        }
      }
    }
  set_num_threads(0);
}

}  // namespace
}  // namespace equiprop::tests
