/// Functions of the batch of a device that the batch of the host does not have.

#include "batches.hpp"
#include "device_step.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::Division;

template <class T>
class DeviceTest : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(DeviceTest, Reals);

TYPED_TEST(DeviceTest, StepsOfOptimisersAreThoseOfTheHost) {
  using T = TypeParam;
  const Case<T> of = zoo<T>()[12];
  const Solver solver = with(BlockUpdate{}, 0, 6);
  const Index size = of.network.parameters().size();
  const BlockRates<T> rates{{0, T(0.1)}, {size / 2, T(0.03)}};
  const AdamStep<T> adam{T(0), T(0.9), T(0.99), T(1e-6), T(0.01), T(0.1), T(0.01)};
  for (const int kind : {0, 1, 2}) {
    OnDevice<T> device(of, data_of(of.network, 11));
    device.relax_free(solver);
    Parameters<T> theta = of.network.parameters(), first = Parameters<T>::Zero(size),
                  second = first;
    for (int step = 0; step < 3; ++step) {
      Parameters<T> gradient = Parameters<T>::Zero(size);
      AddTo<T> sum(gradient);
      Report report;
      std::vector<T> weights;
      equilibrium_propagation(device, centered<T>(0.25), solver, sum, report, weights);
      if (kind == 2) {
        device.descend(rates, adam);
        DescendAdam<T>(theta, first, second, rates, adam).numbers(0, gradient);
      } else {
        const T momentum = kind == 0 ? T(0) : T(0.9);
        device.descend(rates, momentum, T(0.01));
        Parameters<T> none(0);
        DescendSGD<T>(theta, kind == 0 ? ParametersRef<T>(none) : ParametersRef<T>(first), rates,
                      momentum, T(0.01))
            .numbers(0, gradient);
      }
    }
    Parameters<T> of_device(size);
    device.download(of_device);
    EXPECT_LT(relative(of_device, theta), rounding<T>()) << "optimiser " << kind;
    device.upload(theta);
    device.download(of_device);
    EXPECT_EQ(of_device, theta);
  }
}

TEST(Device, BitsDoNotDependOnTheDivisionOfLaunches) {
  for (const Case<float>& of : some_networks<float>()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 5);
    const Step expected = step_of(of, {1, 1, 64}, data);
    for (const Division division : {Division{1, 8, 128}, Division{2, 4, 64}, Division{3, 8, 96},
                                    Division{8, 1, 32}, Division{}})
      EXPECT_TRUE(same_bits(step_of(of, division, data), expected))
          << division.cluster << ' ' << division.tile << ' ' << division.threads;
  }
}

TEST(Device, WhatTheKernelsLackIsRefused) {
  const auto refused = [](const HopfieldNetwork<float>& network) {
    EXPECT_THROW(DeviceBatch<float>(network, 1), InvalidArgument);
  };
  refused(drawn<float>({layer(4), layer(5), layer(2)}, {{0, 1}, {1, 1}, {1, 2}}));
  std::vector<Layer> many(15, layer(3));
  refused(drawn<float>(many, chain(15)));

  const Case<float> of = zoo<float>()[0];
  const Data<float> data = data_of(of.network, 2);
  DeviceBatch<float> batch(of.network, 2, {1, 1, 64});
  batch.clamp(data.x, data.y);
  BlockUpdate accelerated;
  accelerated.anderson = 5;
  EXPECT_THROW(batch.relax_free(accelerated, free_slot), InvalidArgument);
  EXPECT_THROW(batch.solve(GMRES{}, free_slot, adjoint_slot), InvalidArgument);
  const Data<float> larger = data_of(of.network, 3);
  EXPECT_THROW(batch.clamp(larger.x, larger.y), InvalidArgument);
  EXPECT_THROW(batch.clamp(data.y, data.y), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::device_tests
