/// The iterates of Richardson and the Neumann series, term by term.

#include "linear/systems.hpp"

namespace equiprop::tests {
namespace {

TEST(Richardson, IteratesAreItsFormula) {
  Random random(1);
  DenseSystem dense(6, 2);
  fill_random(dense, random);
  State<double> expected = State<double>::Zero(6, 2), x(6, 2);
  for (Index steps = 0; steps < 12; ++steps) {
    const Report report = Richardson{{0.0, steps}, 0.7}.solve<double>(dense.system(), x);
    expect_close(x, expected, rounding, "x after some steps");
    EXPECT_TRUE((report.status == Status::fixed_steps).all());
    expected += 0.7 * residual(dense, expected);
  }
}

TEST(Neumann, IteratesArePartialSums) {
  Random random(2);
  DenseSystem dense(6, 1);
  fill_random(dense, random);
  const State<double> map = State<double>::Identity(6, 6) -
                            State<double>(dense.diagonal.col(0).asDiagonal() * dense.matrices[0]);
  State<double> term = dense.diagonal.cwiseProduct(dense.b), sum = State<double>::Zero(6, 1);
  State<double> x(6, 1);
  for (Index terms = 0; terms < 12; ++terms) {
    Neumann{{0.0, terms}}.solve<double>(dense.system(), x);
    expect_close(x, sum, rounding, "sum of the first terms");
    sum += term;
    term = map * term;
  }
}

TEST(Richardson, ReportsDivergence) {
  Random random(3);
  DenseSystem dense(6, 3);
  fill_random(dense, random);
  dense.diagonal.setOnes();
  const State<double> expected = dense.solution();
  dense.matrices[1] *= -1;
  dense.matrices[2] *= 50;  // the step size is then too large
  for (const std::optional<double> tolerance : {std::optional<double>{}, {0.0}}) {
    State<double> x(6, 3);
    const Report report = solve<double>(Richardson{{tolerance, 100000}, 0.9}, dense.system(), x);
    EXPECT_LE(report.status(0), Status::fixed_steps);
    EXPECT_EQ(report.status(1), Status::diverged);
    EXPECT_EQ(report.status(2), Status::diverged);
    EXPECT_LT(report.iterations.tail(2).maxCoeff(), 100000);
    expect_close(x.col(0), expected.col(0), 1e-9, "the stable sample");
  }
}

TEST(Richardson, RefusesAStepThatIsNotPositive) {
  DenseSystem dense(1, 1);
  State<double> x(1, 1);
  for (const double step_size : {0.0, -1.0, std::nan(""), HUGE_VAL})
    EXPECT_THROW((Richardson{{}, step_size}.solve<double>(dense.system(), x)), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
