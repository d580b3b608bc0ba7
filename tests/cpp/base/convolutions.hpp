#pragma once
/// Random geometries of convolutions, their loops in double precision, and comparisons, for the tests of convolutions.

#include <cstring>
#include <string>
#include <vector>

#include "base/layers.hpp"

namespace equiprop::tests {

/// Returns one of the numbers.
inline Index one_of(Random& random, const std::vector<Index>& numbers) {
  return numbers[static_cast<std::size_t>(random.below(numbers.size()))];
}
inline Index between(Random& random, Index low, Index high) {
  return low + static_cast<Index>(random.below(static_cast<std::uint64_t>(high - low + 1)));
}

/// Sets the size of the image above; true if the kernel fits.
inline bool fit(ConvolutionShape& s) {
  s.out_height = convolved_extent(s.height, s.kernel.y, s.stride.y, s.padding.y, s.dilation.y);
  s.out_width = convolved_extent(s.width, s.kernel.x, s.stride.x, s.padding.x, s.dilation.x);
  return s.out_height >= 1 && s.out_width >= 1;
}

/// Returns a shape with equal numbers in both directions.
inline ConvolutionShape square_shape(Index channels, Index out_channels, Index size, Index kernel,
                                     Index stride = 1, Index padding = 0) {
  ConvolutionShape s;
  s.channels = channels, s.out_channels = out_channels;
  s.height = s.width = size;
  s.kernel = {kernel, kernel}, s.stride = {stride, stride}, s.padding = {padding, padding};
  fit(s);
  return s;
}

/// Returns a geometry with kernels from 1 x 1 to the size of the image, and any stride, padding, dilation and groups.
inline ConvolutionShape random_shape(Random& random) {
  for (;;) {
    ConvolutionShape s;
    s.groups = one_of(random, {1, 1, 1, 2, 3});
    s.channels = s.groups * one_of(random, {1, 2, 3, 5, 8, 17});
    s.out_channels = s.groups * one_of(random, {1, 3, 4, 16, 17, 33});
    s.height = between(random, 1, 9), s.width = between(random, 1, 16);
    s.kernel = {between(random, 1, std::min<Index>(s.height, 6)),
                between(random, 1, std::min<Index>(s.width, 9))};
    if (random.below(8) == 0) s.kernel = {s.height, s.width};
    s.stride = {one_of(random, {1, 1, 2, 3}), one_of(random, {1, 1, 2, 3})};
    s.padding = {one_of(random, {0, 0, 1, 2, 5}), one_of(random, {0, 0, 1, 2, 5})};
    s.dilation = {one_of(random, {1, 1, 1, 2, 3}), one_of(random, {1, 1, 1, 2, 3})};
    if (fit(s)) return s;
  }
}

inline std::string name_of(const ConvolutionShape& s) {
  std::ostringstream name;
  const auto pair = [&](const char* what, const Extent& e) {
    name << ' ' << what << ' ' << e.y << ',' << e.x;
  };
  name << s.channels << 'x' << s.height << 'x' << s.width << " -> " << s.out_channels << 'x'
       << s.out_height << 'x' << s.out_width << " groups " << s.groups;
  pair("kernel", s.kernel), pair("stride", s.stride), pair("padding", s.padding);
  pair("dilation", s.dilation);
  return name.str();
}

template <class T>
std::vector<T> random_numbers(Random& random, Index size) {
  std::vector<T> numbers(static_cast<std::size_t>(size));
  for (T& number : numbers) number = static_cast<T>(random.symmetric());
  return numbers;
}

/// Calls visit(above, weight, below) with the indices of each product of a convolution.
template <class Visit>
void for_each_product(const ConvolutionShape& s, const Visit& visit) {
  const Index below = s.group_channels(), above = s.group_out_channels();
  for (Index o = 0; o < s.out_channels; ++o)
    for (Index y = 0; y < s.out_height; ++y)
      for (Index x = 0; x < s.out_width; ++x)
        for (Index c = 0; c < below; ++c)
          for (Index i = 0; i < s.kernel.y; ++i)
            for (Index j = 0; j < s.kernel.x; ++j) {
              const Index v = y * s.stride.y + i * s.dilation.y - s.padding.y,
                          h = x * s.stride.x + j * s.dilation.x - s.padding.x;
              if (v < 0 || v >= s.height || h < 0 || h >= s.width) continue;
              visit(
                  static_cast<std::size_t>((y * s.out_width + x) * s.out_channels + o),
                  static_cast<std::size_t>(((o * below + c) * s.kernel.y + i) * s.kernel.x + j),
                  static_cast<std::size_t>((v * s.width + h) * s.channels + o / above * below + c));
            }
}

/// Sums in double precision with their bounds of error: each number rounds once per product and once per addition.
struct Sums {
  std::vector<double> value, magnitude, products;

  template <class T>
  explicit Sums(const std::vector<T>& start)
      : value(start.begin(), start.end()), magnitude(start.size()), products(start.size(), 4) {
    for (std::size_t i = 0; i < start.size(); ++i) magnitude[i] = std::abs(value[i]);
  }
  void add(std::size_t at, double product) {
    value[at] += product;
    magnitude[at] += std::abs(product);
    products[at] += 2;
  }
  template <class T>
  void expect_near(const std::vector<T>& actual, const std::string& what) const {
    ASSERT_EQ(actual.size(), value.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      ASSERT_NEAR(static_cast<double>(actual[i]), value[i],
                  products[i] * std::numeric_limits<T>::epsilon() * magnitude[i])
          << what << " at " << i;
  }
};

template <class T>
void expect_equal_bits(const std::vector<T>& a, const std::vector<T>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(T)), 0)
        << what << " at " << i << ": " << a[i] << " and " << b[i];
}

/// A packed convolution with random weights for each direction and random images.
template <class T>
struct RandomConvolution {
  ConvolutionShape shape;
  std::vector<T> weights, feedback, below, above, scratch;
  PackedConvolution<T> convolution;

  RandomConvolution(Random& random, const ConvolutionShape& s, const std::string& isa)
      : shape(s),
        weights(random_numbers<T>(random, s.weights())),
        feedback(random_numbers<T>(random, s.weights())),
        below(random_numbers<T>(random, s.size())),
        above(random_numbers<T>(random, s.out_size())),
        convolution(s, 1, kernels<T>(isa)) {
    scratch.assign(static_cast<std::size_t>(convolution.scratch_size()),
                   std::numeric_limits<T>::quiet_NaN());
    convolution.pack_forward(weights.data(), T(1));
    convolution.pack_transposed(feedback.data(), T(1));
  }
  std::vector<T> forward(const std::vector<T>& u, std::vector<T> out) {
    convolution.add_forward(u.data(), out.data(), scratch.data());
    return out;
  }
  std::vector<T> forward(const std::vector<T>& u) {
    return forward(u, std::vector<T>(above.size()));
  }
  std::vector<T> transposed(const std::vector<T>& v, std::vector<T> out) {
    convolution.add_transposed(v.data(), out.data(), scratch.data());
    return out;
  }
  std::vector<T> transposed(const std::vector<T>& v) {
    return transposed(v, std::vector<T>(below.size()));
  }
};

}  // namespace equiprop::tests
