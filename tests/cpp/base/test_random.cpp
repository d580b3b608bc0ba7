/// The generator against published results, and its transforms against derived bounds.

#include <set>

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Known results of Philox4x32-10 that are distributed with Random123 (kat_vectors).
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, CountsBlocksUnderItsSeedAndStream) {
  Random random(0x299f31d0a4093822, 0x0370734413198a2e);
  for (std::uint32_t block = 0; block < 3; ++block) {
    const PhiloxBlock expected =
        philox({block, 0, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
    for (const auto word : expected) EXPECT_EQ(random.bits(), word);
  }
}

TEST(Random, UniformNumbersAreMultiplesOf2ToMinus53InTheUnitInterval) {
  Random random(1), symmetric(1);
  for (int i = 0; i < 10000; ++i) {
    const double u = random.uniform();
    EXPECT_GE(u, 0);
    EXPECT_LT(u, 1);
    EXPECT_EQ(u * 0x1p53, std::floor(u * 0x1p53));
    EXPECT_EQ(symmetric.symmetric(), 2 * u - 1);
  }
}

/// The means of n independent numbers are within 5 standard deviations; the seed is fixed.
TEST(Random, UniformNumbersHaveTheirMoments) {
  Random random(2);
  constexpr int n = 100000;
  double first = 0, second = 0, lagged = 0, last = 0.5;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    first += u / n;
    second += u * u / n;
    lagged += (u - 0.5) * (last - 0.5) / n;
    last = u;
  }
  const double five = 5 / std::sqrt(double{n});
  EXPECT_NEAR(first, 1.0 / 2, five * std::sqrt(1.0 / 12));
  EXPECT_NEAR(second, 1.0 / 3, five * std::sqrt(4.0 / 45));
  EXPECT_NEAR(lagged, 0, five / 12);
}

TEST(Random, BelowHitsEveryNumberEquallyOften) {
  for (const std::uint64_t n : {1, 2, 3, 10}) {
    Random random(3, n);
    constexpr int draws = 60000;
    std::vector<int> counts(n);
    for (int i = 0; i < draws; ++i) {
      const auto draw = random.below(n);
      ASSERT_LT(draw, n);
      ++counts[draw];
    }
    const double p = 1.0 / static_cast<double>(n), deviation = std::sqrt(draws * p * (1 - p));
    for (const int count : counts) EXPECT_NEAR(count, draws * p, 5 * deviation);
  }
}

/// n = 3/4 2^64: without rejection, the lower third would be drawn twice as often as the other numbers.
TEST(Random, BelowRejectsWhatWouldBias) {
  Random random(4);
  const std::uint64_t n = std::uint64_t{3} << 62;
  constexpr int draws = 30000;
  int lower_third = 0;
  for (int i = 0; i < draws; ++i) lower_third += random.below(n) < n / 3;
  EXPECT_NEAR(lower_third, draws / 3.0, 5 * std::sqrt(draws * 2.0 / 9));
}

TEST(Random, PermutationsArePermutations) {
  Random random(5);
  for (const std::int64_t n : {0, 1, 2, 17, 1000}) {
    const auto order = random.permutation(n);
    EXPECT_EQ(order.size(), static_cast<std::size_t>(n));
    const std::set<std::int64_t> values(order.begin(), order.end());
    EXPECT_EQ(values.size(), order.size());
    if (n > 0) {
      EXPECT_EQ(*values.begin(), 0);
      EXPECT_EQ(*values.rbegin(), n - 1);
    }
  }
}

TEST(Random, EveryOrderIsEquallyLikely) {
  Random random(6);
  constexpr int draws = 30000;
  std::vector<int> counts(27);
  for (int i = 0; i < draws; ++i) {
    const auto p = random.permutation(3);
    ++counts[static_cast<std::size_t>(9 * p[0] + 3 * p[1] + p[2])];
  }
  int seen = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++seen;
    EXPECT_NEAR(count, draws / 6.0, 5 * std::sqrt(draws * 5.0 / 36));
  }
  EXPECT_EQ(seen, 6);
}

TEST(Random, SeedsAndStreamsDifferAndRepeat) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (std::uint64_t stream = 0; stream < 20; ++stream) {
      const auto draw = Random(seed, stream).bits64();
      seen.insert(draw);
      EXPECT_EQ(draw, Random(seed, stream).bits64());
    }
  EXPECT_EQ(seen.size(), 400) << "two of 400 numbers of 64 bits are equal";
}

}  // namespace
}  // namespace equiprop::tests
