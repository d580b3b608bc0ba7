/// The precisions of products: the rounding of factors and tiles of tensor cores against double precision, and products of
/// the engine against bounds that follow from the roundings. The kernels run in the emulator.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "emulation.hpp"
#include "engine.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::Cut;
using cuda::Engine;
using cuda::NetworkFields;
using cuda::Precision;

const std::vector<Precision> rounded{Precision::tf32, Precision::tf32x3, Precision::bf16};

/// Returns v rounded to `bits` bits by arithmetic of the C library, ties to even or away from zero.
float expected(float v, int bits, bool even) {
  int exponent = 0;
  const double scaled = std::ldexp(std::frexp(static_cast<double>(v), &exponent), bits);
  const double whole = even ? std::nearbyint(scaled) : std::round(scaled);
  return static_cast<float>(std::ldexp(whole, exponent - bits));
}

TEST(Precision, FactorsAreRoundedToTheNearestNumberOfTheFormat) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<float> values;
  for (int i = 0; i < 10000; ++i) values.push_back(uniform(random) * std::exp2(uniform(random)));
  for (const float sign : {1.0F, -1.0F}) {
    for (const int bits : {8, 11}) {  // ties, between an even and an odd number and the reverse
      values.push_back(sign * (1 + std::ldexp(1.0F, -bits)));
      values.push_back(sign * (1 + 3 * std::ldexp(1.0F, -bits)));
    }
  }
  double largest_tf32 = 0, largest_bf16 = 0;
  for (const float v : values) {
    EXPECT_EQ(Emulation::rounded_to_tf32(v), expected(v, 11, false)) << v;
    EXPECT_EQ(Emulation::rounded_to_bf16(v), expected(v, 8, true)) << v;
    const auto error = [&](float to) {
      return std::abs(double{to} - double{v}) / std::abs(double{v});
    };
    largest_tf32 = std::max(largest_tf32, error(Emulation::rounded_to_tf32(v)));
    largest_bf16 = std::max(largest_bf16, error(Emulation::rounded_to_bf16(v)));
  }
  // Half a unit in the last place of 11 or 8 bits, attained next to a power of two.
  EXPECT_DOUBLE_EQ(largest_tf32, std::exp2(-11) / (1 + std::exp2(-11)));
  EXPECT_DOUBLE_EQ(largest_bf16, std::exp2(-8) / (1 + std::exp2(-8)));
}

TEST(Precision, InfinityAndNaNStay) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto round : {Emulation::rounded_to_tf32, Emulation::rounded_to_bf16}) {
    EXPECT_EQ(round(infinity), infinity);
    EXPECT_EQ(round(-infinity), -infinity);
    EXPECT_EQ(round(std::numeric_limits<float>::max()), infinity);
    EXPECT_TRUE(std::isnan(round(std::numeric_limits<float>::quiet_NaN())));
  }
}

/// A network without hidden layer: its drive and its gradient of weights are single products.
struct Products {
  static constexpr int inputs = 531, outputs = 37;
  static constexpr std::size_t batch = 21;

  Products() {
    fields.layers = {{inputs}, {outputs, cuda::Rho::clip, 1, 0, -1e9, 1e9}};
    fields.couplings = {{0, 1, 0, 0}};
    fields.biases = {std::ptrdiff_t{inputs} * outputs};
    fields.blocks = {{0}};
    fields.parameters = std::ptrdiff_t{inputs + 1} * outputs;
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    theta.resize(static_cast<std::size_t>(fields.parameters));
    x.resize(batch * inputs);
    for (float& v : theta) v = normal(random);
    for (float& v : x) v = normal(random);
  }
  /// States after one sweep, which are W x + b, then the gradient -s x^T and its biases.
  std::vector<float> results(Precision precision, const Cut& cut = {.threads = 64}) const {
    Engine<float> engine(fields, batch, cut, precision);
    engine.upload(theta.data());
    engine.clamp(x.data(), batch);
    engine.relax_free({.limit = 1}, 0);
    std::vector<float> found(batch * outputs + theta.size());
    engine.read(0, found.data());
    const double weight = 1;
    engine.contrast(0, std::span(&weight, 1));
    engine.read_gradient(found.data() + batch * outputs);
    return found;
  }
  std::size_t weight(int i, int j) const { return static_cast<std::size_t>(i + j * outputs); }

  NetworkFields fields;
  std::vector<float> theta, x;
};

/// Largest error of a product of two rounded factors, relative to that of the exact factors.
double of_product(Precision precision) {
  const double tf32 = std::exp2(-11), bf16 = std::exp2(-8), single = std::exp2(-24);
  switch (precision) {
    case Precision::tf32:
      return 2 * tf32 + tf32 * tf32;
    case Precision::
        tf32x3:  // the product of the two small parts is left out, and each of them is rounded
      return 3 * tf32 * tf32 * (1 + 2 * tf32) + single;
    case Precision::bf16:
      return 2 * bf16 + bf16 * bf16;
    case Precision::exact:
      break;
  }
  return 0;
}
/// Largest error of a sum of `terms` products in float32: each of three products is rounded and added.
double of_sum(int terms) {
  const double n = 3 * terms + 8;
  return n * std::exp2(-24) / (1 - n * std::exp2(-24));
}

TEST(Precision, ErrorsOfProductsObeyTheBoundsOfTheRoundings) {
  const Products p;
  for (const Precision precision :
       {Precision::exact, Precision::tf32, Precision::tf32x3, Precision::bf16}) {
    const std::vector<float> found = p.results(precision);
    double largest = 0;
    const std::size_t batch = Products::batch;
    for (int i = 0; i < Products::outputs; ++i) {
      for (std::size_t j = 0; j < batch; ++j) {
        double sum = p.theta[p.weight(i, Products::inputs)], size = std::abs(sum);
        for (int k = 0; k < Products::inputs; ++k) {
          const double term = double{p.theta[p.weight(i, k)]} *
                              double{p.x[j * Products::inputs + static_cast<std::size_t>(k)]};
          sum += term;
          size += std::abs(term);
        }
        const double error =
            std::abs(found[j * Products::outputs + static_cast<std::size_t>(i)] - sum);
        EXPECT_LE(error, (of_product(precision) + of_sum(Products::inputs)) * size);
        largest = std::max(largest, error / size);
      }
    }
    // The factors are rounded at random, so the sum of 531 terms has about of_product / sqrt(531) of the bound.
    if (precision == Precision::tf32 || precision == Precision::bf16) {
      EXPECT_GT(largest, 0.02 * of_product(precision));
    }
  }
}

TEST(Precision, GradientsOfWeightsObeyTheBounds) {
  const Products p;
  const auto batch = static_cast<int>(Products::batch);
  for (const Precision precision : rounded) {
    const std::vector<float> found = p.results(precision);
    const float* states = found.data();
    const float* gradient = states + Products::batch * Products::outputs;
    for (int i = 0; i < Products::outputs; ++i) {
      for (int k = 0; k < Products::inputs; ++k) {
        double sum = 0, size = 0;
        for (int j = 0; j < batch; ++j) {
          const double term = double{states[j * Products::outputs + i]} *
                              double{p.x[static_cast<std::size_t>(j * Products::inputs + k)]};
          sum -= term;
          size += std::abs(term);
        }
        EXPECT_LE(std::abs(gradient[p.weight(i, k)] - sum),
                  (of_product(precision) + of_sum(batch)) * size);
      }
      float sum = 0;  // biases are summed in float32 in order
      for (int j = 0; j < batch; ++j) sum += states[j * Products::outputs + i];
      EXPECT_EQ(gradient[p.weight(i, Products::inputs)], -sum);
    }
  }
}

TEST(Precision, BitsDoNotDependOnTheDivision) {
  const Products p;
  for (const Precision precision :
       {Precision::exact, Precision::tf32, Precision::tf32x3, Precision::bf16}) {
    const std::vector<float> found = p.results(precision);
    for (const int side : {32, 64, 128})
      for (const int cluster : {1, 2})
        EXPECT_EQ(p.results(precision, {.cluster = cluster, .threads = 64, .side = side}), found)
            << "side " << side << ", cluster " << cluster;
  }
}

TEST(Precision, BitsDoNotDependOnTheOrderOfThreads) {
  const Products p;
  Emulation emulation;
  for (const Precision precision : rounded) {
    const std::vector<float> found = p.results(precision);
    for (const auto order : {Emulation::Order::descending, Emulation::Order::random}) {
      emulation.set_order(order, 1);
      EXPECT_EQ(p.results(precision), found);
    }
    emulation.set_order(Emulation::Order::ascending);
  }
}

TEST(Precision, SumsOfLargeBatchesHaveTheBitsOfEveryDivision) {
  NetworkFields fields = Products().fields;
  fields.layers[0].units = 3;
  fields.layers[1].units = 2;
  fields.biases = {6};
  fields.parameters = 8;
  constexpr std::size_t batch = 5 * 512 + 7;  // more chunks than blocks of a cluster
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(3 * batch), s(2 * batch), theta(8, 0.5F);
  for (float& v : x) v = normal(random);
  for (float& v : s) v = normal(random);
  const auto gradient = [&](const Cut& cut) {
    Engine<float> engine(fields, batch, cut);
    engine.upload(theta.data());
    engine.clamp(x.data(), batch);
    engine.write(0, s.data());
    const double weight = 1;
    engine.contrast(0, std::span(&weight, 1));
    std::vector<float> found(8);
    engine.read_gradient(found.data());
    return found;
  };
  const std::vector<float> one = gradient({.cluster = 1});
  for (const int side : {32, 128}) EXPECT_EQ(gradient({.side = side}), one);
  for (int i = 0; i < 2; ++i) {  // chunks of 512 terms, each in order, and their sums in order
    float total = 0;
    for (std::size_t begin = 0; begin < batch; begin += 512) {
      float sum = 0;
      for (std::size_t j = begin; j < std::min(batch, begin + 512); ++j)
        sum += s[2 * j + static_cast<std::size_t>(i)];
      total = begin == 0 ? sum : total + sum;
    }
    EXPECT_EQ(one[6 + static_cast<std::size_t>(i)], -total);
  }
}

TEST(Precision, NamesAreThoseOfTheDocumentation) {
  EXPECT_EQ(cuda::precision_of("exact"), Precision::exact);
  EXPECT_EQ(cuda::precision_of("tf32"), Precision::tf32);
  EXPECT_EQ(cuda::precision_of("3xtf32"), Precision::tf32x3);
  EXPECT_EQ(cuda::precision_of("bf16"), Precision::bf16);
  for (const char* name : {"", "fp16", "TF32", "tf32x3"}) {
    try {
      cuda::precision_of(name);
      FAIL() << name;
    } catch (const InvalidArgument& error) {
      EXPECT_EQ(std::string(error.what()),
                std::string("[cuda] A precision is \"exact\", \"tf32\", \"3xtf32\" or \"bf16\". "
                            "Received ") +
                    name + ".");
    }
  }
}

TEST(Precision, DoublePrecisionIsExact) {
  const Case<double> of = zoo<double>()[0];
  for (const Precision precision : rounded)
    EXPECT_THROW(cuda::DeviceBatch<double>(of.network, 3, {}, precision), InvalidArgument);
}

TEST(Precision, RelaxationsAreExact) {
  const Case<float> of = zoo<float>()[1];
  const Data<float> data = data_of(of.network, 5);
  BlockUpdate sweeps;
  sweeps.tolerance = 0;
  sweeps.max_iterations = 4;
  // The drive of zeros is the bias in every precision; what follows has no rounded product.
  State<float> exact, found;
  for (const Precision precision : {Precision::exact, Precision::tf32, Precision::bf16}) {
    cuda::DeviceBatch<float> batch(of.network, 5, {.threads = 64}, precision);
    batch.clamp(State<float>::Zero(data.x.rows(), 5), data.y);
    batch.relax_free(sweeps, free_slot);
    found.resize(of.network.topology().state().size(), 5);
    batch.read(free_slot, found);
    if (precision == Precision::exact) exact = found;
    EXPECT_EQ(found, exact);
  }
}

}  // namespace
}  // namespace equiprop::device_tests
