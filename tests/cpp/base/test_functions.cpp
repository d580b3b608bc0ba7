/// The kernels' exp, tanh and logistic, for every instruction set that this machine supports, against references of
/// higher precision.

#include <array>
#include <bit>
#include <cstring>
#include <functional>

#include "support.hpp"

namespace equiprop::tests {
namespace {

using Size = std::ptrdiff_t;

template <class T>
struct Wider;
template <>
struct Wider<float> {
  using Type = double;
  using Bits = std::uint32_t;
};
template <>
struct Wider<double> {
  using Type = long double;
  using Bits = std::uint64_t;
};
template <class T>
using Wide = typename Wider<T>::Type;
template <class T>
using BitsOf = typename Wider<T>::Bits;

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T nan = std::numeric_limits<T>::quiet_NaN();

/// Error in ulp that a reference without more digits than T adds.
template <class T>
constexpr double reference_error = sizeof(Wide<T>) > sizeof(T) ? 0 : 1;

template <class T>
struct Function {
  std::string name;
  double bound;  ///< largest error in ulp
  std::function<void(const Kernels<T>&, Size, const T*, T*)> run;
  std::function<Wide<T>(Wide<T>)> exact;
  std::vector<T> thresholds;  ///< arguments of saturation, overflow and changes of formula

  std::vector<T> operator()(const Kernels<T>& kernel, const std::vector<T>& x) const {
    std::vector<T> y(x.size());
    run(kernel, static_cast<Size>(x.size()), x.data(), y.data());
    return y;
  }
  T operator()(const Kernels<T>& kernel, T x) const {
    run(kernel, 1, &x, &x);
    return x;
  }
};

template <class T>
std::vector<Function<T>> functions() {
  constexpr bool single = sizeof(T) == sizeof(float);
  const T ln2 = std::numbers::ln2_v<T>;
  const T overflow = std::log(std::numeric_limits<T>::max());
  const T underflow = std::log(std::numeric_limits<T>::min());
  const T vanishing = single ? T(-103.97208) : T(-745.13321910194110842);
  const T one_minus = single ? T(9.0109) : T(19.06154746539849);  // tanh rounds to 1 from here on
  const T clamps = single ? T(104) : T(746);
  return {{"exp",
           1.25,
           [](const Kernels<T>& kernel, Size n, const T* in, T* out) { kernel.exp(n, in, out); },
           [](Wide<T> x) { return std::exp(x); },
           {overflow, underflow, vanishing, clamps, ln2 / 2, ln2, single ? T(89) : T(710)}},
          {"tanh",
           2,
           [](const Kernels<T>& kernel, Size n, const T* in, T* out) { kernel.tanh(n, in, out); },
           [](Wide<T> x) { return std::tanh(x); },
           {one_minus, ln2 / 4, 3 * ln2 / 4, 5 * ln2 / 4, T(20), T(40)}},
          {"logistic",
           1.75,
           [](const Kernels<T>& kernel, Size n, const T* in, T* out) {
             kernel.logistic(n, T(1), T(0), in, out);
           },
           [](Wide<T> x) { return 1 / (1 + std::exp(-x)); },
           {overflow, underflow, vanishing, clamps, ln2 / 2, ln2, one_minus, 2 * one_minus}}};
}

/// Returns |got - exact| in ulp of `exact`; infinity counts as the next power of two.
template <class T>
double ulps(T got, Wide<T> exact) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) && std::isnan(got) ? 0 : 1e9;
  const Wide<T> beyond = std::ldexp(Wide<T>(1), Limits::max_exponent);
  const auto finite = [&](Wide<T> x) { return std::min(std::max(x, -beyond), beyond); };
  int exponent = 0;
  std::frexp(finite(exact), &exponent);
  exponent = std::clamp(exponent, Limits::min_exponent, Limits::max_exponent);
  const Wide<T> unit = std::ldexp(Wide<T>(1), exponent - Limits::digits);
  return static_cast<double>(std::abs(finite(got) - finite(exact)) / unit);
}

/// Returns x and its `count` neighbours on either side, with both signs.
template <class T>
void add_around(T x, int count, std::vector<T>& to) {
  T below = x, above = x;
  for (int i = 0; i <= count; ++i) {
    for (const T number : {below, above}) to.push_back(number), to.push_back(-number);
    below = std::nextafter(below, T(0));
    above = std::nextafter(above, infinity<T>);
  }
}

/// Returns arguments evenly distributed over all binades, with more of them near the thresholds and near every n ln 2 /
/// 2.
template <class T>
std::vector<T> samples(const Function<T>& function, std::size_t count) {
  Random random(11);
  std::vector<T> x;
  const auto step = static_cast<BitsOf<T>>(~BitsOf<T>(0) / count) | 1;
  for (std::size_t i = 0; i < count; ++i)
    x.push_back(std::bit_cast<T>(static_cast<BitsOf<T>>(i * step)));
  for (const double scale : {1e-3, 0.2, 0.4, 1.0, 4.0, 10.0, 20.0, 40.0, 110.0, 760.0})
    for (std::size_t i = 0; i < count / 10; ++i)
      x.push_back(static_cast<T>(scale * random.symmetric()));
  for (const T threshold : function.thresholds) add_around(threshold, 100, x);
  for (int n = 1; n < 2200; ++n) add_around(static_cast<T>(n / 4.0 * std::numbers::ln2), 2, x);
  return x;
}

template <class T>
class FunctionTest : public testing::Test {
 protected:
  template <class Check>
  void for_each(const Check& check) {
    for (const auto isa : kernel_isas())
      for (const Function<T>& function : functions<T>()) {
        SCOPED_TRACE(std::string(isa) + ' ' + function.name);
        check(kernels<T>(isa), function);
      }
  }
};
using Numbers = testing::Types<float, double>;
TYPED_TEST_SUITE(FunctionTest, Numbers);

TYPED_TEST(FunctionTest, AreWithinTheirBounds) {
  using T = TypeParam;
  for (const Function<T>& function : functions<T>()) {
    const std::vector<T> x = samples<T>(function, sizeof(T) == 4 ? 1U << 20 : 1U << 17);
    std::vector<Wide<T>> exact;
    for (const T number : x) exact.push_back(function.exact(number));
    for (const auto isa : kernel_isas()) {
      const std::vector<T> y = function(kernels<T>(isa), x);
      double worst = 0;
      T where = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (const double error = ulps<T>(y[i], exact[i]); error > worst)
          worst = error, where = x[i];
      EXPECT_LE(worst, function.bound + reference_error<T>)
          << isa << ' ' << function.name << " at " << where;
    }
  }
}

TYPED_TEST(FunctionTest, TakeSpecialValues) {
  using T = TypeParam;
  const T tiny = std::numeric_limits<T>::denorm_min();
  for (const auto isa : kernel_isas()) {
    const auto& kernel = kernels<T>(isa);
    const auto all = functions<T>();
    const auto exp = [&](T x) { return all[0](kernel, x); };
    const auto tanh = [&](T x) { return all[1](kernel, x); };
    const auto logistic = [&](T x) { return all[2](kernel, x); };
    EXPECT_EQ(exp(0), 1);
    EXPECT_EQ(exp(-T(0)), 1);
    EXPECT_EQ(exp(tiny), 1);
    EXPECT_EQ(exp(infinity<T>), infinity<T>);
    EXPECT_EQ(exp(std::numeric_limits<T>::max()), infinity<T>);
    EXPECT_EQ(exp(-infinity<T>), 0);
    EXPECT_EQ(exp(std::numeric_limits<T>::lowest()), 0);
    EXPECT_EQ(tanh(infinity<T>), 1);
    EXPECT_EQ(tanh(std::numeric_limits<T>::max()), 1);
    EXPECT_EQ(tanh(0), 0);
    EXPECT_FALSE(std::signbit(tanh(0)));
    EXPECT_EQ(tanh(-T(0)), 0);
    EXPECT_TRUE(std::signbit(tanh(-T(0))));
    EXPECT_EQ(tanh(tiny), tiny);
    EXPECT_EQ(tanh(-3 * tiny), -3 * tiny);
    EXPECT_EQ(logistic(0), T(0.5));
    EXPECT_EQ(logistic(-T(0)), T(0.5));
    EXPECT_EQ(logistic(infinity<T>), 1);
    EXPECT_EQ(logistic(std::numeric_limits<T>::max()), 1);
    EXPECT_EQ(logistic(-infinity<T>), 0);
    EXPECT_EQ(logistic(std::numeric_limits<T>::lowest()), 0);
    for (const auto& function : all)
      for (const T number : {nan<T>, -nan<T>})
        EXPECT_TRUE(std::isnan(function(kernel, number))) << isa << ' ' << function.name;
  }
}

TYPED_TEST(FunctionTest, ResultsThatAreNotNormalDoNotVanish) {
  using T = TypeParam;
  const T tiny = std::numeric_limits<T>::denorm_min();
  const T x = std::log(std::numeric_limits<T>::min()) - T(2);  // exp(x) is subnormal
  for (const auto isa : kernel_isas())
    for (const Size at : {0, 2}) {
      const T y = functions<T>()[static_cast<std::size_t>(at)](kernels<T>(isa), x);
      EXPECT_NEAR(static_cast<double>(y / tiny), std::exp(static_cast<double>(x) - std::log(tiny)),
                  1e-3 * static_cast<double>(y / tiny))
          << isa;
    }
}

TYPED_TEST(FunctionTest, TanhIsOddAndSaturates) {
  using T = TypeParam;
  const Function<T> tanh = functions<T>()[1];
  std::vector<T> x = samples<T>(tanh, 1U << 16), minus_x;
  for (const T number : x) minus_x.push_back(-number);
  for (const auto isa : kernel_isas()) {
    const std::vector<T> y = tanh(kernels<T>(isa), x), minus_y = tanh(kernels<T>(isa), minus_x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) continue;
      ASSERT_EQ(y[i], -minus_y[i]) << isa << ' ' << x[i];
      ASSERT_LE(std::abs(y[i]), 1) << isa << ' ' << x[i];
      ASSERT_TRUE(std::abs(x[i]) <= 20 || std::abs(y[i]) == 1) << isa << ' ' << x[i];
    }
  }
}

/// Between neighbouring arguments a result decreases by at most twice the error bound.
TYPED_TEST(FunctionTest, FallBackBetweenNeighboursByRoundingAlone) {
  using T = TypeParam;
  Random random(12);
  this->for_each([&](const Kernels<T>& kernel, const Function<T>& function) {
    std::vector<T> x;
    for (const T threshold : function.thresholds) x.push_back(threshold), x.push_back(-threshold);
    for (int i = 0; i < 500; ++i) x.push_back(static_cast<T>(20 * random.symmetric()));
    for (const T begin : x) {
      std::vector<T> run{begin};
      while (run.size() < 64) run.push_back(std::nextafter(run.back(), infinity<T>));
      const std::vector<T> y = function(kernel, run);
      for (std::size_t i = 1; i < y.size(); ++i)
        ASSERT_TRUE(y[i] >= y[i - 1] ||
                    ulps<T>(y[i], static_cast<Wide<T>>(y[i - 1])) <= 2 * function.bound)
            << run[i];
    }
  });
}

/// A result does not depend on the number of arguments, on their alignment, or on whether the output is the input;
/// nothing else is written.
TYPED_TEST(FunctionTest, DependOnNothingButTheNumber) {
  using T = TypeParam;
  Random random(13);
  std::vector<T> x;
  for (int i = 0; i < 80; ++i) x.push_back(static_cast<T>(12 * random.symmetric()));
  this->for_each([&](const Kernels<T>& kernel, const Function<T>& function) {
    std::vector<T> alone;
    for (const T number : x) alone.push_back(function(kernel, number));
    for (std::size_t count = 0; count <= 70; ++count)
      for (const std::size_t at : {0, 1, 7}) {
        std::vector<T> y(x.size(), T(7)), in_place = x;
        const Size n = static_cast<Size>(count);
        function.run(kernel, n, x.data() + at, y.data() + at);
        function.run(kernel, n, in_place.data() + at, in_place.data() + at);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const bool inside = i >= at && i < at + count;
          ASSERT_EQ(y[i], inside ? alone[i] : T(7)) << count << " at " << at;
          ASSERT_EQ(in_place[i], inside ? alone[i] : x[i]) << count << " at " << at;
        }
      }
  });
}

TYPED_TEST(FunctionTest, NothingIsReadBeyondTheEnd) {
  using T = TypeParam;
  this->for_each([&](const Kernels<T>& kernel, const Function<T>& function) {
    for (std::size_t count = 0; count <= 40; ++count)
      function(kernel, std::vector<T>(count, T(1)));  // checked by the address sanitizer
  });
}

TYPED_TEST(FunctionTest, TheLogisticTakesAGainAndAShift) {
  using T = TypeParam;
  Random random(14);
  std::vector<T> x(100), argument(100), y(100), expected(100);
  for (T& number : x) number = static_cast<T>(4 * random.symmetric());
  const T gain = T(3.7), shift = T(0.3);
  for (std::size_t i = 0; i < x.size(); ++i) argument[i] = gain * (x[i] - shift);
  for (const auto isa : kernel_isas()) {
    const auto& kernel = kernels<T>(isa);
    kernel.logistic(100, gain, shift, x.data(), y.data());
    kernel.logistic(100, T(1), T(0), argument.data(), expected.data());
    EXPECT_EQ(y, expected) << isa;
  }
}

}  // namespace
}  // namespace equiprop::tests
