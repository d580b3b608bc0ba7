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

constexpr Index samples = 5;

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
  double difference(Slot slot) const {
    State<T> s(host.energy().num_units(), samples);
    device.read(slot, s);
    return static_cast<double>((s - host.state(slot)).array().abs().maxCoeff());
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
         {with(BlockUpdate{}, tolerance, 50), with(FixedPointIteration{}, tolerance, 50)}) {
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

}  // namespace
}  // namespace equiprop::device_tests
