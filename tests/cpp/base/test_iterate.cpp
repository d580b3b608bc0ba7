/// The loop of all iterative solvers, on scalar sequences whose steps are known exactly.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// The iteration s <- factor s of each sample, with the residual |factor s - s|.
struct Geometric {
  PerSample<double> factors;

  Report run(const StoppingRule& rule, State<double>& s, const Observer<double>& observe = {}) {
    const auto step = [&](const ConstStateRef<double>& at, State<double>& next) {
      ++steps;
      next = at * factors.matrix().asDiagonal();
    };
    const auto residual = [&](const ConstStateRef<double>& at, PerSample<double>& out) {
      State<double> next;
      step(at, next);
      --steps;
      max_difference<double>(next, at, out);
    };
    return iterate<double>(rule, 1, PerSample<double>::Ones(s.cols()), step, residual, s, observe);
  }
  Index steps = 0;
};

State<double> ones(Index batch) {
  return State<double>::Ones(2, batch);
}

TEST(Iterate, RunsAFixedNumberOfSteps) {
  for (const Index limit : {0, 1, 15, 16, 17, 40}) {
    Geometric geometric{PerSample<double>::Constant(2, 0.5)};
    State<double> s = ones(2);
    const Report report = geometric.run({0.0, limit}, s);
    EXPECT_TRUE((report.status == Status::fixed_steps).all());
    EXPECT_TRUE((report.iterations == limit).all());
    EXPECT_EQ(s(0, 0), std::pow(0.5, limit));
    EXPECT_EQ(report.residual(0), std::pow(0.5, limit + 1));
    EXPECT_EQ(geometric.steps, limit);
  }
}

/// The change at step n is 2^-n: each sample stops at the first step that meets its tolerance.
TEST(Iterate, StopsAtTheToleranceAndFreezesEachSampleAlone) {
  Geometric geometric{PerSample<double>{{0.5, 0.25, 1.0}}};
  State<double> s = ones(3);
  const Report report = geometric.run({0x1p-20, 1000}, s);
  EXPECT_TRUE((report.status == Status::converged).all());
  EXPECT_TRUE((report.residual <= 0x1p-20).all());
  EXPECT_EQ(report.iterations(0), 20);
  EXPECT_EQ(s(0, 0), 0x1p-20);
  EXPECT_EQ(report.iterations(1), 11);  // the first n with 3 4^-n <= 2^-20
  EXPECT_EQ(s(0, 1), 0x1p-22);
  EXPECT_EQ(report.iterations(2), 1) << "it stood still";
}

/// Along one eigenvector the estimate is the distance from the fixed point.
TEST(Iterate, EstimatesTheErrorOfEachSample) {
  Geometric geometric{PerSample<double>{{0.5, 0.9, -0.5}}};
  State<double> s = ones(3);
  const Report report = geometric.run({1e-3, 1000}, s);
  EXPECT_NEAR(report.error(0), s(0, 0), 0.05 * s(0, 0));
  EXPECT_NEAR(report.error(1), s(0, 1), 0.2 * s(0, 1));
  EXPECT_GE(report.error(2), report.residual(2));
}

/// s = (1, a + b / 4) has the changes 1, 1, 1/4, 1/16, ...: the ratio of the first two says nothing about the
/// contraction by 1/4.
TEST(Iterate, TheJumpFromTheStartIsNoContraction) {
  const auto step = [](const ConstStateRef<double>& at, State<double>& next) {
    next.resize(2, 1);
    next << 1, at(0, 0) + at(1, 0) / 4;
  };
  const auto residual = [&](const ConstStateRef<double>& at, PerSample<double>& out) {
    State<double> next;
    step(at, next);
    max_difference<double>(next, at, out);
  };
  State<double> s = State<double>::Zero(2, 1);
  const Report report =
      iterate<double>({1e-2, 100}, 1, PerSample<double>::Ones(1), step, residual, s);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_NEAR(report.error(0), 4.0 / 3 - s(1, 0), 0.05 * report.error(0));
}

TEST(Iterate, GivesUpAtTheLimit) {
  Geometric geometric{PerSample<double>{{0.5, 0.999}}};
  State<double> s = ones(2);
  const Report report = geometric.run({1e-6, 50}, s);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_EQ(report.status(1), Status::max_iterations);
  EXPECT_EQ(report.iterations(1), 50);
  EXPECT_GT(report.residual(1), 1e-6);
}

/// Without a tolerance, infinity is noticed within 16 steps.
TEST(Iterate, NoticesDivergenceInTime) {
  for (const double tolerance : {0.0, 1e-6}) {
    Geometric geometric{PerSample<double>{{1e30, 0.5}}};
    State<double> s = ones(2);
    const Report report = geometric.run({tolerance, 1000}, s);
    EXPECT_EQ(report.status(0), Status::diverged);
    EXPECT_LE(report.iterations(0), 11 + steps_between_checks);  // 1e30^11 overflows
    EXPECT_LE(report.status(1), Status::fixed_steps);
    EXPECT_TRUE(s.col(1).allFinite());
  }
}

TEST(Iterate, NoticesDivergenceAtTheVeryEnd) {
  Geometric geometric{PerSample<double>{{1e200}}};
  State<double> s = ones(1);
  const Report report = geometric.run({0.0, 5}, s);
  EXPECT_EQ(report.status(0), Status::diverged) << "five steps, none of them a check";
}

TEST(Iterate, StopsWhenEverySampleDiverged) {
  Geometric geometric{PerSample<double>{{1e300, -1e300}}};
  State<double> s = ones(2);
  geometric.run({0.0, 1000000}, s);
  EXPECT_LE(geometric.steps, steps_between_checks);
}

TEST(Iterate, ASampleDoesNotSeeTheOthers) {
  Geometric alone{PerSample<double>{{0.7, 0.7}}}, mixed{PerSample<double>{{0.7, 1e50}}};
  State<double> a = ones(2), b = ones(2);
  const Report first = alone.run({1e-9, 500}, a), second = mixed.run({1e-9, 500}, b);
  expect_identical(a.col(0), b.col(0), "the first sample");
  EXPECT_EQ(first.iterations(0), second.iterations(0));
}

/// A small step does not stop the iteration if the residual is large. Here the residual stays large for a while.
TEST(Iterate, GoesOnWhenTheResidualRefutesASmallStep) {
  const auto step = [](const ConstStateRef<double>& at, State<double>& next) {
    next = at.array() + 1e-3;
  };
  const auto residual = [](const ConstStateRef<double>& at, PerSample<double>& out) {
    out(0) = std::max(0.0, 1 - at(0, 0));
  };
  State<double> s = State<double>::Zero(1, 1);
  const Report report =
      iterate<double>(StoppingRule{0.01, 100000}, 1, PerSample<double>::Ones(1), step, residual, s);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_NEAR(static_cast<double>(report.iterations(0)), 990, 1);
  EXPECT_LE(report.residual(0), 0.01);
}

TEST(Iterate, ScalesTheToleranceOfEachSample) {
  const auto step = [](const ConstStateRef<double>& at, State<double>& next) { next = 0.5 * at; };
  const auto residual = [](const ConstStateRef<double>& at, PerSample<double>& out) {
    out = 0.5 * at.row(0).transpose().array().abs();
  };
  State<double> s = State<double>::Ones(1, 2);
  const Report report = iterate<double>(StoppingRule{0x1p-20, 1000}, 1,
                                        PerSample<double>{{1.0, 0x1p10}}, step, residual, s);
  EXPECT_EQ(report.iterations(0), 20);
  EXPECT_EQ(report.iterations(1), 10);
}

TEST(Iterate, ShowsTheStartAndEveryStep) {
  Geometric geometric{PerSample<double>{{0.5}}};
  State<double> s = ones(1);
  std::vector<double> seen;
  geometric.run({0.0, 4}, s, [&](Index n, const ConstStateRef<double>& at) {
    EXPECT_EQ(n, static_cast<Index>(seen.size()));
    seen.push_back(at(1, 0));
  });
  EXPECT_EQ(seen, (std::vector<double>{1, 0.5, 0.25, 0.125, 0.0625}));
}

TEST(Iterate, AnEmptyBatchIsNoWork) {
  Geometric geometric{PerSample<double>(0)};
  State<double> s(2, 0);
  EXPECT_EQ(geometric.run({1e-6, 10}, s).batch(), 0);
  EXPECT_EQ(geometric.steps, 0);
}

TEST(StoppingRule, ChecksItself) {
  const auto refused = [](const StoppingRule& rule) {
    EXPECT_THROW(rule.check("here"), InvalidArgument);
  };
  refused({-1e-9, 5});
  refused({std::nan(""), 5});
  refused({HUGE_VAL, 5});
  refused({{}, -1});
  EXPECT_NO_THROW((StoppingRule{0.0, 0}.check("here")));
  EXPECT_EQ((StoppingRule{}.tolerance_for<double>()), default_tolerance<double>());
  EXPECT_EQ((StoppingRule{0.25}.tolerance_for<float>()), 0.25);
}

}  // namespace
}  // namespace equiprop::tests
