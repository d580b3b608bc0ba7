/// Training with persistent objects, as on a device that learns from a stream, allocates nothing after the first step,
/// and its steps are those of the plain functions, bit for bit.

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

struct Setting {
  Activation activation;
  Potential potential;
  Feedback feedback = Feedback::tied;
};

const std::vector<Coupling> skipping{{0, 1}, {1, 2}, {2, 3}, {0, 3}, {1, 3}};

template <class S>
HopfieldNetwork<S> network_of(const Setting& setting) {
  HopfieldNetwork<S> network({{"x", 40},
                              {"h", 70, setting.activation},
                              {"g", 50, setting.activation},
                              {"y", 10, setting.activation}},
                             skipping, setting.potential, setting.feedback);
  network.initialize(1, 0.3);
  return network;
}

/// A sequence of batches of inputs and targets, with weights of the samples or without, and the training settings.
template <class S>
struct Lesson {
  Lesson(const Solver& solver_, const NudgingRule<S>& nudging_, Index batch, bool weighted)
      : solver(solver_), nudging(nudging_) {
    Random random(7);
    const int steps = batch == 1 ? 20 : 4;  // large batches take long
    for (int i = 0; i < steps; ++i) {
      inputs.push_back(random_state(random, 40, batch).cast<S>());
      targets.push_back(random_state(random, 10, batch).cast<S>());
      weights.push_back(random_state(random, weighted ? batch : 0, 1).cwiseAbs().cast<S>().array());
    }
  }
  DescendSGD<S> descent(HopfieldNetwork<S>& network, Parameters<S>& velocity) const {
    return {network.parameters(), velocity, {{0, S(0.01)}}, S(0.9), S(1e-4)};
  }

  Solver solver;
  NudgingRule<S> nudging;
  std::vector<State<S>> inputs, targets;
  std::vector<PerSample<S>> weights;
};

/// Returns the parameters after training with the plain functions, which allocate in each step.
template <class S>
State<double> learned_anew(HopfieldNetwork<S> network, const Lesson<S>& lesson) {
  Parameters<S> velocity = Parameters<S>::Zero(network.parameters().size());
  DescendSGD<S> descent = lesson.descent(network, velocity);
  for (std::size_t i = 0; i < lesson.inputs.size(); ++i) {
    const AnyEnergy<S> energy = network.clamp(lesson.inputs[i]);
    State<S> s = network.initial_state(lesson.inputs[i].cols());
    relax<S>(energy, lesson.solver, s);
    const AnyCost<S> cost = SquaredError<S>(lesson.targets[i]);
    equilibrium_propagation<S>(energy, cost.weighted(lesson.weights[i]), s, lesson.nudging,
                               lesson.solver, descent);
  }
  return network.parameters().template cast<double>();
}

/// Returns the parameters after training with persistent objects; `allocated` counts the allocations from the second
/// batch on.
template <class S>
State<double> learned_in_place(HopfieldNetwork<S> network, const Lesson<S>& lesson,
                               long& allocated) {
  Parameters<S> velocity = Parameters<S>::Zero(network.parameters().size());
  DescendSGD<S> descent = lesson.descent(network, velocity);
  State<S> s = network.initial_state(lesson.inputs[0].cols());
  ClampedHopfield<S> clamped = network.clamp(lesson.inputs[0]);
  SquaredError<S> cost(lesson.targets[0]);
  Relaxation<S> free_phase(clamped, lesson.solver);
  EquilibriumPropagation<S> second_phase(clamped, cost, lesson.nudging, lesson.solver);
  for (std::size_t i = 0; i < lesson.inputs.size(); ++i) {
    if (i == 1) allocated = allocations;
    clamped.reclamp(lesson.inputs[i]);
    cost.retarget(lesson.targets[i]);
    second_phase.set_sample_weights(lesson.weights[i]);
    network.rest(s);
    free_phase.run(s);
    second_phase.give(s, descent);
  }
  allocated = allocations - allocated;
  return network.parameters().template cast<double>();
}

/// Calls check(setting, lesson) for networks with and without packed kernels, for energies and vector fields, for each
/// solver with and without acceleration, for both learning rules, with and without weights of the samples.
template <class S, class Check>
void for_each_lesson(Index batch, const Check& check) {
  const StoppingRule rule{1e-3, 100};
  std::vector<Solver> solvers{BlockUpdate{rule}, FixedPointIteration{rule, 0.1}, Euler{rule, 0.2}};
  add_accelerated(solvers, {2});
  for (const Setting& setting :
       {Setting{hard_sigmoid(), Potential::legendre},
        Setting{tanh_activation(), Potential::legendre}, Setting{sigmoid(), Potential::quadratic},
        Setting{hard_sigmoid(), Potential::legendre, Feedback::separate}})
    for (const Solver& solver : solvers)
      for (const auto& nudging : {one_sided<S>(0.2), centered<S>(0.2)}) {
        SCOPED_TRACE("potential " + std::to_string(int(setting.potential)) + ", activation " +
                     std::to_string(setting.activation.index()) + ", feedback " +
                     std::to_string(int(setting.feedback)) + ", solver " +
                     std::to_string(solver.index()));
        for (const bool weighted : {false, true})
          check(setting, Lesson<S>(solver, nudging, batch, weighted));
      }
}

/// A parallel loop on several threads allocates, so only one thread is used.
template <class S>
void check_stream() {
  set_num_threads(1);
  for_each_lesson<S>(1, [](const Setting& setting, const Lesson<S>& lesson) {
    long allocated = 0;
    const State<double> learned = learned_in_place<S>(network_of<S>(setting), lesson, allocated);
    EXPECT_EQ(allocated, 0);
    EXPECT_NE(learned, network_of<S>(setting).parameters().template cast<double>());
    expect_identical(learned, learned_anew<S>(network_of<S>(setting), lesson), "parameters");
  });
  set_num_threads(0);
}

TEST(Training, OfOneSampleAtATimeAllocatesNothingAfterTheFirst) {
  check_stream<float>();
  check_stream<double>();
}

/// A cost of the layer g with that of the outputs, on one thread.
TEST(Training, WithCostsOfSeveralLayersAllocatesNothingAfterTheFirstStep) {
  set_num_threads(1);
  for_each_lesson<float>(1, [](const Setting& setting, const Lesson<float>& lesson) {
    HopfieldNetwork<float> network = network_of<float>(setting);
    Parameters<float> velocity = Parameters<float>::Zero(network.parameters().size());
    DescendSGD<float> descent = lesson.descent(network, velocity);
    State<float> s = network.initial_state(1);
    ClampedHopfield<float> clamped = network.clamp(lesson.inputs[0]);
    SquaredError<float> local(State<float>::Ones(50, 1)), cost(lesson.targets[0]);
    Relaxation<float> free_phase(clamped, lesson.solver);
    EquilibriumPropagation<float> second_phase(clamped,
                                               LayerCosts<float>(60, {{0, local, 0.5}, {50, cost}}),
                                               lesson.nudging, lesson.solver);
    long allocated = 0;
    for (std::size_t i = 0; i < lesson.inputs.size(); ++i) {
      if (i == 1) allocated = allocations;
      clamped.reclamp(lesson.inputs[i]);
      cost.retarget(lesson.targets[i]);
      network.rest(s);
      free_phase.run(s);
      second_phase.give(s, descent);
    }
    EXPECT_EQ(allocations - allocated, 0);
    EXPECT_NE(network.parameters(), network_of<float>(setting).parameters());
  });
  set_num_threads(0);
}

TEST(Training, InPlaceIsTheSameForBatchesAndThreads) {
  struct Division {
    int threads;
    Index batch;
  };
  for (const auto& [threads, batch] : {Division{1, 70}, Division{2, 3}, Division{3, 70}}) {
    set_num_threads(threads);
    for_each_lesson<float>(batch, [](const Setting& setting, const Lesson<float>& lesson) {
      long allocated = 0;
      expect_identical(learned_in_place<float>(network_of<float>(setting), lesson, allocated),
                       learned_anew<float>(network_of<float>(setting), lesson), "parameters");
    });
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace equiprop::tests
