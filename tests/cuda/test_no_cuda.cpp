/// The component in a build without CUDA.

#include <gtest/gtest.h>

#include "equiprop/cuda/device_batch.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

TEST(NoCuda, ASentenceSaysThatTheBuildHasNoKernels) {
  EXPECT_NE(cuda::why_unavailable().find("EQUIPROP_BUILD_CUDA=ON"), std::string::npos);
  const Case<float> of = zoo<float>()[0];
  try {
    cuda::DeviceBatch<float> batch(of.network, 1);
    FAIL() << "a batch was created";
  } catch (const cuda::DeviceError& error) {
    EXPECT_EQ(error.what(), cuda::why_unavailable());
  }
}

}  // namespace
}  // namespace equiprop::device_tests
