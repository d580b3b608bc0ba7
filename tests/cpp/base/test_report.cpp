#include "support.hpp"

namespace equiprop::tests {
namespace {

Report report(const std::vector<Status>& status, const std::vector<double>& residual) {
  Report out(static_cast<Index>(status.size()));
  for (Index j = 0; j < out.batch(); ++j) {
    out.status(j) = status[static_cast<std::size_t>(j)];
    out.residual(j) = residual[static_cast<std::size_t>(j)];
    out.iterations(j) = j;
    out.fallbacks(j) = 2 * j;
    out.error(j) = 3 * out.residual(j);
  }
  return out;
}

TEST(Report, PromisesNothingAtFirst) {
  const Report fresh(3);
  EXPECT_TRUE((fresh.status == Status::max_iterations).all());
  EXPECT_TRUE((fresh.iterations == 0).all());
  EXPECT_TRUE((fresh.fallbacks == 0).all());
  EXPECT_TRUE((fresh.error == 0).all());
}

TEST(Report, PlacesPartsWhereTheyBelong) {
  Report whole(4);
  whole.place(1, report({Status::converged, Status::diverged}, {0.1, 0.2}));
  EXPECT_EQ(whole.status(0), Status::max_iterations);
  EXPECT_EQ(whole.status(1), Status::converged);
  EXPECT_EQ(whole.status(2), Status::diverged);
  EXPECT_EQ(whole.residual(2), 0.2);
  EXPECT_EQ(whole.iterations(2), 1);
  EXPECT_EQ(whole.fallbacks(2), 2);
  EXPECT_EQ(whole.error(2), 3 * 0.2);
  const Report part = whole.part(1, 2);
  EXPECT_EQ(part.batch(), 2);
  EXPECT_EQ(part.status(0), Status::converged);
  EXPECT_EQ(part.error(1), 3 * 0.2);
  EXPECT_EQ(whole.status(3), Status::max_iterations);
}

/// Merging takes the maximum: it is commutative and idempotent, and NaN is the worst residual.
TEST(Report, MergesToTheWorseOfTwo) {
  const double nan = std::nan("");
  const Report a = report({Status::converged, Status::diverged, Status::converged}, {0.1, nan, 3});
  const Report b = report({Status::indefinite, Status::converged, Status::converged}, {2, 1, nan});
  Report ab = a, ba = b, aa = a;
  ab.fallbacks(1) = 7;
  ab.merge(b);
  ba.merge(a);
  aa.merge(a);
  for (Index j = 0; j < 3; ++j) {
    EXPECT_EQ(ab.status(j), std::max(a.status(j), b.status(j)));
    EXPECT_EQ(ba.status(j), ab.status(j));
    EXPECT_EQ(aa.status(j), a.status(j));
  }
  EXPECT_EQ(ab.residual(0), 2);
  EXPECT_EQ(ab.fallbacks(1), 7);
  EXPECT_EQ(ab.fallbacks(2), 4);
  for (const Index j : {1, 2}) {
    EXPECT_TRUE(std::isnan(ab.residual(j)));
    EXPECT_TRUE(std::isnan(ba.residual(j)));
  }
}

TEST(Report, StatusesAreOrderedByConcern) {
  EXPECT_LT(Status::converged, Status::fixed_steps);
  EXPECT_LT(Status::fixed_steps, Status::max_iterations);
  EXPECT_LT(Status::max_iterations, Status::indefinite);
  EXPECT_LT(Status::indefinite, Status::diverged);
}

}  // namespace
}  // namespace equiprop::tests
