/// The division of work among launches, clusters and barriers: what it costs, counted by the emulator, and that the bits do
/// not depend on it.

#include <gtest/gtest.h>

#include "emulation.hpp"
#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {
namespace {

using cuda::DeviceBatch;
using cuda::Division;

template <class Rule = BlockUpdate>
Solver sweeps(double tolerance, Index limit) {
  Rule rule;
  rule.tolerance = tolerance;
  rule.max_iterations = limit;
  return rule;
}

/// States, reports and gradient of one step of centered Equilibrium Propagation.
template <class T>
struct Step {
  Step(const Case<T>& of, Index samples, const Solver& solver, const Division& division) {
    const Data<T> data = data_of(of.network, samples);
    DeviceBatch<T> batch(of.network, samples, division);
    batch.clamp(data.x, data.y, of.logit_scale);
    free = batch.relax_free(solver, free_slot);
    state.resize(of.network.topology().state().size(), samples);
    batch.read(free_slot, state);
    gradient = Parameters<T>::Zero(of.network.parameters().size());
    AddTo<T> sum(gradient);
    std::vector<T> weights;
    equilibrium_propagation(batch, centered<T>(0.25), solver, sum, nudged, weights);
  }
  void expect_bits_of(const Step& other) const {
    EXPECT_EQ(state, other.state);
    EXPECT_EQ(gradient, other.gradient);
    for (const auto& [one, two] : {std::pair(free, other.free), std::pair(nudged, other.nudged)}) {
      EXPECT_TRUE((one.status == two.status).all());
      EXPECT_TRUE((one.iterations == two.iterations).all());
      EXPECT_TRUE((one.residual == two.residual).all());
      EXPECT_TRUE((one.error == two.error).all());
    }
  }

  Report free, nudged;
  State<T> state;
  Parameters<T> gradient;
};

/// Networks of one hidden layer, of several, and with outputs of every cost.
std::vector<Case<float>> some() {
  const std::vector<Case<float>> all = zoo<float>();
  return {all[0], all[1], all[4], all[7], all[12]};
}

TEST(CudaDivision, SamplesOfATileHaveTheBitsOfOneAlone) {
  const Index samples = 21;
  for (const Case<float>& of : some()) {
    for (const Solver& solver : {sweeps(1e-3, 60), sweeps<FixedPointIteration>(1e-3, 30)}) {
      SCOPED_TRACE(of.name + ", solver " + std::to_string(solver.index()));
      const Step<float> alone(of, samples, solver, {.cluster = 1, .tile = 1, .threads = 64});
      if (solver.index() == 0) {
        EXPECT_GT(alone.free.iterations.maxCoeff(), alone.free.iterations.minCoeff());
      }
      Step<float>(of, samples, solver, {.cluster = 1, .tile = 4, .threads = 64})
          .expect_bits_of(alone);
      Step<float>(of, samples, solver, {.cluster = 2, .tile = 8, .threads = 32})
          .expect_bits_of(alone);
    }
  }
}

TEST(CudaDivision, ASampleThatDivergesChangesNoOther) {
  const Case<float> of = zoo<float>()[0];
  const Index samples = 19;
  Data<float> data = data_of(of.network, samples);
  const auto states = [&](const Division& division) {
    DeviceBatch<float> batch(of.network, samples, division);
    batch.clamp(data.x, data.y);
    const Report report = batch.relax_free(sweeps(1e-4, 50), free_slot);
    State<float> s(of.network.topology().state().size(), samples);
    batch.read(free_slot, s);
    return std::pair(report, s);
  };
  data.x(3, 2) = std::numeric_limits<float>::quiet_NaN();
  data.x(1, 11) = std::numeric_limits<float>::infinity();
  const auto [one, of_one] = states({.cluster = 1, .tile = 1, .threads = 64});
  const auto [four, of_four] = states({.cluster = 1, .tile = 4, .threads = 64});
  EXPECT_EQ(one.status(2), Status::diverged);
  EXPECT_EQ(of_one.col(2), of.network.initial_state(1).col(0));
  EXPECT_EQ((one.status == Status::diverged).count(), (four.status == Status::diverged).count());
  EXPECT_TRUE((one.iterations == four.iterations).all());
  EXPECT_EQ(of_one, of_four);
}

TEST(CudaDivision, NoStepsGiveTheStartInEveryTile) {
  const Case<float> of = zoo<float>()[1];
  const Step<float> one(of, 9, sweeps(1e-3, 0), {.cluster = 1, .tile = 1, .threads = 64});
  const Step<float> four(of, 9, sweeps(1e-3, 0), {.cluster = 1, .tile = 4, .threads = 64});
  four.expect_bits_of(one);
}

/// Barriers of a free phase and of a nudged phase of so many sweeps.
std::pair<long, long> barriers(const Case<float>& of, int steps, const Division& division) {
  Emulation emulation;
  const Data<float> data = data_of(of.network, 1);
  DeviceBatch<float> batch(of.network, 1, division);
  batch.clamp(data.x, data.y, of.logit_scale);
  emulation.record();
  batch.relax_free(sweeps(0, steps), free_slot);
  batch.relax(sweeps(0, steps), 0.2F, free_slot, nudged_slot);
  const std::vector<Emulation::Launch> launches = emulation.launches();
  EXPECT_EQ(launches.size(), 2U);
  return {launches[0].barriers, launches[1].barriers};
}

TEST(CudaDivision, ASweepHasAtMostFourBarriers) {
  // Two blocks of layers: one barrier after each of them; one more in front of outputs with cross-entropy.
  for (const std::size_t number : {0, 4, 7}) {
    const Case<float> of = zoo<float>()[number];
    const Division one{.cluster = 1, .tile = 1, .threads = 64};
    const Division two{.cluster = 2, .tile = 4, .threads = 64};
    for (const Division& division : {one, two}) {
      SCOPED_TRACE(of.name);
      const auto [free, nudged] = barriers(of, 5, division);
      const auto [free_next, nudged_next] = barriers(of, 6, division);
      const long blocks = static_cast<long>(of.network.topology().blocks().size());
      EXPECT_EQ(free_next - free, blocks);
      EXPECT_EQ(nudged_next - nudged, blocks + (of.logit_scale > 0 ? 1 : 0));
      EXPECT_LE(nudged_next - nudged, 4);
    }
  }
  // Sums of more than 128 terms by several threads: one more for each such layer.
  const Case<float> deep{"784-512-512-10 in small",
                         drawn<float>({layer(3), layer(140), layer(140), layer(5)}, chain(4))};
  const Division shared{.cluster = 3, .tile = 1, .threads = 128};
  EXPECT_EQ(barriers(deep, 6, shared).first - barriers(deep, 5, shared).first, 4);
}

TEST(CudaDivision, AGradientIsOneLaunch) {
  for (const Case<float>& of : some()) {
    SCOPED_TRACE(of.name);
    Emulation emulation;
    const Data<float> data = data_of(of.network, 7);
    DeviceBatch<float> batch(of.network, 7, {.threads = 64});
    emulation.record();
    batch.clamp(data.x, data.y, of.logit_scale);
    EXPECT_EQ(emulation.launches().size(), 1U);  // the drive of all layers
    batch.relax_free(sweeps(0, 2), free_slot);
    EXPECT_EQ(emulation.launches().size(), 1U);
    Parameters<float> gradient = Parameters<float>::Zero(of.network.parameters().size());
    AddTo<float> sum(gradient);
    const std::vector<float> weights{1};
    batch.contrast(free_slot, weights, sum);
    EXPECT_EQ(emulation.launches().size(), 2U);  // its factors, and all products and sums
  }
}

}  // namespace
}  // namespace equiprop::device_tests
