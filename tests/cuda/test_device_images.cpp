/// Networks of images: the batch of a device against the batch of the host, bits, and failures.

#include <gtest/gtest.h>

#include <cstring>

#include "emulation.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/host_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "image_networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::DeviceError;
using cuda::Division;
using cuda::OutOfDeviceMemory;

constexpr Index samples = 3;

/// Rounding errors of some hundred sums of up to 300 terms.
template <class T>
double rounding() {
  return std::same_as<T, float> ? 2e-6 : 1e-12;
}

/// A mini-batch of one network on the host and on the device.
template <class T>
struct Both {
  explicit Both(const Case<T>& of)
      : data(data_of(of.network, samples)),
        host(of.network.clamp(data.x), cost_of(of)),
        device(of.network, samples),
        at_rest(of.network.initial_state(samples)) {
    host.set_judging(Judging::none);
    device.clamp(data.x, data.y, of.logit_scale);
  }
  AnyCost<T> cost_of(const Case<T>& of) const {
    if (of.logit_scale == 0) return SquaredError<T>(data.y);
    return CrossEntropy<T>(data.y, of.logit_scale);
  }
  /// The difference of the states, relative to their size if that is larger than 1.
  double difference(Slot slot) const {
    State<T> s(host.energy().num_units(), samples);
    device.read(slot, s);
    const double size = static_cast<double>(host.state(slot).array().abs().maxCoeff());
    return static_cast<double>((s - host.state(slot)).array().abs().maxCoeff()) /
           std::max(1.0, size);
  }
  /// Relaxes on both sides, and gives the device the bits of the host's state.
  const Report& relax_free(const Solver& solver) {
    const auto from_rest = [&](Index begin, StateRef<T> s) {
      s = at_rest.middleCols(begin, s.cols());
    };
    host.relax_free(solver, from_rest, free_slot);
    return device.relax_free(solver, free_slot);
  }
  void copy_free_state() { device.write(free_slot, host.state(free_slot)); }

  Data<T> data;
  HostBatch<T> host;
  DeviceBatch<T> device;
  State<T> at_rest;
};

template <class Rule>
Solver with(Rule rule, double tolerance, Index limit) {
  rule.tolerance = tolerance;
  rule.max_iterations = limit;
  return rule;
}

template <class T>
double relative(const Parameters<T>& a, const Parameters<T>& b) {
  return static_cast<double>((a - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff());
}

template <class T>
class DeviceImages : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(DeviceImages, Reals);

TYPED_TEST(DeviceImages, FixedStepsOfEverySolverGiveTheStatesOfTheHost) {
  using T = TypeParam;
  FixedPointIteration damped;
  damped.damping = 0.25;
  Euler euler;
  euler.step_size = 0.02;
  for (const Case<T>& of : image_zoo<T>())
    for (const Solver& solver :
         {with(BlockUpdate{}, 0, 6), with(damped, 0, 6), with(euler, 0, 6)}) {
      SCOPED_TRACE(of.name + ", solver " + std::to_string(solver.index()));
      Both<T> both(of);
      both.relax_free(solver);
      EXPECT_LT(both.difference(free_slot), rounding<T>());
      for (const T beta : {T(0.3), T(-0.3)}) {
        both.copy_free_state();
        both.host.relax(solver, beta, free_slot, nudged_slot);
        const Report& report = both.device.relax(solver, beta, free_slot, nudged_slot);
        EXPECT_LT(both.difference(nudged_slot), rounding<T>()) << "beta " << beta;
        EXPECT_TRUE((report.status == Status::fixed_steps).all());
        EXPECT_TRUE((report.iterations == 6).all());
      }
    }
}

TYPED_TEST(DeviceImages, SamplesStopAsOnTheHost) {
  using T = TypeParam;
  const double tolerance = std::same_as<T, float> ? 1e-3 : 1e-7;
  for (const Case<T>& of : image_zoo<T>())
    for (const Solver& solver :
         {with(BlockUpdate{}, tolerance, 40), with(FixedPointIteration{}, tolerance, 40)}) {
      SCOPED_TRACE(of.name + ", solver " + std::to_string(solver.index()));
      Both<T> both(of);
      const Report device = both.relax_free(solver);
      const Report& host = both.host.report(free_slot);
      EXPECT_TRUE((device.status == host.status).all());
      EXPECT_TRUE((device.iterations == host.iterations).all())
          << device.iterations.transpose() << "\n"
          << host.iterations.transpose();
      if ((host.status == Status::converged).all()) {
        EXPECT_LT((device.residual - host.residual).abs().maxCoeff(), rounding<T>());
      }
      both.copy_free_state();
      const Report nudged = both.host.relax(solver, T(0.2), free_slot, nudged_slot);
      const Report& of_device = both.device.relax(solver, T(0.2), free_slot, nudged_slot);
      EXPECT_TRUE((of_device.status == nudged.status).all());
      EXPECT_TRUE((of_device.iterations == nudged.iterations).all())
          << of_device.iterations.transpose() << "\n"
          << nudged.iterations.transpose();
    }
}

TYPED_TEST(DeviceImages, EquilibriumPropagationGivesTheGradientOfTheHost) {
  using T = TypeParam;
  const Solver solver = with(BlockUpdate{}, 0, 5);
  for (const Case<T>& of : image_zoo<T>())
    for (const NudgingRule<T>& rule : {centered<T>(0.25), one_sided<T>(-0.25)}) {
      SCOPED_TRACE(of.name + ", nodes " + std::to_string(rule.size()));
      Both<T> both(of);
      both.relax_free(solver);
      both.copy_free_state();
      if (rule.size() == 2) {
        const PerSample<T> weights = PerSample<T>::LinSpaced(samples, T(0), T(2));
        both.host.set_sample_weights(weights);
        both.device.set_sample_weights(weights);
      }
      const Index size = of.network.parameters().size();
      Parameters<T> host = Parameters<T>::Zero(size), device = host;
      AddTo<T> to_host(host), to_device(device);
      Report report;
      std::vector<T> weights;
      equilibrium_propagation(both.host, rule, solver, to_host, report, weights);
      equilibrium_propagation(both.device, rule, solver, to_device, report, weights);
      EXPECT_LT(relative<T>(device, host), 10 * rounding<T>());
      State<T> of_host = State<T>::Zero(both.data.x.rows(), samples), of_device = of_host;
      add_input_contrast(both.host, std::span<const T>(weights), StateRef<T>(of_host));
      add_input_contrast(both.device, std::span<const T>(weights), StateRef<T>(of_device));
      EXPECT_LT((of_device - of_host).array().abs().maxCoeff(), 10 * rounding<T>());
      EXPECT_NEAR(both.device.objective(free_slot), both.host.objective(free_slot),
                  10 * rounding<T>());
    }
}

TYPED_TEST(DeviceImages, RecurrentBackpropagationGivesTheGradientOfTheHost) {
  using T = TypeParam;
  const Solver solver = with(BlockUpdate{}, std::same_as<T, float> ? 1e-5 : 1e-11, 300);
  ConjugateGradient linear;
  linear.tolerance = std::same_as<T, float> ? 1e-6 : 1e-13;
  for (const Case<T>& of : image_zoo<T>()) {
    SCOPED_TRACE(of.name);
    Both<T> both(of);
    both.relax_free(solver);
    both.copy_free_state();
    if (!both.device.conservative()) {
      EXPECT_THROW(both.device.solve(linear, free_slot, adjoint_slot), InvalidArgument);
      continue;
    }
    const Index size = of.network.parameters().size();
    Parameters<T> host = Parameters<T>::Zero(size), device = host;
    AddTo<T> to_host(host), to_device(device);
    Report of_host, of_device;
    recurrent_backpropagation(both.host, linear, to_host, of_host);
    recurrent_backpropagation(both.device, linear, to_device, of_device);
    EXPECT_TRUE((of_device.status == of_host.status).all());
    EXPECT_LT(both.difference(adjoint_slot), 100 * rounding<T>());
    EXPECT_LT(relative<T>(device, host), 100 * rounding<T>());
  }
}

TYPED_TEST(DeviceImages, AnImageWithTheChannelsFirstEntersAsOnTheHost) {
  using T = TypeParam;
  for (const bool dense : {false, true}) {
    const Coupling first = dense ? Coupling(Dense{0, 1}) : Coupling(Convolution{0, 1, windows(3)});
    const HopfieldNetwork<T> units =
        drawn<T>({image(3, 4, 5), dense ? vector_of(6) : image(2, 2, 3), vector_of(3)},
                 {first, Dense{1, 2}});
    const Topology& topology = units.topology();
    Case<T> of{"channels first", HopfieldNetwork<T>(Topology(
                                     topology.layers(), topology.couplings(), topology.potential(),
                                     topology.feedback(), ImageFormat::channels_first))};
    of.network.parameters() = units.parameters();
    const Solver solver = with(BlockUpdate{}, 0, 5);
    Both<T> both(of);
    both.relax_free(solver);
    EXPECT_LT(both.difference(free_slot), rounding<T>());
    both.copy_free_state();
    State<T> of_host = State<T>::Zero(both.data.x.rows(), samples), of_device = of_host;
    const std::vector<T> weight{T(1)};
    both.host.input_contrast(free_slot, weight, of_host);
    both.device.input_contrast(free_slot, weight, of_device);
    EXPECT_LT((of_device - of_host).array().abs().maxCoeff(), rounding<T>());
  }
}

// ---- bits and failures

bool same_bits(const auto& a, const auto& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(a(0))) == 0;
}
/// The results of one training step.
struct Step {
  State<float> free, nudged;
  PerSample<Status> status;
  Parameters<float> contrast;
};
bool same_bits(const Step& a, const Step& b) {
  return same_bits(a.free, b.free) && same_bits(a.nudged, b.nudged) &&
         same_bits(a.status, b.status) && same_bits(a.contrast, b.contrast);
}

BlockUpdate stopping() {
  BlockUpdate solver;
  solver.tolerance = 1e-2;
  solver.max_iterations = 10;
  return solver;
}
Step step_of(DeviceBatch<float>& batch, const Case<float>& of, const Data<float>& data) {
  batch.clamp(data.x, data.y, of.logit_scale);
  Step step;
  step.status = batch.relax_free(stopping(), free_slot).status;
  step.free.resize(of.network.topology().state().size(), data.x.cols());
  step.nudged = step.free;
  batch.read(free_slot, step.free);
  step.contrast = Parameters<float>::Zero(of.network.parameters().size());
  AddTo<float> contrast(step.contrast);
  Report report;
  std::vector<float> weights;
  equilibrium_propagation(batch, centered<float>(0.25F), stopping(), contrast, report, weights);
  batch.read(nudged_slot, step.nudged);
  return step;
}
Step step_of(const Case<float>& of, const Division& division, const Data<float>& data) {
  DeviceBatch<float> batch(of.network, data.x.cols(), division);
  return step_of(batch, of, data);
}

/// Networks with all kinds of couplings.
std::vector<Case<float>> some_images() {
  std::vector<Case<float>> all = image_zoo<float>();
  return {all[1], all[5], all[7]};
}

TEST(Images, BitsDoNotDependOnTheDivisionOfLaunches) {
  for (const Case<float>& of : some_images()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 4);
    const Step expected = step_of(of, {.tile = 1}, data);
    for (const int tile : {4, 8, 0})
      EXPECT_TRUE(same_bits(step_of(of, {.tile = tile}, data), expected)) << tile;
  }
}

TEST(Images, BitsDoNotDependOnTheOrderOfThreads) {
  for (const Case<float>& of : some_images()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 3);
    const Step expected = step_of(of, {}, data);
    Emulation emulation;
    emulation.set_order(Emulation::Order::descending);
    EXPECT_TRUE(same_bits(step_of(of, {}, data), expected)) << "descending";
    emulation.set_order(Emulation::Order::random, 1);
    EXPECT_TRUE(same_bits(step_of(of, {}, data), expected)) << "random";
  }
}

TEST(Images, BitsOfASampleDoNotDependOnItsBatchMates) {
  for (const Case<float>& of : some_images()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, 7);
    const Step all = step_of(of, {.tile = 8}, data);
    for (const Index j : {0, 6}) {
      const Step one = step_of(of, {.tile = 4}, {data.x.middleCols(j, 1), data.y.middleCols(j, 1)});
      EXPECT_TRUE(same_bits(one.free, State<float>(all.free.col(j))));
      EXPECT_TRUE(same_bits(one.nudged, State<float>(all.nudged.col(j))));
    }
  }
}

TEST(Images, AGraphServesLaterBatches) {
  const Case<float> of = image_zoo<float>()[1];
  DeviceBatch<float> batch(of.network, 4);
  for (const Index count : {4, 2, 4}) {
    const Data<float> data = data_of(of.network, count, 5 + static_cast<unsigned>(count));
    const Step expected = step_of(of, {}, data);
    EXPECT_TRUE(same_bits(step_of(batch, of, data), expected)) << count << " samples";
    EXPECT_TRUE(same_bits(step_of(batch, of, data), expected)) << count << " samples again";
  }
}

TEST(Images, ASampleThatDivergesIsLeftWhereItBeganAndItsMatesKeepTheirBits) {
  for (const Case<float>& of : some_images()) {
    SCOPED_TRACE(of.name);
    Data<float> data = data_of(of.network, 5);
    const Step expected = step_of(of, {}, data);
    data.x(3, 2) = std::numeric_limits<float>::quiet_NaN();
    const Step step = step_of(of, {}, data);
    for (Index j = 0; j < 5; ++j) {
      EXPECT_EQ(step.status(j) == Status::diverged, j == 2);
      const State<float> mate = step.free.col(j);
      const State<float> free =
          j == 2 ? of.network.initial_state(1) : State<float>(expected.free.col(j));
      EXPECT_TRUE(same_bits(mate, free)) << j;
    }
  }
}

TEST(Images, EveryAllocationMayFailWithoutALeak) {
  const Case<float> of = image_zoo<float>()[1];
  const Data<float> data = data_of(of.network, 2);
  const std::size_t before = Emulation::living_allocations();
  const Step expected = step_of(of, {}, data);
  long failures = 0, graphs = 0;
  for (long n = 0;; ++n) {
    Emulation emulation;
    emulation.set_free_memory(1 << 24);
    emulation.fail_allocation(n);
    try {
      EXPECT_TRUE(same_bits(step_of(of, {}, data), expected));
      break;
    } catch (const OutOfDeviceMemory& error) {
      EXPECT_GT(error.samples_that_fit(), 10U);
      graphs += std::string(error.what()).find("building a graph failed") != std::string::npos;
      ++failures;
    }
    EXPECT_EQ(Emulation::living_allocations(), before);
  }
  EXPECT_GT(failures, 30);
  EXPECT_EQ(graphs, 2) << "of the free phase and of the nudged phases";
}

TEST(Images, AFailedLaunchIsSaidInEveryLaterCall) {
  const Case<float> of = image_zoo<float>()[1];
  const Data<float> data = data_of(of.network, 2);
  const std::size_t before = Emulation::living_allocations();
  long failures = 0;
  for (const long n : {0, 2, 5, 8, 11, 14, 17, 20, 40, 60}) {
    Emulation emulation;
    emulation.fail_launch(n);
    try {
      step_of(of, {}, data);
      ADD_FAILURE() << n;
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("lost to this process"), std::string::npos);
      EXPECT_THROW(step_of(of, {}, data), DeviceError);
      ++failures;
    }
    EXPECT_EQ(Emulation::living_allocations(), before);
  }
  EXPECT_EQ(failures, 10);
}

TEST(Images, WhatTheKernelsLackIsRefused) {
  const auto refused = [](const HopfieldNetwork<float>& network) {
    EXPECT_THROW(DeviceBatch<float>(network, 1), InvalidArgument);
  };
  const Layer input = image(1, 10, 10), outputs = vector_of(2);
  refused(
      drawn<float>({input, image(2, 4, 4), outputs}, {SoftPooled{0, 1, windows(3)}, Dense{1, 2}}));
  refused(drawn<float>({input, image(2, 1, 1), outputs},
                       {MaxPooled{0, 1, windows(1), 9}, Dense{1, 2}}));
  refused(drawn<float>(
      {input, image(2, 10, 10), outputs},
      {Convolution{0, 1, windows(1)}, Convolution{1, 1, windows(3, 1, 1)}, Dense{1, 2}}));
  EXPECT_THROW(DeviceBatch<float>(image_zoo<float>()[0].network, 1, {}, cuda::Precision::tf32),
               InvalidArgument);
}

}  // namespace
}  // namespace equiprop::device_tests
