/// Batches: samples are independent, the number of threads changes no bit, and every scalar can be relaxed.

#include "support.hpp"

namespace equiprop::tests {
namespace {

std::vector<Solver> solvers_for(double tolerance, Index limit = 20000) {
  const StoppingRule rule{tolerance, limit};
  std::vector<Solver> solvers{FixedPointIteration{rule, 0.3}, Euler{rule, 0.08}, BlockUpdate{rule}};
  add_accelerated(solvers, {3});
  return solvers;
}

struct Probe {
  explicit Probe(const Case& c_) : c(c_) {}
  State<double> input(Index batch) {
    return random_state(random, network.topology().num_inputs(), batch);
  }
  const Case& c;
  HopfieldNetwork<double> network = make_network(c);
  Random random{9};
};

TEST(Relax, ASampleDoesNotSeeItsBatchMates) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const Index batch = 5, kept = 2;
    State<double> x = probe.input(batch);
    for (const auto& solver : solvers_for(1e-8, 500)) {
      State<double> before = probe.network.initial_state(batch), after = before;
      const Report first = relax<double>(probe.network.clamp(x), solver, before);
      State<double> others = probe.input(batch);
      others.col(kept) = x.col(kept);
      others.col(0) *= 1e3;
      others.col(4).setConstant(std::nan(""));
      const Report second = relax<double>(probe.network.clamp(others), solver, after);
      expect_identical(after.col(kept), before.col(kept), "the sample whose mates changed");
      EXPECT_EQ(first.iterations(kept), second.iterations(kept));
      EXPECT_EQ(first.residual(kept), second.residual(kept));
      EXPECT_EQ(second.status(4), Status::diverged);
    }
  });
}

TEST(Relax, ThreadsDoNotChangeABit) {
  const auto is_chain = [](const Case& c) { return c.name.ends_with("_chain"); };
  for_each<Probe>(is_chain, [](Probe& probe) {
    const Index batch = 300;
    const AnyEnergy<double> energy = probe.network.clamp(probe.input(batch));
    for (const auto& solver : solvers_for(1e-8)) {
      const State<double> start = probe.network.initial_state(batch);
      State<double> expected = start;
      set_num_threads(1);
      const Report alone = relax<double>(energy, solver, expected);
      for (const int threads : {2, 5}) {
        State<double> s = start;
        set_num_threads(threads);
        const Report report = relax<double>(energy, solver, s);
        expect_identical(s, expected, "s*");
        EXPECT_TRUE((report.iterations == alone.iterations).all());
        EXPECT_TRUE((report.residual == alone.residual).all());
      }
      set_num_threads(0);
    }
  });
}

TEST(Relax, BeginsAtWhatStartStores) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const Index batch : {3, 150}) {
      State<double> x = probe.input(batch);
      x.col(1).setConstant(std::nan(""));  // a sample that diverges in the first step
      const AnyEnergy<double> energy = probe.network.clamp(x);
      const State<double> beginning = interior_state(probe.network, probe.random, batch);
      const auto start = [&](Index begin, StateRef<double> s) {
        s = beginning.middleCols(begin, s.cols());
      };
      for (const Index limit : {0, 300})
        for (const auto& solver : solvers_for(1e-8, limit)) {
          State<double> expected = beginning;
          State<double> s = State<double>::Constant(beginning.rows(), batch, std::nan(""));
          const Report first = relax<double>(energy, solver, expected);
          const Report second = relax<double>(energy, solver, s, {}, start);
          expect_identical(s, expected, "s*");
          EXPECT_TRUE((first.status == second.status).all());
          EXPECT_TRUE((first.iterations == second.iterations).all());
        }
    }
  });
}

TEST(Relax, AnEmptyBatchIsNoWork) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const auto& solver : solvers_for(1e-8)) {
      State<double> s = probe.network.initial_state(0);
      EXPECT_EQ(relax<double>(probe.network.clamp(probe.input(0)), solver, s).batch(), 0);
    }
  });
}

TEST(Relax, ObserversSeeTheStartAndEveryStep) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const AnyEnergy<double> energy = probe.network.clamp(probe.input(3));
    for (const auto& solver : solvers_for(0, 4)) {
      State<double> s = probe.network.initial_state(3);
      std::vector<State<double>> seen;
      relax<double>(energy, solver, s, [&](Index iteration, const ConstStateRef<double>& at) {
        EXPECT_EQ(iteration, static_cast<Index>(seen.size()));
        seen.emplace_back(at);
      });
      ASSERT_EQ(seen.size(), 5);
      expect_identical(seen.front(), probe.network.initial_state(3), "the start");
      expect_identical(seen.back(), s, "the end");
    }
  });
}

/// The relaxation of dual numbers gives the derivative of the fixed point; compared with central differences.
TEST(Relax, DualsCarryTheDerivativeOfTheFixedPoint) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> x = probe.input(2), v = probe.input(2);
    const EnergyFamily family = make_family(probe.network, x);
    const double h = 1e-5;  // h^2 and rounding / h are both near 1e-10
    const State<double> start = probe.network.initial_state(2);
    const State<double> plus = fixed_point(probe.network.clamp(x + h * v), start);
    const State<double> minus = fixed_point(probe.network.clamp(x - h * v), start);
    const AnyEnergy<D> energy = family.on_dual(family.theta.cast<D>(), dual(x, v));
    for (const auto& solver : solvers_for(1e-13)) {
      State<D> s = start.cast<D>();
      const Report report = relax<D>(energy, solver, s);
      EXPECT_TRUE((report.status == Status::converged).all());
      expect_close(derivative(s), (plus - minus) / (2 * h), 1e-7, "ds*/dx along v");
    }
  });
}

TEST(Relax, FloatAndComplexReachTheDoubleFixedPoint) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> x = probe.input(2), start = probe.network.initial_state(2);
    const State<double> expected = fixed_point(probe.network.clamp(x), start);
    const auto single = probe.network.cast<float>();
    const auto complex = probe.network.clamp_as<Complex>(x);
    for (auto solver : solvers_for(1e-6)) {
      std::visit([](auto& rule) { rule.tolerance.reset(); }, solver);  // the default of each scalar
      State<float> f = start.cast<float>();
      State<Complex> z = start.cast<Complex>();
      EXPECT_TRUE(
          (relax<float>(single.clamp(x.cast<float>()), solver, f).status == Status::converged)
              .all());
      EXPECT_TRUE((relax<Complex>(complex, solver, z).status == Status::converged).all());
      expect_close(f.cast<double>(), expected, 1e-3, "float");
      expect_close(z.real(), expected, 1e-8, "complex");
      if (std::visit([](const auto& chosen) { return chosen.anderson == 0; }, solver))
        expect_identical(z.imag(), 0 * expected.cwiseAbs(), "imaginary part");
      else  // extrapolated states may leave the range of rho, where its inverse is not real
        expect_close(z.imag(), 0 * expected, 1e-10, "imaginary part");
    }
  });
}

}  // namespace
}  // namespace equiprop::tests
