/// Properties of GMRES: nonsymmetric systems, restarts and stagnation.

#include "linear/systems.hpp"

namespace equiprop::tests {
namespace {

/// Fills in 1 + a random matrix of norm about 0.6: nonsymmetric and well conditioned.
void fill_nonsymmetric(DenseSystem& dense, Random& random) {
  const Index size = dense.b.rows(), batch = dense.b.cols();
  for (auto& matrix : dense.matrices)
    matrix = State<double>::Identity(size, size) +
             random_state(random, size, size, 0.6 / std::sqrt(static_cast<double>(size)));
  dense.b = random_state(random, size, batch);
  for (Index i = 0; i < dense.diagonal.size(); ++i)
    dense.diagonal(i) = random.below(4) == 0 ? 0 : 0.5 + 0.5 * random.uniform();
}

Report solve_dense(const GMRES& solver, const DenseSystem& dense, State<double>& x) {
  return solve<double>(solver, dense.system(), x);
}

GMRES restarted(double tolerance, Index max_iterations, Index restart) {
  GMRES solver{{tolerance, max_iterations}};
  solver.restart = restart;
  return solver;
}

TEST(GMRES, SolvesNonsymmetricSystemsWhateverItsRestart) {
  Random random(1);
  for (const Index size : {1, 2, 7, 31})
    for (const Index batch : {1, 3, 0})
      for (const Index restart : {2, 5, 100}) {
        DenseSystem dense(size, batch);
        fill_nonsymmetric(dense, random);
        State<double> x = State<double>::Constant(size, batch, 99);
        const Report report = solve_dense(restarted(3e-14, 2000, restart), dense, x);
        EXPECT_TRUE((report.status == Status::converged).all()) << size << ", " << restart;
        expect_close(x, dense.solution(), rounding, "x");
        EXPECT_TRUE((dense.diagonal.array() != 0 || x.array() == 0).all()) << "held units moved";
      }
}

TEST(GMRES, NeedsAtMostOneStepPerFreeUnit) {
  Random random(2);
  for (const Index size : {1, 2, 5, 9}) {
    DenseSystem dense(size, 3);
    fill_nonsymmetric(dense, random);
    State<double> x(size, 3);
    const Report report = solve_dense(restarted(1e-12, 1000, 50), dense, x);
    EXPECT_TRUE((report.status == Status::converged).all());
    for (Index j = 0; j < 3; ++j)
      EXPECT_LE(report.iterations(j), (dense.diagonal.col(j).array() != 0).count());
  }
}

/// The residual of each step is the smallest in the Krylov space of D A and D b, by dense least squares.
TEST(GMRES, MinimisesTheResidualOverTheKrylovSpace) {
  Random random(3);
  DenseSystem dense(8, 1);
  fill_nonsymmetric(dense, random);
  const State<double> scaled = dense.diagonal.col(0).asDiagonal() * dense.matrices[0];
  const State<double> right = dense.diagonal.cwiseProduct(dense.b);
  State<double> krylov(8, 0), next = right;
  for (Index steps = 1; steps <= 4; ++steps) {
    krylov.conservativeResize(8, steps);
    krylov.col(steps - 1) = next;
    next = scaled * next;
    const State<double> image = scaled * krylov;
    const State<double> best = krylov * image.colPivHouseholderQr().solve(right);
    State<double> x(8, 1);
    const Report report = solve_dense(restarted(0, steps, 8), dense, x);
    expect_close(x, best, 1e-11, "x minimises |D (b - A x)|_2");
    EXPECT_EQ(report.iterations(0), steps);
  }
}

/// If the symmetric part is positive definite, every cycle of one step decreases |r|_2, but not always max |r|.
TEST(GMRES, ARestartIsNotFooledByAMaximumThatGrows) {
  Random random(4);
  for (int trial = 0; trial < 50; ++trial) {
    DenseSystem dense(12, 1);
    fill_nonsymmetric(dense, random);
    const State<double> skew = random_state(random, 12, 12);
    dense.diagonal.setOnes();
    dense.matrices[0] = State<double>::Identity(12, 12) + skew - skew.transpose();
    State<double> x(12, 1);
    const Report report = solve_dense(restarted(1e-12, 20000, 1), dense, x);
    EXPECT_EQ(report.status(0), Status::converged) << report.residual(0);
  }
}

/// For a rotation by a quarter turn, a cycle of one step does not decrease the residual.
TEST(GMRES, StopsWhereARestartGainsNothing) {
  DenseSystem dense(2, 1);
  dense.matrices[0] = State<double>{{0.0, 1.0}, {-1.0, 0.0}};
  dense.b = State<double>{{1.0}, {0.5}};
  State<double> x(2, 1);
  const Report stuck = solve_dense(restarted(1e-10, 1000000000, 1), dense, x);
  EXPECT_EQ(stuck.status(0), Status::max_iterations);
  EXPECT_LT(stuck.iterations(0), 10);
  EXPECT_EQ(solve_dense(restarted(1e-10, 10, 2), dense, x).status(0), Status::converged);
  expect_close(x, dense.solution(), rounding, "x");
}

TEST(GMRES, NeitherLoopsNorClaimsToSolveASingularSystem) {
  Random random(5);
  for (const double tolerance : {1e-8, 0.0})
    for (const Index restart : {1, 3, 50})
      for (int trial = 0; trial < 20; ++trial) {
        DenseSystem dense(9, 2);
        fill_nonsymmetric(dense, random);
        dense.diagonal.setOnes();
        dense.matrices[0].row(3) = dense.matrices[0].row(5);  // b is not in the range of A
        State<double> x(9, 2);
        const Report report = solve_dense(restarted(tolerance, 1000000, restart), dense, x);
        EXPECT_EQ(report.status(0), tolerance > 0 ? Status::max_iterations : Status::fixed_steps);
        EXPECT_TRUE(x.allFinite());
        EXPECT_GT(report.residual(0), 1e-3);
        // x = 0 has |r|_2 = |b|_2, which is at most 3 max |b|.
        EXPECT_LE(report.residual(0), 3);
        EXPECT_LE(report.status(1), tolerance > 0 ? Status::converged : Status::fixed_steps);
      }
}

TEST(GMRES, StopsAtOnceWhereTheMatrixIsZero) {
  DenseSystem dense(3, 1);
  dense.matrices[0].setZero(3, 3);
  dense.b.setOnes();
  State<double> x(3, 1);
  const Report report = solve_dense(restarted(1e-8, 1000000, 50), dense, x);
  EXPECT_EQ(report.status(0), Status::max_iterations);
  EXPECT_TRUE((x.array() == 0).all());
}

TEST(GMRES, SolvesSystemsOfEveryScale) {
  Random random(6);
  for (const double scale : {1e-310, 1e-160, 1e160, 1e300}) {
    DenseSystem dense(6, 2);
    fill_nonsymmetric(dense, random);
    const State<double> expected = dense.solution();
    dense.b *= scale;
    State<double> x(6, 2);
    const Report report = solve_dense(restarted(1e-13, 100, 50), dense, x);
    EXPECT_TRUE((report.status == Status::converged).all());
    // A subnormal number has fewer digits.
    expect_close(x / scale, expected, scale < 1e-300 ? 1e-12 : rounding, "x / scale");
  }
}

/// After the large entries of b are matched, the squares of the others underflow.
TEST(GMRES, DoesNotDivideByAResidualWhoseSquaresVanish) {
  const LinearOperator<float> matrix = [](const ConstStateRef<float>& v, StateRef<float> out) {
    out = State<float>{{2.0f, 0.0f}, {0.0f, 3.0f}} * v;
  };
  const State<float> diagonal = State<float>::Ones(2, 1), b{{1.0f}, {3e-30f}};
  for (const double tolerance : {0.0, 1e-35}) {
    State<float> x(2, 1);
    const Report report =
        solve<float>(restarted(tolerance, 100, 50), LinearSystem<float>{matrix, diagonal, b}, x);
    EXPECT_FLOAT_EQ(x(0), 0.5f);
    EXPECT_NEAR(x(1), 0, 3e-30f);
    EXPECT_EQ(report.status(0), tolerance > 0 ? Status::max_iterations : Status::fixed_steps);
  }
}

TEST(GMRES, SolvesNonsymmetricSystemsInFloat) {
  Random random(7);
  DenseSystem dense(11, 3);
  fill_nonsymmetric(dense, random);
  const LinearOperator<float> matrix = [&](const ConstStateRef<float>& v, StateRef<float> out) {
    for (Index j = 0; j < 3; ++j)
      out.col(j) = dense.matrices[static_cast<std::size_t>(j)].cast<float>() * v.col(j);
  };
  const State<float> diagonal = dense.diagonal.cast<float>(), b = dense.b.cast<float>();
  State<float> x(11, 3);
  const Report report = solve<float>(GMRES{}, LinearSystem<float>{matrix, diagonal, b}, x);
  EXPECT_TRUE((report.status == Status::converged).all());
  expect_close(x.cast<double>(), dense.solution(), 2e-4, "x");  // 10 default tolerances
}

TEST(GMRES, RefusesAnEmptyKrylovSpace) {
  DenseSystem dense(1, 1);
  State<double> x(1, 1);
  for (const Index restart : {0, -1})
    EXPECT_THROW(solve_dense(restarted(1e-3, 5, restart), dense, x), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
