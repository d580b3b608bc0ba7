/// Kernels on arrays of numbers, for every instruction set that this machine supports, against plain loops.

#include <utility>

#include "base/layers.hpp"

namespace equiprop::tests {
namespace {

template <class T>
class VectorKernels : public testing::Test {};
TYPED_TEST_SUITE(VectorKernels, Numbers);

template <class T>
void expect_largest(const Kernels<T>& kernel, const std::vector<T>& numbers, T expected) {
  const T largest = kernel.largest_size(static_cast<Size>(numbers.size()), numbers.data());
  EXPECT_TRUE(std::isnan(expected) ? std::isnan(largest) : largest == expected)
      << largest << " of " << numbers.size();
}

TYPED_TEST(VectorKernels, LargestSizeSeesEveryNumberAndEveryNaN) {
  using T = TypeParam;
  Random random(12);
  constexpr T nan = std::numeric_limits<T>::quiet_NaN(),
              infinity = std::numeric_limits<T>::infinity();
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<T>(isa);
    expect_largest<T>(kernel, {}, T(0));
    for (std::size_t count = 1; count < 150; ++count) {
      std::vector<T> numbers(count);
      for (T& number : numbers) number = static_cast<T>(random.symmetric());
      for (std::size_t i = 0; i < count; ++i)
        for (const T special : {T(-2), T(2), infinity, -infinity, nan, -nan}) {
          const T kept = std::exchange(numbers[i], special);
          expect_largest<T>(kernel, numbers, std::abs(special));
          numbers[i] = kept;
        }
    }
  }
}

TYPED_TEST(VectorKernels, LargestChangeIsThatOfAllLanesAndOfWhatWasThere) {
  using T = TypeParam;
  Random random(13);
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<T>(isa);
    for (Size lane = 0; lane < kernel.lanes; ++lane) {
      std::vector<T> change(static_cast<std::size_t>(3 * kernel.lanes));
      for (T& number : change) number = static_cast<T>(random.uniform());
      change[static_cast<std::size_t>(lane)] = 2;
      T largest[] = {1, 1, 3};
      change[static_cast<std::size_t>(kernel.lanes + lane)] = nan;
      kernel.largest_change(3, change.data(), largest);
      EXPECT_EQ(largest[0], T(2)) << isa;
      EXPECT_TRUE(std::isnan(largest[1])) << isa;
      EXPECT_EQ(largest[2], T(3)) << isa;
      std::fill(change.begin(), change.end(), T(0));
      kernel.largest_change(3, change.data(), largest);
      EXPECT_TRUE(std::isnan(largest[1])) << isa << ": a NaN stays";
    }
  }
}

/// Arrays that end at the end of their buffer, so that the address sanitizer detects a read beyond the end.
template <class T>
std::vector<T> random_numbers(Random& random, Size count) {
  std::vector<T> numbers(static_cast<std::size_t>(count));
  for (T& number : numbers) number = static_cast<T>(random.symmetric());
  return numbers;
}

TYPED_TEST(VectorKernels, StepsOfConjugateGradientsAreThoseOfPlainLoops) {
  using T = TypeParam;
  Random random(14);
  constexpr double eps = std::numeric_limits<T>::epsilon();
  const auto d = [](T v) { return static_cast<double>(v); };
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<T>(isa);
    for (Size count = 0; count < 100; ++count) {
      SCOPED_TRACE(isa + ' ' + std::to_string(count));
      const auto p = random_numbers<T>(random, count), q = random_numbers<T>(random, count),
                 diagonal = random_numbers<T>(random, count);
      auto x = random_numbers<T>(random, count), r = random_numbers<T>(random, count),
           z = random_numbers<T>(random, count), turned = p;
      const auto before_x = x, before_r = r;
      ConjugateStep<T> step{T(0.7),   p.data(), q.data(), diagonal.data(),
                            x.data(), r.data(), z.data()};
      kernel.follow(count, step);
      kernel.turn(count, T(0.3), z.data(), turned.data());
      double product = 0, largest = 0, inner = 0;
      for (std::size_t i = 0; i < p.size();
           ++i) {  // each line rounds two or three times, on numbers below 2
        EXPECT_NEAR(d(x[i]), d(before_x[i]) + d(T(0.7)) * d(p[i]), 2 * eps);
        EXPECT_NEAR(d(r[i]), d(before_r[i]) - d(T(0.7)) * d(q[i]), 2 * eps);
        EXPECT_NEAR(d(z[i]), d(diagonal[i]) * d(r[i]), 2 * eps);
        EXPECT_NEAR(d(turned[i]), d(z[i]) + d(T(0.3)) * d(p[i]), 3 * eps);
        product += d(r[i]) * d(z[i]);
        inner += d(p[i]) * d(q[i]);
        largest = std::max(largest, std::abs(d(z[i])));
      }
      const double rounding = static_cast<double>(count + 1) * 4 * eps * static_cast<double>(count);
      EXPECT_NEAR(d(step.product), product, rounding);
      EXPECT_NEAR(d(kernel.inner(count, p.data(), q.data())), inner, rounding);
      EXPECT_EQ(d(step.largest), largest);
    }
  }
}

}  // namespace
}  // namespace equiprop::tests
