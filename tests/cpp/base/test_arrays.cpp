/// The inner product and the distance that all convergence tests use.

#include "support.hpp"

namespace equiprop::tests {
namespace {

TEST(Inner, IsTheSumOverUnitsOfEachSample) {
  Random random(1);
  for (const auto& [rows, columns] :
       std::vector<std::pair<Index, Index>>{{1, 1}, {7, 3}, {0, 2}, {4, 0}}) {
    const State<double> a = random_state(random, rows, columns);
    const State<double> b = random_state(random, rows, columns);
    const PerSample<double> actual = inner<double>(a, b);
    ASSERT_EQ(actual.size(), columns);
    for (Index j = 0; j < columns; ++j) {
      double expected = 0;
      for (Index i = 0; i < rows; ++i) expected += a(i, j) * b(i, j);
      EXPECT_NEAR(actual(j), expected, rounding);
    }
  }
}

TEST(Inner, DoesNotConjugate) {
  const State<Complex> i = State<Complex>::Constant(1, 1, Complex(0, 1));
  EXPECT_EQ(inner<Complex>(i, i)(0), Complex(-1, 0));
}

TEST(Inner, DifferentiatesBothFactors) {
  const State<D> a = State<D>::Constant(1, 1, D(2, 3)), b = State<D>::Constant(1, 1, D(5, 7));
  EXPECT_EQ(inner<D>(a, b)(0), D(10, 3 * 5 + 2 * 7));
}

template <class S>
PerSample<RealOf<S>> distance(const State<S>& a, const State<S>& b) {
  PerSample<RealOf<S>> out(a.cols());
  max_difference<S>(a, b, out);
  return out;
}

TEST(MaxDifference, IsTheLargestOfEachSample) {
  Random random(2);
  const State<double> a = random_state(random, 37, 3), b = random_state(random, 37, 3);
  for (Index j = 0; j < 3; ++j) {
    double expected = 0;
    for (Index i = 0; i < 37; ++i) expected = std::max(expected, std::abs(a(i, j) - b(i, j)));
    EXPECT_EQ(distance(a, b)(j), expected);
  }
  EXPECT_EQ(distance<double>(State<double>(0, 2), State<double>(0, 2))(1), 0) << "no units";
}

/// A NaN is found at every position: a vectorised maximum that drops NaN would report a broken state as converged.
template <class S>
void check_nan(const S& broken) {
  for (Index units = 1; units < 20; ++units)
    for (Index i = 0; i < units; ++i) {
      State<S> a = State<S>::Ones(units, 2);
      const State<S> b = State<S>::Zero(units, 2);
      a(i, 1) = broken;
      const auto out = distance<S>(a, b);
      EXPECT_EQ(out(0), 1);
      EXPECT_TRUE(std::isnan(out(1))) << "entry " << i << " of " << units;
    }
}

TEST(MaxDifference, IsNaNIfAnyEntryIs) {
  const double nan = std::nan("");
  check_nan<float>(std::nanf(""));
  check_nan<double>(nan);
  check_nan<Complex>(Complex(nan, 0));
  check_nan<D>(D(nan, 0));
  check_nan<D>(D(1, nan));
}

TEST(MaxDifference, OfDualsWatchesDerivatives) {
  const State<D> a = State<D>::Constant(1, 1, D(1, 5)), b = State<D>::Constant(1, 1, D(0, 1));
  EXPECT_EQ(distance(a, b)(0), 4);
}

}  // namespace
}  // namespace equiprop::tests
