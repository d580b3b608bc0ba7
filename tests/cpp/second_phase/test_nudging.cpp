/// Nudging rules as data, and their accuracy: orders in beta, and beta in the complex plane.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Returns sum_k w_k p(beta_k): the value of a rule for a polynomial g(beta) = sum_m a_m beta^m.
double apply(const NudgingRule<double>& rule, const std::vector<double>& coefficients) {
  double sum = 0;
  for (const auto& [beta, weight] : rule)
    for (std::size_t m = 0; m < coefficients.size(); ++m)
      sum += weight * coefficients[m] * std::pow(beta, static_cast<double>(m));
  return sum;
}

TEST(Nudging, OneSidedIsExactOnLinesAndCenteredOnParabolas) {
  for (const double beta : {0.5, -0.25, 2.0}) {
    EXPECT_NEAR(apply(one_sided<double>(beta), {3, 7}), 7, rounding);
    EXPECT_NEAR(apply(one_sided<double>(beta), {3, 7, 2}), 7 + 2 * beta, rounding);
    EXPECT_NEAR(apply(centered<double>(beta), {3, 7, 2}), 7, rounding);
    EXPECT_NEAR(apply(centered<double>(beta), {3, 7, 2, 5}), 7 + 5 * beta * beta, rounding);
  }
}

TEST(Nudging, RefusesABetaThatIsZeroOrNotFinite) {
  for (const double beta : {0.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THROW(one_sided<double>(beta), InvalidArgument);
    EXPECT_THROW(centered<double>(beta), InvalidArgument);
  }
}

TEST(Nudging, HolomorphicRefusesOddPointsAndBadRadii) {
  for (const int points : {-2, 0, 1, 3, 15})
    EXPECT_THROW(holomorphic(0.1, points), InvalidArgument) << points;
  for (const double radius : {0.0, std::nan(""), HUGE_VAL})
    EXPECT_THROW(holomorphic(radius, 4), InvalidArgument);
}

/// The rule depends only on the powers 1, N + 1, 2 N + 1, ... of beta; the higher ones have factors radius^N, ...
TEST(Nudging, HolomorphicIsExactOnPolynomialsBelowItsNumberOfPoints) {
  for (const int points : {2, 4, 10, 64})
    for (int power = 0; power < 2 * points; ++power) {
      const double radius = 0.9;
      Complex sum = 0;
      for (const auto& [beta, weight] : holomorphic(radius, points))
        sum += weight * std::pow(beta, power);
      const double expected = power % points == 1 ? std::pow(radius, power - 1) : 0;
      EXPECT_NEAR(sum.real(), expected, rounding) << points << " points, power " << power;
    }
}

TEST(Nudging, TheExactLimitIsOneDualNode) {
  const auto rule = exact_limit();
  ASSERT_EQ(rule.size(), 1);
  EXPECT_EQ(rule[0].beta, D(0, 1));
  EXPECT_EQ(rule[0].weight, D(1));
}

/// Returns the rule (1 / (N b)) sum_k e^(-2 pi i k / N) g(b e^(2 pi i k / N)) on the full circle (Laborieux & Zenke
/// 2022).
NudgingRule<Complex> circle(double radius, int points) {
  NudgingRule<Complex> rule;
  for (int k = 0; k < points; ++k) {
    const Complex node = std::polar(radius, 2 * M_PI * k / points);
    rule.push_back({node, 1.0 / (node * static_cast<double>(points))});
  }
  return rule;
}

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        y(random_state(random, network.topology().num_outputs(), batch)),
        family(make_family(network, x)),
        s(fixed_point(family.energy(), network.initial_state(batch))) {
    exact =
        equilibrium_propagation_limit(family.dual_energy(), SquaredError<D>(y.cast<D>()), s, solver)
            .parameters;
  }
  double error(const NudgingRule<double>& rule) const {
    const auto gradient =
        equilibrium_propagation<double>(family.energy(), SquaredError<double>(y), s, rule, solver);
    return (gradient.parameters - exact).cwiseAbs().maxCoeff();
  }
  double complex_error(double radius, int points) const {
    const auto gradient = holomorphic_equilibrium_propagation(complex_energy(), complex_cost(), s,
                                                              holomorphic(radius, points), solver);
    EXPECT_TRUE(gradient.parameters.allFinite());
    return (gradient.parameters - exact).cwiseAbs().maxCoeff();
  }
  AnyEnergy<Complex> complex_energy() const { return network.clamp_as<Complex>(x); }
  AnyCost<Complex> complex_cost() const { return SquaredError<Complex>(y.cast<Complex>()); }

  static constexpr Index batch = 2;
  FixedPointIteration solver{{1e-15, 5000}, 0.25};
  HopfieldNetwork<double> network;
  Random random{14};
  State<double> x, y;
  EnergyFamily family;
  State<double> s;
  Parameters<double> exact;
};

bool is_curved_chain(const Case& c) {
  return is_smooth(c) && c.name.ends_with("_chain") && !c.name.starts_with("linear_");
}

/// Halving beta divides the error by 2^order, up to the contribution of the next order.
TEST(Nudging, OneSidedIsOfFirstOrderAndCenteredOfSecond) {
  for_each<Probe>(is_curved_chain, [](Probe& probe) {
    const double beta = 0.01;
    EXPECT_NEAR(probe.error(one_sided<double>(beta)) / probe.error(one_sided<double>(beta / 2)), 2,
                0.1);
    EXPECT_NEAR(probe.error(centered<double>(beta)) / probe.error(centered<double>(beta / 2)), 4,
                0.1);
  });
}

/// Half of the circle is equivalent to the full circle, because fixed points of conjugate betas are conjugate.
TEST(Nudging, HolomorphicIsTheFullCircle) {
  for_each<Probe>(is_smooth, [](Probe& probe) {
    for (const int points : {2, 4, 6}) {
      const double radius = 0.1;
      EXPECT_EQ(holomorphic(radius, points).size(), points / 2 + 1);
      const auto half =
          holomorphic_equilibrium_propagation(probe.complex_energy(), probe.complex_cost(), probe.s,
                                              holomorphic(radius, points), probe.solver);
      const auto full = equilibrium_propagation<Complex>(
          probe.complex_energy(), probe.complex_cost(), probe.s.cast<Complex>(),
          circle(radius, points), probe.solver);
      expect_close(half.parameters, full.parameters.real(), rounding, "parameters");
      expect_close(half.inputs, full.inputs.real(), rounding, "inputs");
      expect_close(full.parameters.imag(), State<double>::Zero(full.parameters.size(), 1), rounding,
                   "imaginary parts cancel");
      EXPECT_NEAR(half.objective, full.objective.real(), rounding);
    }
  });
}

/// The error is C b^N, so 2 N points instead of N square the factor b^N.
TEST(Nudging, PointsOnACircleConvergeGeometrically) {
  for_each<Probe>(is_curved_chain, [](Probe& probe) {
    const double radius = 0.05;
    const double two = probe.complex_error(radius, 2), four = probe.complex_error(radius, 4);
    EXPECT_NEAR(two, probe.error(centered<double>(radius)), rounding) << "N = 2 is centered";
    EXPECT_GT(two, 1e-7) << "otherwise nothing is seen to converge";
    EXPECT_LT(four, 0.05 * two);
    EXPECT_LT(probe.complex_error(radius, 8), 0.05 * four);
    EXPECT_LT(probe.complex_error(radius, 16), rounding);
  });
}

TEST(Nudging, ARandomSignIsARuleOfItsOwn) {
  Probe probe(zoo()[1]);
  const auto minus = probe.error(one_sided<double>(-0.01)),
             plus = probe.error(one_sided<double>(0.01));
  EXPECT_NEAR(minus / plus, 1, 0.1) << "the first-order error changes its sign, not its size";
  EXPECT_GT(std::min(minus, plus), 10 * probe.error(centered<double>(0.01)));
}

}  // namespace
}  // namespace equiprop::tests
