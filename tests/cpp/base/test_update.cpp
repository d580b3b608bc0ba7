/// The fused updates agree with their formulas up to rounding, on any range and for any number of threads.

#include "support.hpp"

namespace equiprop::tests {
namespace {

TEST(Update, MomentumFollowsItsFormula) {
  Random random(1);
  const Index size = 100'003;
  const Parameters<double> theta = random_parameters(random, size),
                           g = random_parameters(random, size);
  const Parameters<double> v = random_parameters(random, size);
  const MomentumStep<double> step{0.1, 0.9, 1e-3};
  const Index begin = 17, count = 90'000;
  Parameters<double> at = theta, velocity = v;
  update<double>(step, begin, count, at, g, ParametersRef<double>(velocity));
  for (Index i = 0; i < size; ++i) {
    const bool inside = i >= begin && i < begin + count;
    const double expected = inside ? 0.9 * v(i) + (1e-3 * theta(i) + g(i)) : v(i);
    ASSERT_NEAR(velocity(i), expected, 1e-15);
    ASSERT_NEAR(at(i), inside ? theta(i) - 0.1 * expected : theta(i), 1e-15);
  }
}

TEST(Update, AdamFollowsItsFormula) {
  Random random(2);
  const Index size = 70'001;
  const Parameters<double> theta = random_parameters(random, size),
                           g = random_parameters(random, size);
  Parameters<double> at = theta, mean = random_parameters(random, size), old_mean = mean;
  Parameters<double> square = random_parameters(random, size).cwiseAbs2(), old_square = square;
  const AdamStep<double> step{0.01, 0.9, 0.999, 1e-8, 0.1, 0.19, 0.002};
  update<double>(step, 0, size, at, g, ParametersRef<double>(mean), ParametersRef<double>(square));
  for (Index i = 0; i < size; ++i) {
    const double m = 0.9 * old_mean(i) + 0.1 * g(i),
                 q = 0.999 * old_square(i) + 0.001 * g(i) * g(i);
    ASSERT_NEAR(mean(i), m, 1e-15);
    ASSERT_NEAR(square(i), q, 1e-15);
    const double expected =
        (1 - 0.01 * 0.1) * theta(i) - 0.01 / 0.19 * m / (std::sqrt(q / 0.002) + 1e-8);
    ASSERT_NEAR(at(i), expected, 1e-13 * (1 + std::abs(expected)));
  }
}

TEST(Update, HasTheSameBitsForAnyNumberOfThreads) {
  Random random(3);
  const Index size = 200'000;
  const Parameters<double> theta = random_parameters(random, size),
                           g = random_parameters(random, size);
  std::vector<Parameters<double>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Parameters<double> at = theta, velocity = g;
    update<double>(MomentumStep<double>{0.1, 0.9, 0}, 0, size, at, g,
                   ParametersRef<double>(velocity));
    results.push_back(at);
  }
  set_num_threads(0);
  EXPECT_TRUE(results[0] == results[1] && results[0] == results[2]);
}

TEST(Update, OfNothingChangesNothing) {
  Parameters<double> theta = Parameters<double>::Ones(3), g = theta, velocity = theta;
  update<double>(MomentumStep<double>{0.1, 0.9, 0}, 1, 0, theta, g,
                 ParametersRef<double>(velocity));
  EXPECT_TRUE(theta == Parameters<double>::Ones(3) && velocity == theta);
}

}  // namespace
}  // namespace equiprop::tests
