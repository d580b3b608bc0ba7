/// The theorem of Scellier & Bengio (2019), step by step: Stil_n = -D Sbar_n and Thtil_n = Thbar_n.

#include "verification/processes.hpp"

namespace equiprop::tests {
namespace {

TEST(Theorem, HoldsAtEveryStepOnEveryNetwork) {
  double held = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    held += (1 - probe.free_units.array()).sum();
    const double step_size = stable_step(probe.family, probe.s);
    expect_theorem(probe.errors({60, step_size}), probe.limit({60, step_size}), probe.free_units);
    probe.cost = CrossEntropy<double>(probe.y);
    probe.dual_cost = CrossEntropy<D>(probe.y.cast<D>());
    expect_theorem(probe.errors({30, step_size}), probe.limit({30, step_size}), probe.free_units);
  });
  EXPECT_GT(held, 20) << "no unit was held by a bound";
}

/// The theorem holds for every step size, even if the iterates grow. They would also amplify the rounding error of s*,
/// so the test uses a fixed point without one: 0, for a tanh network without input and biases.
TEST(Theorem, HoldsWhereEulerIsUnstable) {
  HopfieldNetwork<double> network(
      {{"x", 2}, {"h", 5, tanh_activation()}, {"y", 3, tanh_activation()}}, chain(3),
      Potential::quadratic);
  network.initialize(3);
  const EnergyFamily family = make_family(network, State<double>::Zero(2, 1));
  const State<double> zero = State<double>::Zero(8, 1), y{{0.5}, {-1.0}, {0.25}};
  const ProcessOptions options{20, 3.0};
  Process<double> errors;
  Process<D> limit;
  error_derivatives(family.energy(), SquaredError<double>(y), zero, options, errors.observer());
  temporal_derivatives<D>(family.dual_energy(), SquaredError<D>(y.cast<D>()), zero.cast<D>(),
                          exact_limit(), options, limit.observer());
  expect_theorem(errors, limit, State<double>::Ones(8, 1));
  EXPECT_GT(errors.state.back().norm(), 1e3 * errors.state.front().norm());
}

TEST(Theorem, StartsAtTheCostAndEndsAtTheGradient) {
  for_each<Probe>(is_smooth, [](Probe& probe) {
    const auto errors = probe.errors({1500, 0.1});
    State<double> c(probe.s.rows(), Probe::batch);
    cost_gradient<double>(probe.cost, probe.s, c);
    expect_identical(errors.state.front(), c, "Sbar_0 = dC/ds");
    EXPECT_TRUE((errors.parameters.front().array() == 0).all());
    const auto gradient = recurrent_backpropagation<double>(
        probe.family.energy(), probe.cost, probe.s, ConjugateGradient{{1e-14, 1000}});
    expect_close(errors.parameters.back(), gradient.parameters, 1e-10, "Thbar tends to dJ/dtheta");
  });
}

/// The error derivatives by a dense recursion, one sample at a time; only dual numbers of the library are used.
TEST(ErrorDerivatives, AreTheirRecursion) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const ProcessOptions options{20, 0.2};
    const auto errors = probe.errors(options);
    State<double> sum = State<double>::Zero(probe.family.theta.size(), 21);
    for (Index j = 0; j < Probe::batch; ++j) {
      const EnergyFamily sample = probe.family.sample(j);
      const State<double> h = dense_hessian(sample, probe.s.col(j));
      const State<double> mixed = dense_mixed_derivative(sample, probe.s.col(j));
      State<double> state = errors.state.front().col(j);
      Parameters<double> theta = Parameters<double>::Zero(sample.theta.size());
      for (Index n = 0; n <= options.steps; ++n) {
        const auto at = static_cast<std::size_t>(n);
        expect_close(errors.state[at].col(j), state, rounding, "Sbar");
        sum.col(n) += theta / Probe::batch;
        const State<double> moving = state.cwiseProduct(probe.free_units.col(j));
        theta -= 0.2 * mixed.transpose() * moving;
        state = moving - 0.2 * h * moving;
      }
    }
    for (Index n = 0; n <= options.steps; ++n)
      expect_close(errors.parameters[static_cast<std::size_t>(n)], sum.col(n), rounding, "Thbar");
  });
}

/// The residual of Richardson's iteration is the error derivative. (With a Legendre potential Richardson preconditions
/// with the slope of rho, unlike the Euler flow of the theorem.)
TEST(ErrorDerivatives, AreRichardsonsResidualsOnFreeUnits) {
  const auto plain = [](const Case& c) { return c.potential == Potential::quadratic; };
  for_each<Probe>(plain, [](Probe& probe) {
    const auto errors = probe.errors({15, 0.2});
    const AnyEnergy<double> energy = probe.family.energy();
    const LinearOperator<double> hessian = [&](const ConstStateRef<double>& v,
                                               StateRef<double> out) {
      energy.hessian_vector_product(probe.s, v, out);
    };
    const State<double>& b = errors.state.front();
    State<double> x(b.rows(), b.cols()), image(b.rows(), b.cols());
    for (Index n = 0; n <= 15; ++n) {
      solve<double>(Richardson{{0.0, n}, 0.2}, LinearSystem<double>{hessian, probe.mobility, b}, x);
      hessian(x, image);
      const State<double> residual = (b - image).cwiseProduct(probe.free_units);
      const State<double> expected =
          errors.state[static_cast<std::size_t>(n)].cwiseProduct(probe.free_units);
      expect_close(residual, expected, rounding, "D (b - A x_n) = D Sbar_n");
    }
  });
}

TEST(TemporalDerivatives, ApproachTheLimitWithTheOrderOfTheirRule) {
  for_each<Probe>(is_curved_chain, [](Probe& probe) { expect_orders(probe, {20, 0.15}); });
}

TEST(Trajectories, RefuseBadOptions) {
  Probe probe(zoo().front());
  EXPECT_THROW(probe.errors({-1, 0.1}), InvalidArgument);
  EXPECT_THROW(probe.errors({5, 0}), InvalidArgument);
  EXPECT_THROW(probe.limit({5, std::nan("")}), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
