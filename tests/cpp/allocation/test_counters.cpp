/// The counters count: a test of the counters that the other tests of this folder use.

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

TEST(Counter, CountsWhatProgramsAndEigenAllocate) {
  const long before = allocations;
  const auto number = std::make_unique<int>(1);
  EXPECT_GT(allocations, before) << "operator new";
  const long between = allocations;
  State<double> a = State<double>::Ones(512, 512), b = a;
  EXPECT_GE(allocations, between + 2) << "Eigen's arrays";
  const long after = allocations;
  b.noalias() += a * a;
  EXPECT_GT(allocations, after) << "Eigen's product needs buffers at this size";
}

TEST(Counter, KnowsWhatIsAlive) {
  const long before = live_bytes;
  reset_peak();
  {
    const State<double> a = State<double>::Ones(512, 512);
    const auto number = std::make_unique<std::vector<char>>(1000);
    EXPECT_GE(live_bytes - before, 512 * 512 * 8 + 1000);
    EXPECT_LE(live_bytes - before, 512 * 512 * 8 + 1000 + 2 * 4096) << "rounded to pages at most";
  }
  EXPECT_EQ(live_bytes, before);
  EXPECT_GE(peak_bytes - before, 512 * 512 * 8 + 1000) << "what was alive is remembered";
  reset_peak();
  EXPECT_EQ(peak_bytes, before);
}

}  // namespace
}  // namespace equiprop::tests
