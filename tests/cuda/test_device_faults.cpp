/// Orders of threads, missing features and failures, which the emulator can bring about.

#include <gtest/gtest.h>

#include "device_step.hpp"
#include "emulation.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::DeviceError;
using cuda::Division;
using cuda::OutOfDeviceMemory;

TEST(Device, BitsDoNotDependOnTheOrderOfThreads) {
  for (const Case<float>& of : some_networks<float>()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 5);
    const Division division{2, 4, 64};
    const Step expected = step_of(of, division, data);
    Emulation emulation;
    emulation.set_order(Emulation::Order::descending);
    EXPECT_TRUE(same_bits(step_of(of, division, data), expected)) << "descending";
    for (const unsigned seed : {1U, 2U}) {
      emulation.set_order(Emulation::Order::random, seed);
      EXPECT_TRUE(same_bits(step_of(of, division, data), expected)) << "random " << seed;
    }
  }
}

TEST(Device, ADeviceWithoutClustersGivesTheSameBits) {
  const Case<float> of = zoo<float>()[1];
  const Data<float> data = data_of(of.network, 5);
  const Step expected = step_of(of, {8, 1, 64}, data);
  Emulation emulation;
  emulation.remove_clusters();
  EXPECT_TRUE(same_bits(step_of(of, {8, 1, 64}, data), expected));
}

TEST(Device, WithoutADeviceASentenceSaysSo) {
  Emulation emulation;
  EXPECT_EQ(cuda::why_unavailable(), "");
  emulation.remove_device();
  EXPECT_NE(cuda::why_unavailable().find("no CUDA device"), std::string::npos);
  const Case<float> of = zoo<float>()[0];
  EXPECT_THROW(DeviceBatch<float>(of.network, 4), DeviceError);
}

TEST(Device, EveryAllocationMayFailWithoutALeak) {
  const Case<float> of = zoo<float>()[0];
  const Data<float> data = data_of(of.network, 2);
  const std::size_t before = Emulation::living_allocations();
  const Step expected = step_of(of, {1, 1, 64}, data);
  long failures = 0;
  for (long n = 0;; ++n) {
    Emulation emulation;
    emulation.set_free_memory(1 << 20);
    emulation.fail_allocation(n);
    try {
      EXPECT_TRUE(same_bits(step_of(of, {1, 1, 64}, data), expected));
      break;
    } catch (const OutOfDeviceMemory& error) {
      EXPECT_GT(error.samples_that_fit(), 10U);
      EXPECT_NE(std::string(error.what()).find(std::to_string(error.samples_that_fit())),
                std::string::npos);
      ++failures;
    }
    EXPECT_EQ(Emulation::living_allocations(), before);
  }
  EXPECT_GT(failures, 10);
}

TEST(Device, AFailedLaunchIsSaidInEveryLaterCall) {
  const Case<float> of = zoo<float>()[0];
  const Data<float> data = data_of(of.network, 2);
  const std::size_t before = Emulation::living_allocations();
  long failures = 0;
  for (long n = 0;; ++n) {
    Emulation emulation;
    emulation.fail_launch(n);
    try {
      step_of(of, {1, 1, 64}, data);
      break;
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("lost to this process"), std::string::npos);
      EXPECT_THROW(step_of(of, {1, 1, 64}, data), DeviceError);
      ++failures;
    }
    EXPECT_EQ(Emulation::living_allocations(), before);
  }
  EXPECT_GT(failures, 8);
}

}  // namespace
}  // namespace equiprop::device_tests
