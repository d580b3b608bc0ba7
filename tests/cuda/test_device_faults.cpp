/// Bits and failures of the emulated device.

#include <gtest/gtest.h>

#include <cstring>

#include "emulation.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::DeviceError;
using cuda::Division;
using cuda::OutOfDeviceMemory;

BlockUpdate stopping() {
  BlockUpdate solver;
  solver.tolerance = 1e-4;
  solver.max_iterations = 40;
  return solver;
}

/// The results of one training step: states, statuses, gradients, and parameters after the step.
struct Step {
  State<float> free, nudged, lambda;
  PerSample<Status> status;
  Parameters<float> contrast, mixed, theta;

  bool operator==(const Step&) const = default;
};

bool same_bits(const auto& a, const auto& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(a(0))) == 0;
}
bool same_bits(const Step& a, const Step& b) {
  return same_bits(a.free, b.free) && same_bits(a.nudged, b.nudged) &&
         same_bits(a.lambda, b.lambda) && same_bits(a.status, b.status) &&
         same_bits(a.contrast, b.contrast) && same_bits(a.mixed, b.mixed) &&
         same_bits(a.theta, b.theta);
}

Step step_of(const Case<float>& of, const Division& division, const Data<float>& data) {
  DeviceBatch<float> batch(of.network, data.x.cols(), division);
  batch.clamp(data.x, data.y, of.logit_scale);
  Step step;
  step.status = batch.relax_free(stopping(), free_slot).status;
  const Index units = of.network.topology().state().size();
  for (State<float>* s : {&step.free, &step.nudged, &step.lambda})
    *s = State<float>::Zero(units, data.x.cols());
  batch.read(free_slot, step.free);
  const Index size = of.network.parameters().size();
  step.contrast = step.mixed = Parameters<float>::Zero(size);
  AddTo<float> contrast(step.contrast), mixed(step.mixed);
  Report report;
  std::vector<float> weights;
  equilibrium_propagation(batch, centered<float>(0.25F), stopping(), contrast, report, weights);
  batch.read(nudged_slot, step.nudged);
  if (batch.conservative()) recurrent_backpropagation(batch, ConjugateGradient{}, mixed, report);
  if (batch.conservative()) batch.read(adjoint_slot, step.lambda);
  batch.descend({{0, 0.1F}}, 0.9F, 0.0F);
  step.theta.resize(size);
  batch.download(step.theta);
  return step;
}

/// The networks whose bits are compared: many layers, smooth units, a graph, a vector field.
std::vector<Case<float>> some_networks() {
  std::vector<Case<float>> all = zoo<float>();
  return {all[1], all[4], all[9], all[12], all[13]};
}

TEST(Device, BitsDoNotDependOnTheDivisionOfLaunches) {
  for (const Case<float>& of : some_networks()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 5);
    const Step expected = step_of(of, {1, 1, 64}, data);
    for (const Division division : {Division{1, 8, 128}, Division{2, 4, 64}, Division{3, 8, 96},
                                    Division{8, 1, 32}, Division{}})
      EXPECT_TRUE(same_bits(step_of(of, division, data), expected))
          << division.cluster << ' ' << division.tile << ' ' << division.threads;
  }
}

TEST(Device, BitsDoNotDependOnTheOrderOfThreads) {
  for (const Case<float>& of : some_networks()) {
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

TEST(Device, BitsOfASampleDoNotDependOnItsBatchMates) {
  for (const Case<float>& of : some_networks()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 9);
    const Step all = step_of(of, {1, 4, 64}, data);
    for (const Index j : {0, 8}) {
      const Step one = step_of(of, {1, 4, 64}, {data.x.middleCols(j, 1), data.y.middleCols(j, 1)});
      EXPECT_TRUE(same_bits(one.free, State<float>(all.free.col(j))));
      EXPECT_TRUE(same_bits(one.nudged, State<float>(all.nudged.col(j))));
      EXPECT_TRUE(same_bits(one.lambda, State<float>(all.lambda.col(j))));
    }
  }
}

TEST(Device, ASampleThatDivergesIsLeftWhereItBeganAndItsMatesKeepTheirBits) {
  const Case<float> of = zoo<float>()[1];
  Data<float> data = data_of(of.network, 5);
  const Step expected = step_of(of, {1, 4, 64}, data);
  data.x(3, 2) = std::numeric_limits<float>::quiet_NaN();
  const Step step = step_of(of, {1, 4, 64}, data);
  for (Index j = 0; j < 5; ++j) {
    EXPECT_EQ(step.status(j) == Status::diverged, j == 2);
    const State<float> mate = step.free.col(j);
    if (j == 2)
      EXPECT_TRUE(same_bits(mate, State<float>(of.network.initial_state(1))));
    else
      EXPECT_TRUE(same_bits(mate, State<float>(expected.free.col(j))));
  }
}

TEST(Device, AGradientThatIsNotFiniteIsNotDelivered) {
  const Case<float> of = zoo<float>()[5];
  const Data<float> data = data_of(of.network, 3);
  DeviceBatch<float> batch(of.network, 3, {1, 1, 64});
  batch.clamp(data.x, data.y);
  const Index units = of.network.topology().state().size();
  batch.write(free_slot, State<float>::Constant(units, 3, 3e38F));
  Parameters<float> theta = of.network.parameters(), none(0);
  DescendSGD<float> sink(theta, none, {{0, 0.1F}}, 0.0F, 0.0F);
  const std::vector<float> weights{1.0F};
  EXPECT_FALSE(batch.contrast(free_slot, weights, sink));
  EXPECT_EQ(theta, of.network.parameters());
  Report report(3);
  report.status.setConstant(Status::converged);
  batch.mark_contrast(free_slot, weights, report);
  EXPECT_TRUE((report.status == Status::diverged).all());
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
