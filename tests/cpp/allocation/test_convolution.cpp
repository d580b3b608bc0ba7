/// Products of convolutions allocate nothing, nor does packing after the first time.

#include <cstdint>

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

/// Returns the number of allocations of run().
template <class Run>
long allocations_of(const Run& run) {
  const long before = allocations;
  run();
  return allocations - before;
}

ConvolutionShape padded_shape() {
  ConvolutionShape s;
  s.channels = 5, s.height = s.width = s.out_height = s.out_width = 12;
  s.out_channels = 40;
  s.kernel = {5, 5}, s.padding = {2, 2};
  return s;
}

TEST(Convolution, AllocatesNothingAfterTheFirstPacking) {
  const ConvolutionShape s = padded_shape();
  PackedConvolution<float> convolution(s, 2);
  const Parameters<float> weights = Parameters<float>::Ones(s.weights());
  State<float> below = State<float>::Ones(s.size(), 9), above = State<float>::Ones(s.out_size(), 9);
  State<float> pooled = State<float>::Ones(convolution.pooled_size(), 9);
  std::vector<std::uint8_t> winners(static_cast<std::size_t>(pooled.size()));
  Parameters<float> scratch(convolution.scratch_size());
  const auto pack = [&] {
    convolution.pack_forward(weights.data(), 1);
    convolution.pack_transposed(weights.data(), 1);
  };
  EXPECT_GT(allocations_of(pack), 0);
  EXPECT_EQ(allocations_of(pack), 0);
  EXPECT_EQ(allocations_of([&] {
              convolution.add_forward(9, below.data(), below.rows(), above.data(), above.rows(),
                                      scratch.data());
              convolution.add_transposed(9, above.data(), above.rows(), below.data(), below.rows(),
                                         scratch.data());
              convolution.add_pooled(below.data(), pooled.data(), winners.data(), scratch.data());
              convolution.add_transposed_from_winners(pooled.data(), winners.data(), below.data(),
                                                      scratch.data());
            }),
            0);
}

TEST(ConvolutionGradient, AllocatesNothingAfterItsConstruction) {
  const ConvolutionShape s = padded_shape();
  for (const Index pool : {1, 2}) {
    ConvolutionGradient<float> gradient(s, pool);
    const State<float> below = State<float>::Ones(s.size(), 9),
                       above = State<float>::Ones(s.out_size(), 9);
    const std::vector<std::uint8_t> winners(static_cast<std::size_t>(above.size()));
    Parameters<float> grad = Parameters<float>::Zero(s.weights());
    EXPECT_EQ(allocations_of([&] {
                if (pool == 1)
                  gradient.add(1, 9, above.data(), above.rows(), below.data(), below.rows());
                else
                  gradient.add_from_winners(1, 9, above.data(), winners.data(), above.rows(),
                                            below.data(), below.rows());
                gradient.merge(gradient);
                gradient.finish(grad.data());
              }),
              0)
        << pool;
  }
}

}  // namespace
}  // namespace equiprop::tests
