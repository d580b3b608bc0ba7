/// Costs against their formulas and against dual numbers.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Returns targets that sum to one in each column, like probabilities.
State<double> random_distribution(Random& random, Index rows, Index columns) {
  State<double> y = random_state(random, rows, columns).array() + 1.01;
  for (Index j = 0; j < columns; ++j) y.col(j) /= y.col(j).sum();
  return y;
}

const std::vector<std::pair<Index, Index>> shapes = {{1, 1}, {2, 1}, {5, 3}, {10, 7}, {3, 0}};

PerSample<double> values(const AnyCost<double>& cost, const State<double>& o) {
  PerSample<double> out(o.cols());
  cost.value(o, out);
  return out;
}

State<double> gradient(const AnyCost<double>& cost, const State<double>& o) {
  State<double> out(o.rows(), o.cols());
  cost.gradient(o, out);
  return out;
}

TEST(SquaredError, ObeysTheLawsAndItsFormula) {
  Random random(1);
  for (const auto& [rows, columns] : shapes) {
    const State<double> o = random_state(random, rows, columns);
    const State<double> y = random_state(random, rows, columns);
    check_cost(SquaredError<double>(y), SquaredError<D>(y.cast<D>()), o);
    const PerSample<double> actual = values(SquaredError<double>(y), o);
    for (Index j = 0; j < columns; ++j)
      EXPECT_NEAR(actual(j), (o.col(j) - y.col(j)).squaredNorm() / 2, rounding);
  }
}

TEST(CrossEntropy, ObeysTheLawsAndItsFormula) {
  Random random(2);
  for (const auto& [rows, columns] : shapes) {
    const State<double> o = random_state(random, rows, columns, 3);
    const State<double> y = random_distribution(random, rows, columns);
    check_cost(CrossEntropy<double>(y), CrossEntropy<D>(y.cast<D>()), o);
    const PerSample<double> actual = values(CrossEntropy<double>(y), o);
    for (Index j = 0; j < columns; ++j) {
      const State<double> p = o.col(j).array().exp() / o.col(j).array().exp().sum();
      EXPECT_NEAR(actual(j), -(y.col(j).array() * p.array().log()).sum(), rounding);
    }
  }
}

TEST(CrossEntropy, OfALogitScaleIsThatOfScaledOutputs) {
  Random random(7);
  for (const auto& [rows, columns] : shapes)
    for (const double scale : {0.5, 4.0}) {
      const State<double> o = random_state(random, rows, columns, 2);
      const State<double> y = random_distribution(random, rows, columns);
      const CrossEntropy<double> cost(y, scale), plain(y);
      check_cost(cost, CrossEntropy<D>(y.cast<D>(), scale), o);
      expect_close(values(cost, o).matrix(), values(plain, scale * o).matrix(), 10 * rounding,
                   "value");
      expect_close(gradient(cost, o), scale * gradient(plain, scale * o), 10 * rounding,
                   "gradient");
      EXPECT_DOUBLE_EQ(cost.stiffness(), scale * scale * plain.stiffness());
    }
  for (const double wrong : {0.0, -1.0, std::numeric_limits<double>::infinity()})
    EXPECT_THROW(CrossEntropy<double>(State<double>::Ones(2, 1), wrong), InvalidArgument);
}

TEST(CrossEntropy, IsStableForHugeLogits) {
  const State<double> y{{0.0}, {1.0}, {0.0}};
  const State<double> o{{1e3}, {-1e3}, {0.0}};
  const CrossEntropy<double> cost(y);
  EXPECT_NEAR(values(cost, o)(0), 2000, 2000 * rounding);
  expect_close(gradient(cost, o), State<double>{{1.0}, {-1.0}, {0.0}}, rounding, "p - y");
  const State<float> float_o = o.cast<float>();
  PerSample<float> out(1);
  CrossEntropy<float>(y.cast<float>()).value(float_o, out);
  EXPECT_FLOAT_EQ(out(0), 2000);
}

TEST(CrossEntropy, DoesNotSeeACommonShiftOfTheLogits) {
  Random random(3);
  const State<double> o = random_state(random, 4, 5), y = random_distribution(random, 4, 5);
  const CrossEntropy<double> cost(y);
  const State<double> shifted = o.array() + 1e3;
  const double lost = 1e3 * rounding;  // the logits are rounded when they are shifted
  expect_close(values(cost, shifted).matrix(), values(cost, o).matrix(), lost, "value");
  expect_close(gradient(cost, shifted), gradient(cost, o), lost, "gradient");
}

/// Both costs are holomorphic, as complex nudging requires: dC along i h is i h dC/do.
template <template <class> class C>
void check_complex_step(const State<double>& y, const State<double>& o, const State<double>& v) {
  constexpr double h = 1e-30;
  const State<Complex> moved = o.cast<Complex>() + Complex(0, h) * v.cast<Complex>();
  PerSample<Complex> along(o.cols());
  C<Complex>(y.cast<Complex>()).value(moved, along);
  const PerSample<double> expected = inner<double>(v, gradient(C<double>(y), o));
  expect_close(along.imag().matrix() / h, expected.matrix(), rounding, "complex step");
}

TEST(Costs, AreHolomorphic) {
  Random random(4);
  const State<double> o = random_state(random, 4, 3), v = random_state(random, 4, 3);
  const State<double> y = random_distribution(random, 4, 3);
  check_complex_step<SquaredError>(y, o, v);
  check_complex_step<CrossEntropy>(y, o, v);
}

TEST(Costs, SamplesOfSamplesCountFromTheFirst) {
  Random random(5);
  const State<double> o = random_state(random, 3, 9), y = random_distribution(random, 3, 9);
  for (const AnyCost<double>& cost :
       {AnyCost<double>(SquaredError<double>(y)), AnyCost<double>(CrossEntropy<double>(y))}) {
    const AnyCost<double> part = cost.samples(2, 6).samples(1, 4);
    expect_identical(gradient(part, o.middleCols(3, 4)), gradient(cost, o).middleCols(3, 4),
                     "gradient of samples 3 to 6");
    EXPECT_EQ(part.num_rows(), 3);
  }
}

TEST(CostGradient, IsZeroOffTheOutputs) {
  Random random(6);
  const State<double> s = random_state(random, 7, 2), y = random_state(random, 3, 2);
  State<double> out = State<double>::Constant(7, 2, 5);
  cost_gradient<double>(SquaredError<double>(y), s, out);
  State<double> expected = State<double>::Zero(7, 2);
  expected.bottomRows(3) = s.bottomRows(3) - y;
  expect_identical(out, expected, "dC/ds");
}

}  // namespace
}  // namespace equiprop::tests
