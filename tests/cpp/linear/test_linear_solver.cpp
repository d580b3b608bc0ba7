/// Laws of all linear solvers.

#include "linear/systems.hpp"

namespace equiprop::tests {
namespace {

/// Returns all solvers with one stopping rule.
std::vector<LinearSolver> every_solver(std::optional<double> tolerance, Index max_iterations) {
  const StoppingRule rule{tolerance, max_iterations};
  return {ConjugateGradient{rule}, Richardson{rule, 0.9}, Neumann{rule}, GMRES{rule}};
}

std::string name(const LinearSolver& solver) {
  return std::vector<std::string>{"ConjugateGradient", "Richardson", "Neumann",
                                  "GMRES"}[solver.index()];
}

TEST(LinearSolvers, FindTheDenseSolutionOnTheFreeUnits) {
  Random random(1);
  for (const Index size : {1, 2, 7, 31})
    for (const Index batch : {1, 3, 0})
      for (const auto& solver : every_solver(1e-14, 5000)) {
        SCOPED_TRACE(name(solver));
        DenseSystem dense(size, batch);
        fill_random(dense, random);
        State<double> x = State<double>::Constant(size, batch, 99);  // the start x must not matter
        const Report report = solve<double>(solver, dense.system(), x);
        EXPECT_TRUE((report.status == Status::converged).all());
        expect_close(x, dense.solution(), rounding, "x");
        EXPECT_TRUE((dense.diagonal.array() != 0 || x.array() == 0).all()) << "held units moved";
      }
}

TEST(LinearSolvers, ReportTheRelativeResidualOfWhatTheyReturn) {
  Random random(2);
  for (const auto& solver : every_solver(1e-3, 1000)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(9, 4);
    fill_random(dense, random);
    State<double> x(9, 4);
    const Report report = solve<double>(solver, dense.system(), x);
    const State<double> left = residual(dense, x);
    const State<double> scale = dense.diagonal.cwiseProduct(dense.b);
    for (Index j = 0; j < 4; ++j) {
      const double expected =
          left.col(j).cwiseAbs().maxCoeff() / scale.col(j).cwiseAbs().maxCoeff();
      EXPECT_NEAR(report.residual(j), expected, rounding);
      EXPECT_LE(expected, 1e-3 + rounding);
      EXPECT_EQ(report.status(j), Status::converged);
    }
  }
}

TEST(LinearSolvers, AnswerZeroToZero) {
  Random random(3);
  for (const auto& solver : every_solver({}, 100)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(5, 2);
    fill_random(dense, random);
    dense.b.setZero();
    State<double> x(5, 2);
    const Report report = solve<double>(solver, dense.system(), x);
    EXPECT_TRUE((report.status == Status::converged).all());
    EXPECT_TRUE((x.array() == 0).all());
    EXPECT_TRUE((report.residual == 0).all());
  }
}

TEST(LinearSolvers, DoNotMindTheScaleOfTheRightSide) {
  Random random(4);
  for (const double scale : {1e-200, 1e-8, 1e200})
    for (const auto& solver : every_solver(1e-13, 5000)) {
      SCOPED_TRACE(name(solver));
      DenseSystem dense(6, 2);
      fill_random(dense, random);
      const State<double> expected = dense.solution();
      dense.b *= scale;
      State<double> x(6, 2);
      const Report report = solve<double>(solver, dense.system(), x);
      EXPECT_TRUE((report.status == Status::converged).all());
      expect_close(x / scale, expected, rounding, "x / scale");
    }
}

TEST(LinearSolvers, StopAtTheIterationLimit) {
  Random random(5);
  for (const auto& solver : every_solver(1e-14, 2)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(20, 3);
    fill_random(dense, random, 0.01, 1.7);
    State<double> x(20, 3);
    const Report report = solve<double>(solver, dense.system(), x);
    EXPECT_TRUE((report.status == Status::max_iterations).all());
    EXPECT_TRUE((report.iterations == 2).all());
  }
}

TEST(LinearSolvers, RunAFixedNumberOfSteps) {
  Random random(6);
  for (const Index steps : {0, 1, 3})
    for (const auto& solver : every_solver(0, steps)) {
      SCOPED_TRACE(name(solver));
      DenseSystem dense(20, 3);
      fill_random(dense, random);
      State<double> x(20, 3);
      const Report report = solve<double>(solver, dense.system(), x);
      EXPECT_TRUE((report.status == Status::fixed_steps).all());
      EXPECT_TRUE((report.iterations == steps).all());
    }
}

/// Steps after the exact solution change nothing and do not change the status.
TEST(LinearSolvers, FixedStepsMayBeMoreThanNeeded) {
  Random random(7);
  for (const auto& solver : every_solver(0, 3000)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(4, 3);
    fill_random(dense, random);
    State<double> x(4, 3);
    const Report report = solve<double>(solver, dense.system(), x);
    EXPECT_TRUE((report.status <= Status::fixed_steps).all());
    expect_close(x, dense.solution(), rounding, "x");
  }
}

TEST(LinearSolvers, ASampleDoesNotSeeItsBatchMates) {
  Random random(8);
  for (const auto& solver : every_solver(1e-10, 1000)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(11, 5);
    fill_random(dense, random);
    State<double> before(11, 5), after(11, 5);
    const Report first = solve<double>(solver, dense.system(), before);
    for (const Index mate : {0, 1, 3, 4}) {  // some are harder, some have no solution
      dense.b.col(mate) *= 1e3 * random.uniform();
      dense.matrices[static_cast<std::size_t>(mate)] *= mate == 3 ? -1 : 0.2;
    }
    const Report second = solve<double>(solver, dense.system(), after);
    expect_identical(after.col(2), before.col(2), "sample 2");
    EXPECT_EQ(first.iterations(2), second.iterations(2));
  }
}

TEST(LinearSolvers, ReportNaNAsDivergence) {
  Random random(9);
  for (const auto& solver : every_solver({}, 1000)) {
    SCOPED_TRACE(name(solver));
    DenseSystem dense(3, 2);
    fill_random(dense, random);
    dense.diagonal.setOnes();
    dense.b(1, 1) = std::nan("");
    State<double> x(3, 2);
    const Report report = solve<double>(solver, dense.system(), x);
    EXPECT_EQ(report.status(0), Status::converged);
    EXPECT_EQ(report.status(1), Status::diverged);
  }
}

TEST(LinearSolvers, WorkInSinglePrecision) {
  Random random(10);
  DenseSystem dense(7, 2);
  fill_random(dense, random);
  const LinearOperator<float> matrix = [&](const ConstStateRef<float>& v, StateRef<float> out) {
    for (Index j = 0; j < 2; ++j)
      out.col(j) = dense.matrices[static_cast<std::size_t>(j)].cast<float>() * v.col(j);
  };
  const State<float> diagonal = dense.diagonal.cast<float>(), b = dense.b.cast<float>();
  for (const auto& solver : every_solver({}, 5000)) {
    SCOPED_TRACE(name(solver));
    State<float> x(7, 2);
    const Report report = solve<float>(solver, LinearSystem<float>{matrix, diagonal, b}, x);
    EXPECT_TRUE((report.status == Status::converged).all());
    // The bound is the default tolerance 2e-5 divided by the smallest eigenvalue of D A, 0.15, with a margin.
    expect_close(x.cast<double>(), dense.solution(), 1e-3, "x");
  }
}

TEST(LinearSolvers, RefuseBadStoppingRules) {
  DenseSystem dense(1, 1);
  State<double> x(1, 1);
  for (const auto& [tolerance, limit] :
       std::vector<std::pair<double, Index>>{{-1, 5}, {std::nan(""), 5}, {0.1, -1}})
    for (const auto& solver : every_solver(tolerance, limit))
      EXPECT_THROW(solve<double>(solver, dense.system(), x), InvalidArgument) << name(solver);
}

}  // namespace
}  // namespace equiprop::tests
