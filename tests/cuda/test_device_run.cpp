/// Runs of training steps on the emulated device: the steps are those that are taken one by one, for every division and
/// order of threads, and failures leave nothing behind.

#include <gtest/gtest.h>

#include <cstring>

#include "emulation.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::DeviceError;
using cuda::Division;
using cuda::OutOfDeviceMemory;
using cuda::RunSettings;
using cuda::RunState;
using cuda::RunStep;
using cuda::Stop;

constexpr Index samples = 7;
constexpr Index in_step = 3;

RunSettings<float> settings_of(const Case<float>& of) {
  BlockUpdate solver;
  solver.tolerance = 0;
  solver.max_iterations = 8;
  RunSettings<float> settings;
  settings.free = settings.nudged = solver;
  settings.logit_scale = of.logit_scale;
  settings.momentum = 0.9F;
  settings.clip = 0.05;
  settings.memory = 0.95;
  return settings;
}

RunStep<float> step_at(Index first) {
  RunStep<float> step{first, in_step, std::nullopt, centered<float>(0.25F), {{0, 0.1F}}};
  step.averaging = first == 0 ? cuda::Averaging::first : cuda::Averaging::later;
  step.averaging_weight = 0.5F;
  return step;
}

/// Results of a run of three steps.
struct Left {
  std::vector<cuda::StepRecord> records;
  Parameters<float> theta, velocity, mean;
  RunState state;
};

Left run(const Case<float>& of, const Division& division, const Data<float>& data,
         RunState state = {}) {
  DeviceBatch<float> batch(of.network, in_step, division);
  batch.hold({samples, data.x.data(), data.y.data(), nullptr, nullptr});
  const std::vector<RunStep<float>> steps{step_at(0), step_at(2), step_at(1)};
  const std::vector<int> rows{4, 0, 6, 2, 5};
  state.mean_norm = std::numeric_limits<double>::quiet_NaN();
  const Parameters<float> theta = of.network.parameters();
  auto result = batch.run(settings_of(of), steps, rows, state, theta);
  return {result.records, result.theta, result.first, result.mean, state};
}

bool same_bits(const auto& a, const auto& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(a[0])) == 0;
}
bool same_bits(const Left& a, const Left& b) {
  return same_bits(a.records, b.records) && same_bits(a.theta, b.theta) &&
         same_bits(a.velocity, b.velocity) && same_bits(a.mean, b.mean);
}

/// Networks with an energy, and a vector field.
std::vector<Case<float>> some_networks() {
  std::vector<Case<float>> all = zoo<float>();
  return {all[1], all[9], all[13]};
}

TEST(DeviceRun, BitsDependNeitherOnTheDivisionNorOnTheOrderOfThreads) {
  double cut = 0;
  for (const Case<float>& of : some_networks()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, samples);
    const Left expected = run(of, {1, 1, 64}, data);
    EXPECT_EQ(expected.state.steps, 3);
    cut += expected.state.clipped;
    EXPECT_FALSE(same_bits(expected.theta, of.network.parameters()));
    EXPECT_TRUE(same_bits(run(of, {2, 4, 64}, data), expected));
    Emulation emulation;
    emulation.set_order(Emulation::Order::descending);
    EXPECT_TRUE(same_bits(run(of, {1, 8, 64}, data), expected));
    emulation.set_order(Emulation::Order::random, 7);
    EXPECT_TRUE(same_bits(run(of, {1, 4, 64}, data), expected));
  }
  EXPECT_GT(cut, 0);
}

TEST(DeviceRun, ItsStepsAreThoseThatAreTakenOneByOne) {
  for (const Case<float>& of : some_networks()) {
    SCOPED_TRACE(of.name);
    const Data<float> data = data_of(of.network, samples);
    DeviceBatch<float> whole(of.network, in_step, {1, 1, 64}),
        single(of.network, in_step, {1, 1, 64});
    RunSettings<float> settings = settings_of(of);
    settings.clip = std::numeric_limits<double>::infinity();
    std::vector<RunStep<float>> steps{step_at(0), step_at(1)};
    for (auto& step : steps) step.averaging = cuda::Averaging::none;
    const std::vector<int> rows{4, 0, 6, 2};
    whole.hold({samples, data.x.data(), data.y.data(), nullptr, nullptr});
    RunState state;
    const auto result = whole.run(settings, steps, rows, state, Parameters<float>());
    Report report;
    std::vector<float> weights;
    for (const Index first : {0, 1}) {
      State<float> x(data.x.rows(), in_step), y(data.y.rows(), in_step);
      for (Index j = 0; j < in_step; ++j) {
        x.col(j) = data.x.col(rows[static_cast<std::size_t>(first + j)]);
        y.col(j) = data.y.col(rows[static_cast<std::size_t>(first + j)]);
      }
      single.clamp(x, y, of.logit_scale);
      single.relax_free(settings.free, free_slot);
      Parameters<float> gradient = Parameters<float>::Zero(of.network.parameters().size());
      AddTo<float> sink(gradient);
      equilibrium_propagation(single, steps[0].rule, settings.nudged, sink, report, weights);
      single.descend(steps[0].rates, 0.9F, 0.0F);
    }
    Parameters<float> theta(of.network.parameters().size());
    single.download(theta);
    EXPECT_TRUE(same_bits(result.theta, theta));
    const Report last = whole.reports().second;
    EXPECT_TRUE((last.status == report.status).all());
    EXPECT_TRUE((last.iterations == report.iterations).all());
    EXPECT_TRUE((last.residual == report.residual).all());
    for (Index j = 0; j < in_step; ++j)
      EXPECT_EQ(static_cast<float>(report.error(j)), static_cast<float>(last.error(j)));
    EXPECT_THROW(whole.objective(free_slot), InvalidArgument);  // its targets are not on the host
  }
}

TEST(DeviceRun, StepsAfterAFailureChangeNothing) {
  const Case<float> of = zoo<float>()[1];
  Data<float> data = data_of(of.network, samples);
  const Left good = run(of, {1, 1, 64}, data);
  data.x(0, 5) =
      std::numeric_limits<float>::quiet_NaN();  // in the second step, from the third row on
  const Left bad = run(of, {1, 1, 64}, data);
  EXPECT_EQ(bad.state.stopped, static_cast<int>(Stop::free_phase));
  EXPECT_EQ(bad.state.steps, 1);
  EXPECT_EQ(bad.records[0].stop, 0);
  EXPECT_EQ(bad.records[1].stop, static_cast<int>(Stop::free_phase));
  EXPECT_EQ(bad.records[1].free[static_cast<int>(Status::diverged)], 1);
  EXPECT_EQ(bad.records[2].stop, -1);
  EXPECT_EQ(good.records[0].objective, bad.records[0].objective);
  EXPECT_TRUE(same_bits(bad.mean, bad.theta));  // that of the first step
  EXPECT_TRUE(bad.theta.allFinite());
  EXPECT_FALSE(same_bits(bad.theta, of.network.parameters()));
}

TEST(DeviceRun, EveryAllocationAndEveryLaunchMayFailWithoutALeak) {
  const Case<float> of = zoo<float>()[0];
  const Data<float> data = data_of(of.network, samples);
  const std::size_t before = Emulation::living_allocations();
  const Left expected = run(of, {1, 1, 64}, data);
  for (const bool launches : {false, true}) {
    long failures = 0;
    for (long n = 0;; n += launches ? 5 : 1) {
      Emulation emulation;
      launches ? emulation.fail_launch(n) : emulation.fail_allocation(n);
      try {
        EXPECT_TRUE(same_bits(run(of, {1, 1, 64}, data), expected));
        break;
      } catch (const OutOfDeviceMemory&) {
        EXPECT_FALSE(launches);
      } catch (const DeviceError&) {
        EXPECT_TRUE(launches);
      }
      ++failures;
      EXPECT_EQ(Emulation::living_allocations(), before);
    }
    EXPECT_GT(failures, launches ? 5 : 25);
  }
}

TEST(DeviceRun, ArgumentsThatDoNotFitAreRefused) {
  const Case<float> of = zoo<float>()[0];
  const Data<float> data = data_of(of.network, samples);
  DeviceBatch<float> batch(of.network, in_step, {1, 1, 64});
  RunState state;
  const Parameters<float> none;
  const auto refused = [&](const RunStep<float>& step, const std::vector<int>& rows,
                           const Parameters<float>& mean) {
    const std::vector<RunStep<float>> steps{step};
    EXPECT_THROW(batch.run(settings_of(of), steps, rows, state, mean), InvalidArgument);
  };
  refused(step_at(0), {0, 1, 2}, none);  // no samples are held
  batch.hold({samples, data.x.data(), data.y.data(), nullptr, nullptr});
  refused(step_at(0), {0, 1, static_cast<int>(samples)}, none);
  refused(step_at(1), {0, 1, 2}, none);
  refused(step_at(0), {0, 1, 2}, Parameters<float>(2));
  RunStep<float> step = step_at(0);
  step.rule.clear();
  refused(step, {0, 1, 2}, none);
  step = step_at(0);
  step.first.reset();  // no batch is clamped
  refused(step, {0, 1, 2}, none);
  EXPECT_THROW(batch.run(settings_of(of), {}, {}, state, none), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::device_tests
