/// The units of one layer: bounds, rest state and errors, which the derivative laws do not test.

#include "support.hpp"

namespace equiprop::tests {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
const State<double> zero = State<double>::Zero(1, 1), one = State<double>::Ones(1, 1);

State<double> respond(const Units& units, double drive, double force, double stiffness,
                      double old = 0) {
  const State<double> p = State<double>::Constant(1, 1, drive);
  const State<double> f = State<double>::Constant(1, 1, force);
  State<double> s = State<double>::Constant(1, 1, old), u(1, 1);
  units.signal<double>(s, u);
  units.respond<double>(p, u, &f, stiffness, s);
  return s;
}

double mobility(const Units& units, double drive) {
  State<double> out(1, 1);
  units.mobility<double>(State<double>::Constant(1, 1, drive), out);
  return out(0);
}

TEST(Units, MobilityIsJudgedBeforeClipping) {
  for (const auto potential : {Potential::legendre, Potential::quadratic}) {
    const Units units(hard_sigmoid(), potential);
    EXPECT_EQ(mobility(units, 0.5), 1);
    EXPECT_EQ(mobility(units, -0.5), 0);
    EXPECT_EQ(mobility(units, 1.5), 0);
  }
  EXPECT_EQ(mobility(Units(half_hard_sigmoid(), Potential::legendre), 0.5), 0.5);
  EXPECT_EQ(mobility(Units(half_hard_sigmoid(), Potential::quadratic), 0.5), 1);
}

/// The mobility is also right where the drive is outside rho's bounds but the state is inside its box, which is wider.
TEST(Units, MobilityIsTheDerivativeOfTheResponseToAForce) {
  for (const auto potential : {Potential::legendre, Potential::quadratic})
    for (const auto& [name, activation] : activations()) {
      const Units units(activation, potential);
      for (double drive = -4.95; drive < 5; drive += 0.3) {
        const State<D> p = State<D>::Constant(1, 1, D(drive)), force = dual(zero, one);
        State<D> s = dual(zero, zero), u = s;
        units.signal<D>(s, u);
        units.respond<D>(p, u, &force, D(0), s);
        EXPECT_NEAR(mobility(units, drive), s(0).derivative, rounding) << name << ", " << drive;
      }
    }
}

/// `respond` minimises leak - drive signal - force s + stiffness s^2 / 2: no state nearby has a lower value.
TEST(Units, ResponseInABoxMinimises) {
  Random random(1);
  for (const auto potential : {Potential::legendre, Potential::quadratic})
    for (const Clip box : {Clip{1, 0, 1}, Clip{0.5, 0, 1}, Clip{2, -1, infinity}}) {
      const Units units(box, potential);
      const bool legendre = potential == Potential::legendre;
      const double divisor = legendre ? 1 : box.gain;
      const double drive = random.symmetric(), force = random.symmetric(), stiffness = 0.4;
      const auto objective = [&](double s) {
        const double leak = legendre ? box.potential(s) : s * s / 2;
        return leak - drive * units.signal_gain() * s - force * s + stiffness * s * s / 2;
      };
      const double best = respond(units, drive, force, stiffness)(0);
      EXPECT_GE(best, box.lower / divisor);
      EXPECT_LE(best, box.upper / divisor);
      for (const double step : {-0.3, -1e-3, 1e-3, 0.3}) {
        const double other = std::clamp(best + step, box.lower / divisor, box.upper / divisor);
        EXPECT_LE(objective(best), objective(other) + 1e-15);
      }
    }
}

TEST(Units, RefuseNudgingThatIsNotConvex) {
  const Units plain(hard_sigmoid(), Potential::legendre);
  EXPECT_NO_THROW(respond(plain, 0, 0, -0.99));
  EXPECT_THROW(respond(plain, 0, 0, -1), InvalidArgument);
  // The Legendre leak s^2 / (2 gain) has a larger curvature for a smaller gain.
  const Units half(half_hard_sigmoid(), Potential::legendre);
  EXPECT_NO_THROW(respond(half, 0, 0, -1.9));
  EXPECT_THROW(respond(half, 0, 0, -2), InvalidArgument);
  EXPECT_THROW(respond(Units(half_hard_sigmoid(), Potential::quadratic), 0, 0, -1),
               InvalidArgument);
}

TEST(Units, AForceOnACurvedLeakIsTakenAtTheOldState) {
  const Units legendre(tanh_activation(), Potential::legendre);
  EXPECT_NEAR(respond(legendre, 0.3, 0.2, 0.5, 0.4)(0), std::tanh(0.3 + 0.2 - 0.5 * 0.4), rounding);
  const Units quadratic(tanh_activation(), Potential::quadratic);
  const double t = std::tanh(0.4);
  EXPECT_NEAR(respond(quadratic, 0.3, 0.2, 0.5, 0.4)(0), (1 - t * t) * 0.3 + 0.2 - 0.5 * 0.4,
              rounding);
}

template <class S>
struct Saturating {
  explicit Saturating(const Activation& activation) : units(activation, Potential::legendre) {}

  S mobility(S drive) const {
    State<S> out(1, 1);
    units.template mobility<S>(State<S>::Constant(1, 1, drive), out);
    return out(0);
  }
  S state(S drive) const {
    State<S> s = State<S>::Zero(1, 1), p = State<S>::Constant(1, 1, drive);
    units.template respond<S>(p, s, nullptr, S(0), s);
    return s(0);
  }
  S curvature(S state) const {
    State<S> out(1, 1);
    units.template leak_curvature<S>(State<S>::Constant(1, 1, state), out);
    return out(0);
  }
  /// Checks that D leak'' is at most about 1 from the middle of rho's range to the argument at which rho rounds to an
  /// end of the range, and that D is 0 there, where leak'' is bounded.
  void check(S end) const {
    const S most = 1 / (4 * std::numeric_limits<S>::epsilon());
    for (int i = 0; i <= 400; ++i) {
      const S drive = end * static_cast<S>(i) / 400, bend = curvature(state(drive));
      EXPECT_LE(bend, most) << drive;
      EXPECT_LT(mobility(drive) * bend, 1.9) << drive;  // the side network is stable
      EXPECT_GE(mobility(drive), 0) << drive;
    }
    EXPECT_EQ(mobility(end), 0);
    EXPECT_GT(curvature(state(end)), most / 10);
  }
  Units units;
};

template <class S>
void check_saturation() {
  for (const S end : {S(-40), S(40)}) {
    Saturating<S>(tanh_activation()).check(end);
    Saturating<S>(sigmoid()).check(2 * end);
    Saturating<S>(logistic(4, 0.5)).check(end);
  }
  Saturating<S>(softplus()).check(S(-80));
}

TEST(Units, ASaturatedUnitIsHeldAndItsLeakIsBounded) {
  check_saturation<double>();
  check_saturation<float>();
}

TEST(Units, NaNIsNotASaturatedState) {
  EXPECT_TRUE(std::isnan(Saturating<double>(tanh_activation()).mobility(std::nan(""))));
  EXPECT_TRUE(std::isnan(Saturating<double>(tanh_activation()).curvature(std::nan(""))));
}

TEST(Units, RestInsideTheirBox) {
  const auto rest = [](const Activation& activation, Potential potential) {
    State<double> s(1, 1);
    Units(activation, potential).rest<double>(s);
    return s(0);
  };
  EXPECT_EQ(rest(Clip{1, 0.25, 1}, Potential::quadratic), 0.25);
  EXPECT_EQ(rest(Clip{1, 0.25, 1}, Potential::legendre), 0.25);
  EXPECT_EQ(rest(Clip{0.5, 0.25, 1}, Potential::quadratic), 0.5);
  EXPECT_EQ(rest(sigmoid(), Potential::legendre), 0.5);
  EXPECT_EQ(rest(sigmoid(), Potential::quadratic), 0);
}

}  // namespace
}  // namespace equiprop::tests
