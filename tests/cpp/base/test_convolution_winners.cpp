/// Max pooling after a convolution and products from its winners alone, on every instruction set that this machine
/// supports: the bits of the dense products.

#include "base/convolutions.hpp"

namespace equiprop::tests {
namespace {

template <class T>
class WinnersTest : public testing::Test {};
TYPED_TEST_SUITE(WinnersTest, Numbers);

/// A convolution with max pooling; the shape and the window are random.
template <class T>
struct RandomPooling {
  Index pool;
  RandomConvolution<T> dense;
  PackedConvolution<T> convolution;
  std::vector<T> scratch;

  RandomPooling(Random& random, const ConvolutionShape& s, Index pool, const std::string& isa)
      : pool(pool), dense(random, s, isa), convolution(s, pool, kernels<T>(isa)) {
    scratch.assign(static_cast<std::size_t>(convolution.scratch_size()),
                   std::numeric_limits<T>::quiet_NaN());
    convolution.pack_forward(dense.weights.data(), T(1));
    convolution.pack_transposed(dense.feedback.data(), T(1));
  }
  const ConvolutionShape& shape() const { return dense.shape; }
  std::size_t pooled() const { return static_cast<std::size_t>(convolution.pooled_size()); }

  /// Calls visit(pooled unit, number in the window, position above) for each position of each window.
  template <class Visit>
  void for_each_position(const Visit& visit) const {
    const ConvolutionShape& s = shape();
    const Index height = s.out_height / pool, width = s.out_width / pool;
    for (Index y = 0; y < height; ++y)
      for (Index x = 0; x < width; ++x)
        for (Index c = 0; c < s.out_channels; ++c)
          for (Index n = 0; n < pool * pool; ++n)
            visit(static_cast<std::size_t>((y * width + x) * s.out_channels + c), n,
                  static_cast<std::size_t>(
                      ((y * pool + n / pool) * s.out_width + x * pool + n % pool) * s.out_channels +
                      c));
  }
  /// Returns the image above with the pooled units at their winners.
  std::vector<T> unpool(const std::vector<T>& units,
                        const std::vector<std::uint8_t>& winners) const {
    std::vector<T> image(dense.above.size());
    for_each_position([&](std::size_t unit, Index number, std::size_t at) {
      if (winners[unit] == number) image[at] = units[unit];
    });
    return image;
  }
  /// Returns units of which about half are 0, and sets random winners.
  std::vector<T> random_units(Random& random, std::vector<std::uint8_t>& winners) const {
    std::vector<T> units = random_numbers<T>(random, convolution.pooled_size());
    winners.resize(units.size());
    for (std::size_t i = 0; i < units.size(); ++i) {
      if (random.below(2) == 0) units[i] = T(0);
      winners[i] = static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(pool * pool)));
    }
    return units;
  }
};

/// Calls check(random, pooling, name) for random geometries and windows on every instruction set.
template <class T, class Check>
void for_random_pooling(std::uint64_t seed, int trials, const Check& check) {
  Random random(seed);
  for (int trial = 0; trial < trials; ++trial) {
    const ConvolutionShape s = random_shape(random);
    const Index pool = one_of(random, {2, 2, 2, 3, 4});
    if (pool > s.out_height || pool > s.out_width) {
      --trial;
      continue;
    }
    for (const auto& isa : isas()) {
      RandomPooling<T> pooling(random, s, pool, isa);
      check(random, pooling, isa + " pool " + std::to_string(pool) + ' ' + name_of(s));
    }
  }
}

/// Checks out += the maximum of each window of `image` and its first winner; NaN is larger than any number.
template <class T>
void expect_pooled(const RandomPooling<T>& pooling, const std::vector<T>& image,
                   const std::vector<T>& before, const std::vector<T>& out,
                   const std::vector<std::uint8_t>& winners, const std::string& what) {
  std::vector<T> best(pooling.pooled());
  std::vector<std::uint8_t> which(pooling.pooled());
  pooling.for_each_position([&](std::size_t unit, Index number, std::size_t at) {
    const bool larger =
        image[at] > best[unit] || (std::isnan(image[at]) && !std::isnan(best[unit]));
    if (number > 0 && !larger) return;
    best[unit] = image[at];
    which[unit] = static_cast<std::uint8_t>(number);
  });
  for (std::size_t i = 0; i < best.size(); ++i) {
    const T expected = before[i] + best[i];
    ASSERT_TRUE(out[i] == expected || (std::isnan(out[i]) && std::isnan(expected)))
        << what << " at " << i << ": " << out[i] << " instead of " << expected;
    ASSERT_EQ(static_cast<int>(winners[i]), static_cast<int>(which[i])) << what << " at " << i;
  }
}

/// Checks add_pooled of the image below, added to random numbers.
template <class T>
void check_pooling(Random& random, RandomPooling<T>& pooling, const std::string& what) {
  const auto before = random_numbers<T>(random, pooling.convolution.pooled_size());
  auto out = before;
  std::vector<std::uint8_t> winners(out.size(), 255);
  pooling.convolution.add_pooled(pooling.dense.below.data(), out.data(), winners.data(),
                                 pooling.scratch.data());
  expect_pooled<T>(pooling, pooling.dense.forward(pooling.dense.below), before, out, winners, what);
}

TYPED_TEST(WinnersTest, PoolingKeepsTheLargestOfEachWindow) {
  for_random_pooling<TypeParam>(1, 60, &check_pooling<TypeParam>);
}

TYPED_TEST(WinnersTest, PoolingOfFewUnitsLeavesTheOthersOutAndHasTheSameBits) {
  using T = TypeParam;
  for_random_pooling<T>(11, 200, [](Random& random, auto& pooling, const std::string& what) {
    for (T& unit : pooling.dense.below)
      if (random.below(10) != 0) unit = T(0);
    check_pooling<T>(random, pooling, what);
  });
}

TYPED_TEST(WinnersTest, TheFirstOfEqualNumbersWins) {
  using T = TypeParam;
  for_random_pooling<T>(2, 20, [](Random& random, auto& pooling, const std::string& what) {
    // Few different sums.
    for (T& weight : pooling.dense.weights) weight = random.below(9) == 0 ? T(1) : T(0);
    for (T& number : pooling.dense.below) number = static_cast<T>(random.below(2));
    pooling.convolution.pack_forward(pooling.dense.weights.data(), T(1));
    pooling.dense.convolution.pack_forward(pooling.dense.weights.data(), T(1));
    check_pooling<T>(random, pooling, what);
  });
}

TYPED_TEST(WinnersTest, TheMaximumOfAWindowWithNaNIsNaN) {
  using T = TypeParam;
  for_random_pooling<T>(3, 30, [](Random& random, auto& pooling, const std::string& what) {
    for (int n = 0; n < 2; ++n)
      pooling.dense.below[static_cast<std::size_t>(random.below(pooling.dense.below.size()))] =
          std::numeric_limits<T>::quiet_NaN();
    check_pooling<T>(random, pooling, what);
  });
}

TYPED_TEST(WinnersTest, TransposedProductHasTheBitsOfTheDenseOne) {
  using T = TypeParam;
  for_random_pooling<T>(4, 60, [](Random& random, auto& pooling, const std::string& what) {
    std::vector<std::uint8_t> winners;
    const auto units = pooling.random_units(random, winners);
    auto out = pooling.dense.below;
    pooling.convolution.add_transposed_from_winners(units.data(), winners.data(), out.data(),
                                                    pooling.scratch.data());
    expect_equal_bits(
        out, pooling.dense.transposed(pooling.unpool(units, winners), pooling.dense.below), what);
  });
}

TYPED_TEST(WinnersTest, GradientHasTheBitsOfTheDenseOne) {
  using T = TypeParam;
  for_random_pooling<T>(5, 60, [](Random& random, auto& pooling, const std::string& what) {
    const auto& table = kernels<T>(what.substr(0, what.find(' ')));
    ConvolutionGradient<T> dense(pooling.shape(), 1, table);
    ConvolutionGradient<T> sparse(pooling.shape(), pooling.pool, table);
    std::vector<T> expected = pooling.dense.weights, actual = expected;
    for (const T scale : {T(0.3), T(-1), T(0.7)}) {
      std::vector<std::uint8_t> winners;
      const auto units = pooling.random_units(random, winners);
      const auto below = random_numbers<T>(random, pooling.shape().size());
      dense.add(scale, pooling.unpool(units, winners).data(), below.data());
      sparse.add_from_winners(scale, units.data(), winners.data(), below.data());
    }
    dense.finish(expected.data());
    sparse.finish(actual.data());
    expect_equal_bits(actual, expected, what);
  });
}

TYPED_TEST(WinnersTest, GradientOfSeveralImagesHasTheBitsOfSingleOnes) {
  using T = TypeParam;
  for_random_pooling<T>(7, 40, [](Random& random, auto& pooling, const std::string& what) {
    const auto& table = kernels<T>(what.substr(0, what.find(' ')));
    const ConvolutionShape& s = pooling.shape();
    const Index images = between(random, 1, 12), units = pooling.convolution.pooled_size();
    const Index pooled_stride = units + 3, stride = s.size() + 1;
    std::vector<T> pooled(static_cast<std::size_t>(images * pooled_stride)),
        below = random_numbers<T>(random, images * stride);
    std::vector<std::uint8_t> winners(pooled.size());
    ConvolutionGradient<T> all(s, pooling.pool, table), one(s, pooling.pool, table);
    for (Index n = 0; n < images; ++n) {
      std::vector<std::uint8_t> which;
      const auto some = pooling.random_units(random, which);
      std::copy(some.begin(), some.end(), pooled.begin() + n * pooled_stride);
      std::copy(which.begin(), which.end(), winners.begin() + n * pooled_stride);
      one.add_from_winners(T(0.3), some.data(), which.data(), below.data() + n * stride);
    }
    all.add_from_winners(T(0.3), images, pooled.data(), winners.data(), pooled_stride, below.data(),
                         stride);
    std::vector<T> sum(static_cast<std::size_t>(s.weights())), expected = sum;
    all.finish(sum.data());
    one.finish(expected.data());
    expect_equal_bits(sum, expected, what);
  });
}

TYPED_TEST(WinnersTest, AUnitThatIsNaNReachesTheImageBelow) {
  using T = TypeParam;
  for_random_pooling<T>(6, 30, [](Random& random, auto& pooling, const std::string& what) {
    std::vector<std::uint8_t> winners;
    auto units = pooling.random_units(random, winners);
    units[static_cast<std::size_t>(random.below(units.size()))] =
        std::numeric_limits<T>::quiet_NaN();
    auto out = pooling.dense.below;
    pooling.convolution.add_transposed_from_winners(units.data(), winners.data(), out.data(),
                                                    pooling.scratch.data());
    const auto expected =
        pooling.dense.transposed(pooling.unpool(units, winners), pooling.dense.below);
    for (std::size_t i = 0; i < out.size(); ++i)
      ASSERT_TRUE(out[i] == expected[i] || (std::isnan(out[i]) && std::isnan(expected[i]))) << what;
  });
}

TEST(Winners, WindowsThatDoNotFitAreRefused) {
  const ConvolutionShape s = square_shape(4, 6, 8, 5);
  const auto error = [](const auto& run) {
    try {
      run();
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(error([&] { PackedConvolution<float>(s, 4); }), "");
  EXPECT_EQ(error([&] { PackedConvolution<float>(s, 5); }),
            "[Convolution] A window of max pooling is not larger than the image above. Received 5 "
            "on 4 x 4.");
  EXPECT_NE(error([&] { PackedConvolution<float>(s, 0); }), "");
  EXPECT_NE(error([&] { ConvolutionGradient<float>(s, 17); }), "");
  std::vector<float> numbers(1000);
  std::vector<std::uint8_t> winners(1000);
  EXPECT_NE(error([&] { ConvolutionGradient<float>(s, 2).add(1, numbers.data(), numbers.data()); }),
            "");
  EXPECT_NE(error([&] {
              ConvolutionGradient<float>(s).add_from_winners(1, numbers.data(), winners.data(),
                                                             numbers.data());
            }),
            "");
  PackedConvolution<float> without(s);
  EXPECT_NE(
      error([&] { without.add_pooled(numbers.data(), numbers.data(), winners.data(), nullptr); }),
      "");
  EXPECT_NE(error([&] {
              without.add_transposed_from_winners(numbers.data(), winners.data(), numbers.data(),
                                                  nullptr);
            }),
            "");
  EXPECT_NE(error([&] { ConvolutionGradient<float>(s).merge(ConvolutionGradient<float>(s, 2)); }),
            "");
}

}  // namespace
}  // namespace equiprop::tests
