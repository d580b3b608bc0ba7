/// Dual numbers agree with the rules of differentiation and with complex steps.

#include "support.hpp"

namespace equiprop::tests {
namespace {

constexpr double h = 1e-30;  // a complex step: no truncation error, no cancellation

D random_dual(Random& random) {
  return {2 * random.symmetric(), random.symmetric()};
}
Complex step_of(const D& a) {
  return {a.value, h * a.derivative};
}
void expect_step(const D& actual, const Complex& expected) {
  EXPECT_NEAR(actual.value, expected.real(), rounding * (1 + std::abs(expected.real())));
  const double derivative = expected.imag() / h;
  EXPECT_NEAR(actual.derivative, derivative, rounding * (1 + std::abs(derivative)));
}

TEST(Dual, ArithmeticIsThatOfComplexSteps) {
  Random random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const D a = random_dual(random);
    D b = random_dual(random);
    if (std::abs(b.value) < 0.1) b.value += 0.5;  // keeps the quotient well conditioned
    expect_step(a + b, step_of(a) + step_of(b));
    expect_step(a - b, step_of(a) - step_of(b));
    expect_step(a * b, step_of(a) * step_of(b));
    expect_step(a / b, step_of(a) / step_of(b));
    expect_step(-a, -step_of(a));
  }
}

TEST(Dual, FunctionsAreThoseOfComplexSteps) {
  Random random(2);
  for (int trial = 0; trial < 200; ++trial) {
    const D a = random_dual(random);
    expect_step(tanh(a), std::tanh(step_of(a)));
    expect_step(exp(a), std::exp(step_of(a)));
    const D positive(std::abs(a.value) + 0.1, a.derivative);
    expect_step(log(positive), std::log(step_of(positive)));
  }
}

/// Functions agree with central differences too, which do not use complex numbers.
TEST(Dual, FunctionsAgreeWithCentralDifferences) {
  const double step = 1e-5;  // error step^2 / 6 + eps / step, about 2e-11
  for (const double x : {-1.5, -0.2, 0.0, 0.7, 2.0}) {
    EXPECT_NEAR(tanh(D(x, 1)).derivative, (std::tanh(x + step) - std::tanh(x - step)) / (2 * step),
                1e-9);
    EXPECT_NEAR(exp(D(x, 1)).derivative, (std::exp(x + step) - std::exp(x - step)) / (2 * step),
                1e-8);
  }
}

TEST(Dual, ObeysTheProductAndQuotientRules) {
  Random random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const D a = random_dual(random);
    D b = random_dual(random);
    b.value += b.value < 0 ? -1 : 1;
    EXPECT_NEAR((a * b).derivative, a.derivative * b.value + a.value * b.derivative, rounding);
    EXPECT_NEAR((a / b).derivative,
                (a.derivative * b.value - a.value * b.derivative) / (b.value * b.value), rounding);
    EXPECT_NEAR(((a / b) * b).derivative, a.derivative, rounding);
    EXPECT_NEAR(log(exp(a)).derivative, a.derivative, rounding);
  }
}

TEST(Dual, CompoundAssignmentIsItsOperator) {
  Random random(4);
  const D a = random_dual(random), b = random_dual(random);
  D c = a;
  EXPECT_EQ(c += b, a + b);
  EXPECT_EQ((c = a) -= b, a - b);
  EXPECT_EQ((c = a) *= b, a * b);
  EXPECT_EQ((c = a) /= b, a / b);
  c = a;
  c *= c;  // the operand is also the target
  EXPECT_EQ(c, a * a);
}

TEST(Dual, NumbersAreConstants) {
  EXPECT_EQ(D(3), D(3.0, 0));
  EXPECT_EQ(D(3.0f), D(3.0, 0));
  EXPECT_EQ(D(), D(0, 0));
  EXPECT_NE(D(1, 1), D(1, 0));
}

TEST(Dual, MagnitudeWatchesBothParts) {
  EXPECT_EQ(magnitude(D(-3, 1)), 3);
  EXPECT_EQ(magnitude(D(1, -3)), 3);
  EXPECT_TRUE(std::isnan(magnitude(D(1, std::nan("")))));
  EXPECT_TRUE(std::isnan(magnitude(D(std::nan(""), 1))));
  EXPECT_EQ(real_part(D(-3, 1)), -3);
}

TEST(Scalar, DefaultToleranceIsTwoThirdsOfTheDigits) {
  EXPECT_NEAR(std::pow(default_tolerance<double>(), 1.5), std::numeric_limits<double>::epsilon(),
              1e-25);
  EXPECT_NEAR(std::pow(default_tolerance<float>(), 1.5f), std::numeric_limits<float>::epsilon(),
              1e-12f);
  EXPECT_EQ(default_tolerance<D>(), default_tolerance<double>());
  EXPECT_EQ(default_tolerance<Complex>(), default_tolerance<double>());
}

}  // namespace
}  // namespace equiprop::tests
