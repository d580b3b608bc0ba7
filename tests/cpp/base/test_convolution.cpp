/// Convolutions by the packed kernels of every instruction set that this machine supports: plain loops in double
/// precision, adjointness, and errors of geometries.

#include "base/convolutions.hpp"

namespace equiprop::tests {
namespace {

template <class T>
class ConvolutionTest : public testing::Test {};
TYPED_TEST_SUITE(ConvolutionTest, Numbers);

/// Calls check(isa, shape) for random geometries on every instruction set.
template <class Check>
void for_random_shapes(std::uint64_t seed, int trials, const Check& check) {
  Random random(seed);
  for (int trial = 0; trial < trials; ++trial) {
    const ConvolutionShape shape = random_shape(random);
    for (const auto& isa : isas()) check(random, isa, shape);
  }
}

TYPED_TEST(ConvolutionTest, ForwardAgreesWithPlainLoops) {
  using T = TypeParam;
  for_random_shapes(1, 60, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    Sums sums(c.above);
    for_each_product(s, [&](std::size_t above, std::size_t weight, std::size_t below) {
      sums.add(above, static_cast<double>(c.weights[weight]) * static_cast<double>(c.below[below]));
    });
    sums.expect_near(c.forward(c.below, c.above), isa + " forward " + name_of(s));
  });
}

TYPED_TEST(ConvolutionTest, TransposedAgreesWithPlainLoops) {
  using T = TypeParam;
  for_random_shapes(2, 60, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    Sums sums(c.below);
    for_each_product(s, [&](std::size_t above, std::size_t weight, std::size_t below) {
      sums.add(below,
               static_cast<double>(c.feedback[weight]) * static_cast<double>(c.above[above]));
    });
    sums.expect_near(c.transposed(c.above, c.below), isa + " transposed " + name_of(s));
  });
}

TYPED_TEST(ConvolutionTest, GradientIsTheDerivativeOfTheForm) {
  using T = TypeParam;
  for_random_shapes(3, 40, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    ConvolutionGradient<T> gradient(s, 1, kernels<T>(isa));
    Sums sums(c.weights);
    for (const T scale : {T(1), T(-0.5)}) {
      const auto below = random_numbers<T>(random, s.size()),
                 above = random_numbers<T>(random, s.out_size());
      gradient.add(scale, above.data(), below.data());
      for_each_product(s, [&](std::size_t up, std::size_t weight, std::size_t down) {
        sums.add(weight, static_cast<double>(scale) * static_cast<double>(above[up]) *
                             static_cast<double>(below[down]));
      });
    }
    std::vector<T> grad = c.weights;
    gradient.finish(grad.data());
    sums.expect_near(grad, isa + " gradient " + name_of(s));
    const std::vector<T> before = grad;
    gradient.finish(grad.data());
    expect_equal_bits(grad, before, "the sum is 0 after it is finished");
  });
}

TYPED_TEST(ConvolutionTest, DirectionsOfEqualWeightsAreAdjoint) {
  using T = TypeParam;
  for_random_shapes(4, 40, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    c.convolution.pack_transposed(c.weights.data(), T(1));
    const auto form = [](const std::vector<T>& a, const std::vector<T>& b) {
      double sum = 0;
      for (std::size_t i = 0; i < a.size(); ++i)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      return sum;
    };
    const double products = static_cast<double>(s.weights() * s.out_height * s.out_width);
    ASSERT_NEAR(form(c.above, c.forward(c.below)), form(c.transposed(c.above), c.below),
                std::numeric_limits<T>::epsilon() * products)
        << isa << ' ' << name_of(s);
  });
}

TYPED_TEST(ConvolutionTest, PackingMultipliesByTheScaleAndReplacesWhatWasPacked) {
  using T = TypeParam;
  for_random_shapes(5, 10, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    std::vector<T> scaled = c.weights;
    for (T& weight : scaled) weight *= T(0.75);
    RandomConvolution<T> other(random, s, isa);
    other.convolution.pack_forward(scaled.data(), T(1));
    other.convolution.pack_transposed(scaled.data(), T(1));
    c.convolution.pack_forward(c.weights.data(), T(0.75));
    c.convolution.pack_transposed(c.weights.data(), T(0.75));
    expect_equal_bits(c.forward(c.below), other.forward(c.below), isa + ' ' + name_of(s));
    expect_equal_bits(c.transposed(c.above), other.transposed(c.above), isa + ' ' + name_of(s));
  });
}

TYPED_TEST(ConvolutionTest, GradientsOfPartsAreMerged) {
  using T = TypeParam;
  for_random_shapes(6, 10, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> a(random, s, isa), b(random, s, isa);
    ConvolutionGradient<T> first(s, 1, kernels<T>(isa)), second(s, 1, kernels<T>(isa));
    std::vector<T> expected(a.weights.size()), part = expected, merged = expected;
    first.add(T(1), a.above.data(), a.below.data());
    first.finish(expected.data());
    second.add(T(1), b.above.data(), b.below.data());
    second.finish(part.data());
    for (std::size_t i = 0; i < part.size(); ++i) expected[i] += part[i];
    first.add(T(1), a.above.data(), a.below.data());
    second.add(T(1), b.above.data(), b.below.data());
    first.merge(second);
    first.finish(merged.data());
    expect_equal_bits(merged, expected, isa + ' ' + name_of(s));
  });
}

/// Several images of random numbers with gaps between them, which are NaN.
template <class T>
Strided<T> random_images(Random& random, Index size, Index images) {
  return Strided<T>(random, size, images, between(random, 0, 3));
}
template <class T>
std::vector<T> image_of(const Strided<T>& images, Index image) {
  const T* at = images.data() + image * images.stride;
  return {at, at + images.rows};
}

TYPED_TEST(ConvolutionTest, SeveralImagesHaveTheBitsOfSingleOnes) {
  using T = TypeParam;
  for_random_shapes(8, 40, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    const Index images = between(random, 1, 30);
    const auto below = random_images<T>(random, s.size(), images),
               above = random_images<T>(random, s.out_size(), images);
    auto up = above, down = below;
    c.convolution.add_forward(images, below.data(), below.stride, up.numbers.data(), up.stride,
                              c.scratch.data());
    c.convolution.add_transposed(images, above.data(), above.stride, down.numbers.data(),
                                 down.stride, c.scratch.data());
    for (Index n = 0; n < images; ++n) {
      const std::string what = isa + ' ' + std::to_string(images) + " images, " + name_of(s);
      expect_equal_bits(image_of(up, n), c.forward(image_of(below, n), image_of(above, n)), what);
      expect_equal_bits(image_of(down, n), c.transposed(image_of(above, n), image_of(below, n)),
                        what);
    }
  });
}

TYPED_TEST(ConvolutionTest, GradientOfSeveralImagesHasTheBitsOfSingleOnes) {
  using T = TypeParam;
  for_random_shapes(9, 30, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    const Index images = between(random, 1, 30);
    const auto below = random_images<T>(random, s.size(), images),
               above = random_images<T>(random, s.out_size(), images);
    ConvolutionGradient<T> all(s, 1, kernels<T>(isa)), one(s, 1, kernels<T>(isa));
    all.add(T(0.3), images, above.data(), above.stride, below.data(), below.stride);
    for (Index n = 0; n < images; ++n)
      one.add(T(0.3), image_of(above, n).data(), image_of(below, n).data());
    std::vector<T> sum(static_cast<std::size_t>(s.weights())), expected = sum;
    all.finish(sum.data());
    one.finish(expected.data());
    expect_equal_bits(sum, expected, isa + ' ' + name_of(s));
  });
}

TYPED_TEST(ConvolutionTest, ThreadsWithScratchOfTheirOwnGiveTheSameBits) {
  using T = TypeParam;
  Random random(10);
  const ConvolutionShape s = square_shape(17, 33, 9, 3, 1, 1);
  RandomConvolution<T> c(random, s, isas().back());
  constexpr Index images = 16;
  const auto below = random_images<T>(random, s.size(), images);
  std::vector<std::vector<T>> out(images, std::vector<T>(c.above.size()));
  const int threads = num_threads();
  set_num_threads(4);
  parallel_for(images, [&](Index n) {
    std::vector<T> scratch(c.scratch.size());
    c.convolution.add_forward(below.data() + n * below.stride,
                              out[static_cast<std::size_t>(n)].data(), scratch.data());
  });
  set_num_threads(threads);
  for (Index n = 0; n < images; ++n)
    expect_equal_bits(out[static_cast<std::size_t>(n)], c.forward(image_of(below, n)), "image");
}

/// Returns the numbers of the image above that depend on number `at` of the image below.
std::vector<bool> above_of(const ConvolutionShape& s, std::size_t at) {
  std::vector<bool> depends(static_cast<std::size_t>(s.out_size()));
  for_each_product(s, [&](std::size_t above, std::size_t, std::size_t below) {
    if (below == at) depends[above] = true;
  });
  return depends;
}

TYPED_TEST(ConvolutionTest, NaNReachesExactlyTheNumbersThatDependOnIt) {
  using T = TypeParam;
  for_random_shapes(7, 20, [](Random& random, const std::string& isa, const ConvolutionShape& s) {
    RandomConvolution<T> c(random, s, isa);
    const auto at = static_cast<std::size_t>(random.below(c.below.size()));
    std::vector<T> u = c.below;
    u[at] = std::numeric_limits<T>::quiet_NaN();
    const auto clean = c.forward(c.below), out = c.forward(u);
    const auto depends = above_of(s, at);
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), depends[i]) << isa << ' ' << name_of(s);
      if (!depends[i]) {
        ASSERT_EQ(out[i], clean[i]) << isa << ' ' << name_of(s);
      }
    }
  });
}

// ---------------------------------------------------------------------------- geometry

std::string error_of(const ConvolutionShape& shape) {
  try {
    shape.check();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "";
}

TEST(ConvolutionShape, ImpossibleGeometriesAreRefused) {
  const auto error = [](const auto& change) {
    ConvolutionShape s = square_shape(4, 6, 8, 3);
    change(s);
    const std::string message = error_of(s);
    EXPECT_EQ(message.rfind("[Convolution] ", 0), 0U) << message;
    EXPECT_NE(message.find(". Received "), std::string::npos) << message;
    return message;
  };
  const auto expect = [&](const std::string& part, const auto& change) {
    const std::string message = error(change);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  EXPECT_EQ(error_of(square_shape(4, 6, 8, 3)), "");
  expect("channels below is between 1", [](auto& s) { s.channels = 0; });
  expect("channels above is between 1", [](auto& s) { s.out_channels = -1; });
  expect("groups is between 1", [](auto& s) { s.groups = 0; });
  expect("divides", [](auto& s) { s.groups = 4; });
  expect("Height of the image below", [](auto& s) { s.height = 0; });
  expect("Width of the stride", [](auto& s) { s.stride.x = 0; });
  expect("Height of the padding", [](auto& s) { s.padding.y = -1; });
  expect("Width of the dilation", [](auto& s) { s.dilation.x = 0; });
  expect("Height of the kernel", [](auto& s) { s.kernel.y = 0; });
  expect("a kernel of 9 on 8", [](auto& s) { s.kernel.x = 9; });
  expect("6 instead of 8", [](auto& s) { s.padding.y = 1; });
}

TEST(ConvolutionShape, NumbersWhoseProductsOverflowAreRefused) {
  const Index large = Index{1} << 31;
  EXPECT_NE(error_of(square_shape(large, large, large, 1)), "");
  EXPECT_NE(error_of(square_shape(1, large, 2, 1)), "");
  EXPECT_NE(error_of(square_shape(large, large, 1, 1)), "");
  EXPECT_NE(error_of(square_shape(1, 1, 1, 1, 1, large)), "");
  ConvolutionShape s = square_shape(1, 1, large, 1);
  s.height = s.out_height = 1;
  EXPECT_EQ(error_of(s), "");
  s.padding.x = large, s.dilation.x = large, s.kernel.x = large;
  EXPECT_NE(error_of(s), "");
}

}  // namespace
}  // namespace equiprop::tests
