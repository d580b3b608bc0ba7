/// The batch of a device against the batch of the host, on every kind of network. The kernels run in the emulator, or on a
/// GPU if the component was built with CUDA.

#include <gtest/gtest.h>

#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/host_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::Division;

constexpr Division small_blocks{.threads = 64};
constexpr Index samples = 11;

/// Rounding errors of some hundred sums of up to 130 terms: about 1e4 eps in the worst case.
template <class T>
double rounding() {
  return std::same_as<T, float> ? 2e-6 : 1e-12;
}

/// A mini-batch of one network on the host and on the device.
template <class T>
struct Both {
  explicit Both(const Case<T>& of, Division division = small_blocks)
      : data(data_of(of.network, samples)),
        host(of.network.clamp(data.x), cost_of(of)),
        device(of.network, samples, division) {
    host.set_judging(Judging::none);
    device.clamp(data.x, data.y, of.logit_scale);
  }
  AnyCost<T> cost_of(const Case<T>& of) const {
    if (of.logit_scale == 0) return SquaredError<T>(data.y);
    return CrossEntropy<T>(data.y, of.logit_scale);
  }
  State<T> of_device(Slot slot) const {
    State<T> s(host.energy().num_units(), samples);
    device.read(slot, s);
    return s;
  }
  double difference(Slot slot) const {
    return static_cast<double>((of_device(slot) - host.state(slot)).array().abs().maxCoeff());
  }
  void relax_free(const Solver& solver) {
    const auto from_rest = [&](Index begin, StateRef<T> s) {
      s = at_rest.middleCols(begin, s.cols());
    };
    host.relax_free(solver, from_rest, free_slot);
    device.relax_free(solver, free_slot);
  }

  Data<T> data;
  HostBatch<T> host;
  DeviceBatch<T> device;
  State<T> at_rest;
};

template <class T>
Both<T> both_of(const Case<T>& of, Division division = small_blocks) {
  Both<T> both(of, division);
  both.at_rest = of.network.initial_state(samples);
  return both;
}

template <class T>
double relative(const Parameters<T>& a, const Parameters<T>& b) {
  return static_cast<double>((a - b).cwiseAbs().maxCoeff() / b.cwiseAbs().maxCoeff());
}

template <class Rule>
Solver with(Rule rule, double tolerance, Index limit) {
  rule.tolerance = tolerance;
  rule.max_iterations = limit;
  return rule;
}

template <class T>
class DeviceTest : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(DeviceTest, Reals);

TYPED_TEST(DeviceTest, FixedStepsOfEverySolverGiveTheStatesOfTheHost) {
  using T = TypeParam;
  FixedPointIteration damped;
  damped.damping = 0.25;
  Euler euler;
  euler.step_size = 0.02;  // a larger one leaves the range of a steep logistic function
  for (const Case<T>& of : zoo<T>()) {
    for (const Solver& solver :
         {with(BlockUpdate{}, 0, 7), with(damped, 0, 7), with(euler, 0, 7)}) {
      SCOPED_TRACE(of.name + ", solver " + std::to_string(solver.index()));
      Both<T> both = both_of(of);
      both.relax_free(solver);
      EXPECT_LT(both.difference(free_slot), rounding<T>());
      for (const T beta : {T(0.3), T(-0.3), T(0)}) {
        both.device.write(free_slot, both.host.state(free_slot));
        both.host.relax(solver, beta, free_slot, nudged_slot);
        const Report& report = both.device.relax(solver, beta, free_slot, nudged_slot);
        EXPECT_LT(both.difference(nudged_slot), rounding<T>()) << "beta " << beta;
        EXPECT_TRUE((report.status == Status::fixed_steps).all());
        EXPECT_TRUE((report.iterations == 7).all());
      }
    }
  }
}

TYPED_TEST(DeviceTest, AFreePhaseStartsAtAGivenState) {
  using T = TypeParam;
  const Solver solver = with(BlockUpdate{}, 0, 3);
  for (const Case<T>& of : zoo<T>()) {
    SCOPED_TRACE(of.name);
    Both<T> both = both_of(of);
    const State<T> start = State<T>::Constant(both.at_rest.rows(), samples, T(0.4));
    const auto from_start = [&](Index begin, StateRef<T> s) {
      s = start.middleCols(begin, s.cols());
    };
    both.host.relax_free(solver, from_start, free_slot);
    both.device.write(nudged_slot, start);
    both.device.relax_free(solver, free_slot, nudged_slot);
    EXPECT_LT(both.difference(free_slot), rounding<T>());
  }
}

TYPED_TEST(DeviceTest, SamplesStopAsOnTheHost) {
  using T = TypeParam;
  const double tolerance = std::same_as<T, float> ? 1e-3 : 1e-7;
  for (const Case<T>& of : zoo<T>()) {
    for (const Solver& solver :
         {with(BlockUpdate{}, tolerance, 60), with(FixedPointIteration{}, tolerance, 60)}) {
      SCOPED_TRACE(of.name + ", solver " + std::to_string(solver.index()));
      Both<T> both = both_of(of);
      both.relax_free(solver);
      const Report& host = both.host.report(free_slot);
      const Report device = both.device.relax_free(solver, free_slot);
      EXPECT_TRUE((device.status == host.status).all());
      EXPECT_TRUE((device.iterations == host.iterations).all())
          << device.iterations.transpose() << "\n"
          << host.iterations.transpose();
      if ((host.status == Status::converged).all()) {
        EXPECT_LT((device.residual - host.residual).abs().maxCoeff(), rounding<T>());
      }
      both.device.write(free_slot, both.host.state(free_slot));
      const Report nudged = both.host.relax(solver, T(0.2), free_slot, nudged_slot);
      const Report of_device = both.device.relax(solver, T(0.2), free_slot, nudged_slot);
      EXPECT_TRUE((of_device.status == nudged.status).all());
      EXPECT_TRUE((of_device.iterations == nudged.iterations).all())
          << of_device.iterations.transpose() << "\n"
          << nudged.iterations.transpose();
    }
  }
}

TYPED_TEST(DeviceTest, EquilibriumPropagationGivesTheGradientOfTheHost) {
  using T = TypeParam;
  const Solver solver = with(BlockUpdate{}, 0, 6);
  for (const Case<T>& of : zoo<T>()) {
    for (const NudgingRule<T>& rule :
         {centered<T>(0.25), one_sided<T>(0.25), one_sided<T>(-0.25)}) {
      for (const bool weighted : {false, true}) {
        SCOPED_TRACE(of.name + (weighted ? ", weighted" : ""));
        Both<T> both = both_of(of);
        both.relax_free(solver);
        both.device.write(free_slot, both.host.state(free_slot));
        if (weighted) {
          PerSample<T> weights = PerSample<T>::LinSpaced(samples, T(0), T(2));
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
        EXPECT_LT((of_device - of_host).array().abs().maxCoeff(), rounding<T>());
        EXPECT_NEAR(both.device.objective(free_slot), both.host.objective(free_slot),
                    10 * rounding<T>());
      }
    }
  }
}

TYPED_TEST(DeviceTest, RecurrentBackpropagationGivesTheGradientOfTheHost) {
  using T = TypeParam;
  const Solver solver = with(BlockUpdate{}, std::same_as<T, float> ? 1e-5 : 1e-12, 1000);
  ConjugateGradient linear;
  linear.tolerance = std::same_as<T, float> ? 1e-6 : 1e-13;
  for (const Case<T>& of : zoo<T>()) {
    SCOPED_TRACE(of.name);
    Both<T> both = both_of(of);
    both.relax_free(solver);
    both.device.write(free_slot, both.host.state(free_slot));
    if (!both.device.conservative()) {
      EXPECT_THROW(both.device.solve(linear, free_slot, adjoint_slot), InvalidArgument);
      continue;
    }
    const Index size = of.network.parameters().size();
    Parameters<T> host = Parameters<T>::Zero(size), device = host;
    AddTo<T> to_host(host), to_device(device);
    Report report;
    recurrent_backpropagation(both.host, linear, to_host, report);
    recurrent_backpropagation(both.device, linear, to_device, report);
    EXPECT_TRUE((report.status == Status::converged).all());
    EXPECT_LT(both.difference(adjoint_slot), 100 * rounding<T>());
    EXPECT_LT(relative<T>(device, host), 100 * rounding<T>());
  }
}

TYPED_TEST(DeviceTest, StepsOfOptimisersAreThoseOfTheHost) {
  using T = TypeParam;
  const Case<T> of = zoo<T>()[12];
  const Solver solver = with(BlockUpdate{}, 0, 6);
  const Index size = of.network.parameters().size();
  const BlockRates<T> rates{{0, T(0.1)}, {size / 2, T(0.03)}};
  const AdamStep<T> adam{T(0), T(0.9), T(0.99), T(1e-6), T(0.01), T(0.1), T(0.01)};
  for (const int kind : {0, 1, 2}) {
    Both<T> both = both_of(of);
    both.relax_free(solver);
    both.device.write(free_slot, both.host.state(free_slot));
    Parameters<T> theta = of.network.parameters(), first = Parameters<T>::Zero(size),
                  second = first;
    for (int step = 0; step < 3; ++step) {
      Parameters<T> gradient = Parameters<T>::Zero(size);
      AddTo<T> sum(gradient);
      Report report;
      std::vector<T> weights;
      equilibrium_propagation(both.device, centered<T>(0.25), solver, sum, report, weights);
      if (kind == 2) {
        both.device.descend(rates, adam);
        DescendAdam<T>(theta, first, second, rates, adam).numbers(0, gradient);
      } else {
        const T momentum = kind == 0 ? T(0) : T(0.9);
        both.device.descend(rates, momentum, T(0.01));
        Parameters<T> none(0);
        DescendSGD<T>(theta, kind == 0 ? ParametersRef<T>(none) : ParametersRef<T>(first), rates,
                      momentum, T(0.01))
            .numbers(0, gradient);
      }
    }
    Parameters<T> of_device(size);
    both.device.download(of_device);
    EXPECT_LT(relative<T>(of_device, theta), rounding<T>()) << "optimiser " << kind;
    both.device.upload(theta);
    both.device.download(of_device);
    EXPECT_EQ(of_device, theta);
  }
}

}  // namespace
}  // namespace equiprop::device_tests
