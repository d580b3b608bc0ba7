/// Properties of conjugate gradients: at most n steps, and detection of negative curvature.

#include "linear/systems.hpp"

namespace equiprop::tests {
namespace {

TEST(ConjugateGradient, NeedsAtMostOneStepPerFreeUnit) {
  Random random(1);
  for (const Index size : {1, 2, 5, 9}) {
    DenseSystem dense(size, 3);
    fill_random(dense, random);
    State<double> x(size, 3);
    const Report report = ConjugateGradient{{1e-12, 1000}}.solve<double>(dense.system(), x);
    for (Index j = 0; j < 3; ++j)
      EXPECT_LE(report.iterations(j), (dense.diagonal.col(j).array() != 0).count());
  }
}

TEST(ConjugateGradient, NeedsOneStepPerDistinctEigenvalue) {
  Random random(2);
  DenseSystem dense(30, 1);
  fill_random(dense, random);
  dense.diagonal.setOnes();
  State<double> spectrum(30, 1);
  for (Index i = 0; i < 30; ++i) spectrum(i) = 1 + static_cast<double>(i % 3);
  dense.matrices[0] = random_symmetric(random, spectrum);
  State<double> x(30, 1);
  const Report report = ConjugateGradient{{1e-12, 1000}}.solve<double>(dense.system(), x);
  EXPECT_EQ(report.iterations(0), 3);
  expect_close(x, dense.solution(), rounding, "x");
}

TEST(ConjugateGradient, SeesNegativeAndZeroCurvature) {
  Random random(3);
  DenseSystem dense(6, 3);
  fill_random(dense, random);
  dense.diagonal.setOnes();
  const State<double> expected = dense.solution();
  dense.matrices[0] = random_symmetric(random, 6, -1.5, -0.5);
  dense.matrices[1].setZero();
  State<double> x(6, 3);
  const Report report = ConjugateGradient{}.solve<double>(dense.system(), x);
  EXPECT_EQ(report.status(0), Status::indefinite);
  EXPECT_EQ(report.status(1), Status::indefinite);
  EXPECT_EQ(report.status(2), Status::converged);
  EXPECT_TRUE(x.allFinite());
  expect_close(x.col(2), expected.col(2), 1e-9, "the definite sample");
}

TEST(ConjugateGradient, SeesOneNegativeEigenvalueAmongMany) {
  Random random(4);
  for (int trial = 0; trial < 20; ++trial) {
    DenseSystem dense(8, 1);
    fill_random(dense, random);
    dense.diagonal.setOnes();
    State<double> spectrum = random_state(random, 8, 1).array() + 2;
    spectrum(3) = -0.5;
    dense.matrices[0] = random_symmetric(random, spectrum);
    State<double> x(8, 1);
    const Report report = ConjugateGradient{{1e-12, 100}}.solve<double>(dense.system(), x);
    EXPECT_EQ(report.status(0), Status::indefinite);
  }
}

TEST(ConjugateGradient, DoesNotSeeTheCurvatureOfHeldUnits) {
  Random random(5);
  DenseSystem dense(2, 1);
  fill_random(dense, random);
  dense.matrices[0] = State<double>{{1.0, 0.3}, {0.3, -5.0}};
  dense.diagonal = State<double>{{1.0}, {0.0}};
  State<double> x(2, 1);
  const Report report = ConjugateGradient{}.solve<double>(dense.system(), x);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_DOUBLE_EQ(x(0), dense.b(0));
  EXPECT_EQ(x(1), 0);
}

/// A converged sample does not change while the iteration of the others continues.
TEST(ConjugateGradient, FreezesFinishedSamples) {
  Random random(6);
  DenseSystem dense(12, 2);
  fill_random(dense, random);
  dense.diagonal.setOnes();
  dense.matrices[0] = State<double>::Identity(12, 12);
  State<double> x(12, 2);
  const Report report = ConjugateGradient{{1e-13, 100}}.solve<double>(dense.system(), x);
  EXPECT_EQ(report.iterations(0), 1);
  EXPECT_GT(report.iterations(1), 1);
  expect_identical(x.col(0), dense.b.col(0), "A = 1");
}

/// In single precision the squares of small numbers underflow although the numbers do not.
TEST(ConjugateGradient, SolvesTinySystemsInFloat) {
  const LinearOperator<float> twice = [](const ConstStateRef<float>& v, StateRef<float> out) {
    out = 2 * v;
  };
  const State<float> diagonal = State<float>::Ones(2, 1);
  const State<float> b{{1e-26f}, {-3e-30f}};
  State<float> x(2, 1);
  const Report report =
      ConjugateGradient{}.solve<float>(LinearSystem<float>{twice, diagonal, b}, x);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_FLOAT_EQ(x(0), 0.5e-26f);
}

}  // namespace
}  // namespace equiprop::tests
