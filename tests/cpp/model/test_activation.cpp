/// Activations: each derivative against the dual-number derivative of the function that it differentiates.

#include "support.hpp"

namespace equiprop::tests {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Calls check(rho) with the concrete type of every activation.
template <class Check>
void for_every_activation(const Check& check) {
  for (const auto& [name, activation] : activations()) {
    SCOPED_TRACE(name);
    std::visit(check, activation);
  }
}

TEST(Activation, SlopeAndCurvatureAreDerivativesOfTheValue) {
  Random random(1);
  for_every_activation([&](const auto& rho) {
    for (int trial = 0; trial < 50; ++trial) {
      const D x(3 * random.symmetric(), 1);
      const D r = rho.value(x);
      EXPECT_NEAR(rho.slope(r).value, r.derivative, rounding);
      EXPECT_NEAR(rho.curvature(r).value, rho.slope(r).derivative, rounding);
    }
  });
}

TEST(Activation, InverseUndoesTheValueInsideTheRange) {
  Random random(2);
  for_every_activation([&](const auto& rho) {
    for (int trial = 0; trial < 50; ++trial) {
      const double r = 0.01 + 0.98 * random.uniform();  // inside the range of every activation
      EXPECT_NEAR(rho.value(rho.inverse(r)), r, rounding);
      EXPECT_NEAR(rho.inverse(rho.value(rho.inverse(r))), rho.inverse(r), 1e3 * rounding);
    }
  });
}

TEST(Activation, PotentialIsTheIntegralOfTheInverse) {
  Random random(3);
  for_every_activation([&](const auto& rho) {
    for (int trial = 0; trial < 50; ++trial) {
      const D r(0.01 + 0.98 * random.uniform(), 1);
      EXPECT_NEAR(rho.potential(r).derivative, rho.inverse(r).value, 10 * rounding);
    }
  });
}

TEST(Activation, PotentialsAreFiniteAtTheEndsOfTheRange) {
  EXPECT_NEAR(Tanh{}.potential(1.0), std::log(2.0), rounding);
  EXPECT_NEAR(Tanh{}.potential(-1.0), std::log(2.0), rounding);
  const Logistic rho{4, 0.5};
  EXPECT_EQ(rho.potential(0.0), 0);
  EXPECT_EQ(rho.potential(1.0), 0.5);
  EXPECT_NEAR(Softplus{2}.potential(0.0), std::numbers::pi * std::numbers::pi / 24, rounding);
  EXPECT_NEAR(Softplus{}.potential(std::log(2.0)),  // Li2(1/2) = pi^2 / 12 - log(2)^2 / 2
              std::numbers::pi * std::numbers::pi / 12, rounding);
}

TEST(Activation, SaturatesWithoutOverflow) {
  EXPECT_EQ(Tanh{}.value(1e4), 1);
  EXPECT_EQ(Tanh{}.value(-1e4), -1);
  const Logistic rho{4, 0.5};
  EXPECT_EQ(rho.value(1e300), 1);
  EXPECT_EQ(rho.value(-1e300), 0);
  EXPECT_EQ(Softplus{3}.value(1e300), 1e300);
  EXPECT_EQ(Softplus{3}.value(-1e300), 0);
}

TEST(Activation, SoftplusIsItsFormula) {
  Random random(8);
  for (int trial = 0; trial < 50; ++trial) {
    const double gain = 0.1 + 5 * random.uniform(), x = 3 * random.symmetric();
    EXPECT_NEAR(softplus(gain).value(x), std::log(1 + std::exp(gain * x)) / gain, rounding);
  }
  EXPECT_THROW(softplus(0), InvalidArgument);
}

TEST(Activation, LogisticIsItsFormula) {
  Random random(4);
  for (int trial = 0; trial < 50; ++trial) {
    const double gain = 0.1 + 5 * random.uniform(), shift = random.symmetric();
    const double x = 3 * random.symmetric();
    EXPECT_NEAR((logistic(gain, shift).value(x)), 1 / (1 + std::exp(-gain * (x - shift))),
                rounding);
  }
}

TEST(Activation, HolomorphicOnesSatisfyCauchyRiemann) {
  Random random(5);
  for_every_activation([&](const auto& rho) {
    using Rho = std::decay_t<decltype(rho)>;
    if constexpr (!std::same_as<Rho, Clip>) {
      constexpr double h = 1e-30;  // complex step: the derivative along the imaginary axis
      const double x = 2 * random.symmetric();
      EXPECT_NEAR(rho.value(Complex(x, h)).imag() / h, rho.value(D(x, 1)).derivative, rounding);
      EXPECT_NEAR(std::abs(rho.inverse(rho.value(Complex(x, 0.3))) - Complex(x, 0.3)), 0,
                  10 * rounding);
    }
  });
}

TEST(Activation, OnlyABindingClipIsNotHolomorphic) {
  for (const auto& [name, activation] : activations())
    EXPECT_EQ(holomorphic(activation), name == "tanh" || name == "sigmoid" || name == "logistic" ||
                                           name == "softplus" || name == "linear")
        << name;
}

TEST(Clip, IsTheClippedLine) {
  Random random(6);
  for (const Clip rho : {Clip{1, 0, 1}, Clip{0.5, 0, 1}, Clip{2, -3, 0.5}, Clip{1, 0, infinity},
                         Clip{1, -infinity, infinity}})
    for (int trial = 0; trial < 50; ++trial) {
      const double x = 4 * random.symmetric();
      const double r = std::min(std::max(rho.gain * x, rho.lower), rho.upper);
      EXPECT_EQ(rho.value(x), r);
      EXPECT_EQ(rho.slope(r), r > rho.lower && r < rho.upper ? rho.gain : 0);
    }
}

TEST(Clip, IsFlatAtItsBoundsAndClampsAScaledState) {
  const Clip rho{0.5, 0, 1};
  EXPECT_EQ(rho.slope(0.0), 0);
  EXPECT_EQ(rho.slope(1.0), 0);
  EXPECT_EQ(rho.clamp(3.0, rho.gain), 2);
  EXPECT_EQ(rho.clamp(1.5, rho.gain), 1.5);
  EXPECT_TRUE(rho.bounded());
  EXPECT_TRUE((Clip{1, 0, infinity}.bounded()));
  EXPECT_FALSE((Clip{1, -infinity, infinity}.bounded()));
}

TEST(Clip, KeepsTheDerivativeInsideAndDropsItOutside) {
  const Clip rho{1, 0, 1};
  EXPECT_EQ(rho.value(D(0.5, 3)), D(0.5, 3));
  EXPECT_EQ(rho.value(D(2, 3)), D(1, 0));
  EXPECT_EQ(rho.value(D(-2, 3)), D(0, 0));
}

TEST(Clip, PassesNaNOn) {
  EXPECT_TRUE(std::isnan((Clip{1, 0, 1}.value(std::nan("")))));
}

template <class S>
void check_activate(const std::string& name, const Activation& activation, double tolerance) {
  Random random(7);
  for (const auto& [rows, columns] :
       std::vector<std::pair<Index, Index>>{{1, 1}, {7, 3}, {33, 2}, {4, 0}}) {
    const State<double> wide = random_state(random, rows, columns, 3);
    const State<S> x = wide.cast<S>();
    State<S> out(rows, columns), in_place = x;
    activate<S>(activation, x, out);
    activate<S>(activation, in_place, in_place);
    for (Index i = 0; i < x.size(); ++i) {
      const S expected = std::visit([&](const auto& rho) { return rho.value(x(i)); }, activation);
      EXPECT_LE(magnitude(S(out(i) - expected)), tolerance) << name;
      EXPECT_EQ(out(i), in_place(i)) << name;
    }
  }
}

TEST(Activate, IsTheValueOfEachEntry) {
  for (const auto& [name, activation] : activations()) {
    check_activate<float>(name, activation, 1e-6);
    check_activate<double>(name, activation, 1e-15);
    check_activate<D>(name, activation, 1e-15);
    if (holomorphic(activation)) check_activate<Complex>(name, activation, 1e-15);
  }
}

TEST(Logistic, RefusesAGainThatIsNotPositive) {
  EXPECT_THROW(logistic(0, 0), InvalidArgument);
  EXPECT_THROW(logistic(-1, 0), InvalidArgument);
  EXPECT_THROW(logistic(infinity, 0), InvalidArgument);
  EXPECT_THROW(logistic(1, std::nan("")), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
