/// The theorem for Runge-Kutta, and for vector fields with and without the antisymmetric term.

#include "verification/processes.hpp"

namespace equiprop::tests {
namespace {

ProcessOptions runge_kutta(Index steps, double step_size) {
  return {steps, step_size, Integrator::runge_kutta};
}

TEST(RungeKutta, KeepsTheEqualityAtEveryStep) {
  Index networks = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    if (!probe.all_free()) return;
    ++networks;
    const double step_size = std::min(0.3, 2 * stable_step(probe.family, probe.s));
    const ProcessOptions options = runge_kutta(40, step_size);
    expect_theorem(probe.errors(options), probe.limit(options), probe.free_units);
  });
  EXPECT_GT(networks, 20);
}

/// If the leak is quadratic, the eigenvalues are of order one and a step size of 0.3 is ordinary.
TEST(RungeKutta, KeepsTheEqualityAtPlainSteps) {
  const auto plain = [](const Case& c) {
    return is_smooth(c) && c.potential == Potential::quadratic;
  };
  for_each<Probe>(plain, [](Probe& probe) {
    probe.cost = CrossEntropy<double>(probe.y);
    probe.dual_cost = CrossEntropy<D>(probe.y.cast<D>());
    const ProcessOptions options = runge_kutta(100, 0.3);
    expect_theorem(probe.errors(options), probe.limit(options), probe.free_units);
  });
}

TEST(RungeKutta, ApproachesTheLimitWithTheOrderOfItsNudging) {
  for_each<Probe>(is_curved_chain,
                  [](Probe& probe) { expect_orders(probe, runge_kutta(20, 0.15)); });
}

TEST(RungeKutta, NeedsStatesThatNoBoundHolds) {
  Index refused = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    if (probe.all_free()) return;
    ++refused;
    EXPECT_THROW(probe.errors(runge_kutta(5, 0.1)), InvalidArgument);
    EXPECT_NO_THROW(probe.errors({5, 0.1, Integrator::euler}));
  });
  EXPECT_GT(refused, 10);
}

/// For a linear flow, a step is the Taylor polynomial of the exponential, computed with dense matrices: Sbar_{n+1} =
/// sum_{k<=4} (-h H^T)^k / k! Sbar_n, and Thbar is the integral of its interpolation.
TEST(RungeKutta, ErrorDerivativesAreTheirPolynomial) {
  const double h = 0.25;
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_smooth, [&](Probe& probe) {
      const auto errors = probe.errors(runge_kutta(8, h));
      State<double> sum = State<double>::Zero(probe.family.theta.size(), 9);
      for (Index j = 0; j < Probe::batch; ++j) {
        const EnergyFamily sample = probe.family.sample(j);
        const State<double> a = -h * dense_hessian(sample, probe.s.col(j)).transpose();
        const State<double> one = State<double>::Identity(a.rows(), a.rows());
        const State<double> mixed = dense_mixed_derivative(sample, probe.s.col(j)).transpose();
        const State<double> average = one + a / 2 * (one + a / 3 * (one + a / 4));
        State<double> state = errors.state.front().col(j);
        Parameters<double> theta = Parameters<double>::Zero(mixed.rows());
        for (std::size_t n = 0; n < errors.state.size(); ++n) {
          expect_close(errors.state[n].col(j), state, rounding, "Sbar");
          sum.col(static_cast<Index>(n)) += theta / Probe::batch;
          theta -= h * mixed * average * state;
          state += a * average * state;
        }
      }
      for (std::size_t n = 0; n < errors.state.size(); ++n)
        expect_close(errors.parameters[n], sum.col(static_cast<Index>(n)), rounding, "Thbar");
    });
}

/// With the antisymmetric term, the nudged flow is the side network of the vector field, which has the transposed
/// Jacobian.
TEST(VectorFieldProcesses, AreEqualUnderTheRepair) {
  for (const auto integrator : {Integrator::euler, Integrator::runge_kutta})
    for_each_of<Probe>(fields(), is_any, [&](Probe& probe) {
      if (integrator == Integrator::runge_kutta && !probe.all_free()) return;
      const ProcessOptions options{60, stable_step(probe.family, probe.s), integrator};
      expect_theorem(probe.errors(options), probe.repaired_limit(options), probe.free_units,
                     rounding);
    });
}

TEST(VectorFieldProcesses, DifferWithoutTheRepair) {
  std::size_t different = 0;
  for_each_of<Probe>(fields(), is_any, [&](Probe& probe) {
    const ProcessOptions options{60, stable_step(probe.family, probe.s)};
    const auto errors = probe.errors(options);
    const auto limit = probe.limit(options);
    const State<double> moving = errors.state.front().cwiseProduct(probe.free_units);
    expect_close(derivative(limit.state.front()), -moving, exact, "both start at the cost");
    double largest = 0;
    for (std::size_t n = 0; n < errors.state.size(); ++n)
      largest = std::max(
          largest, (derivative(limit.parameters[n]) - errors.parameters[n]).cwiseAbs().maxCoeff());
    different += largest > 1e-3;
  });
  EXPECT_GT(different, fields().size() / 2) << "where no inner coupling acts, nothing differs";
}

/// For symmetric couplings the antisymmetric term changes neither process.
TEST(VectorFieldProcesses, OfAnEnergyNeedNoRepair) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const ProcessOptions options{30, stable_step(probe.family, probe.s)};
    expect_theorem(probe.errors(options), probe.repaired_limit(options), probe.free_units,
                   rounding);
  });
}

}  // namespace
}  // namespace equiprop::tests
