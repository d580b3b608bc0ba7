/// Benchmarks of a complete training step: clamp, relax, and descend with centered nudging at beta = 1/4, all to a
/// tolerance of 1e-3. The flops are those of the sweeps that each sample needed (both nudged phases counted with the
/// longer one), of the drive of the input, and of the sums of the gradient. EQUIPROP_ISA chooses the kernels. "reused"
/// reclamps one HostBatch in each step, as Trainer.step does, and updates theta by SGD with momentum.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_training_step

#include "networks.hpp"

namespace equiprop {
namespace {

State<float> random_targets(Index outputs, Index batch) {
  Random random(3);
  State<float> y = State<float>::Zero(outputs, batch);
  for (Index j = 0; j < batch; ++j)
    y(static_cast<Index>(random.below(static_cast<std::uint64_t>(outputs))), j) = 1;
  return y;
}

struct Training {
  HopfieldNetwork<float> network;
  State<float> x;
  AnyCost<float> cost;
  NudgingRule<float> nudging = centered<float>(0.25);
  Solver solver = BlockUpdate{{.tolerance = 1e-3}};
  Parameters<float> velocity;
  Report free, nudged;

  Training(const std::vector<Index>& sizes, Index batch)
      : network(make_network(sizes)),
        x(random_input(sizes.front(), batch)),
        cost(SquaredError<float>(random_targets(sizes.back(), batch))) {}

  void run() {
    const AnyEnergy<float> energy = network.clamp(x);
    State<float> state = network.initial_state(x.cols());
    free = relax<float>(energy, solver, state);
    // With learning rate 0 the update is computed, but every step does the same work.
    DescendSGD<float> descent(network.parameters(), velocity, {{0, 0}}, 0, 0);
    nudged = equilibrium_propagation<float>(energy, cost, state, nudging, solver, descent).report;
  }
  double flops() const {
    const Topology& topology = network.topology();
    const auto samples = static_cast<double>(x.cols()),
               phases = static_cast<double>(nudging.size());
    const auto sweeps = static_cast<double>(free.iterations.sum()) +
                        phases * static_cast<double>(nudged.iterations.sum());
    const double drive = samples * input_flops(topology);
    const double gradient = samples * (input_flops(topology) + phases * inner_flops(topology));
    return sweeps * sweep_flops(topology) + drive + gradient;
  }
};

void register_case(const std::vector<Index>& sizes, Index batch) {
  add_benchmark(
      {name_of(sizes) + " training step", batch_name(batch), std::string(kernel_isa())},
      [&sizes, batch](benchmark::State& timer) {
        Training training(sizes, batch);
        training.run();
        measure(timer, {.flops = training.flops()}, kernel_isa(), [&] { training.run(); });
        timer.counters["sweeps_free"] = static_cast<double>(training.free.iterations.maxCoeff());
        timer.counters["sweeps_nudged"] =
            static_cast<double>(training.nudged.iterations.maxCoeff());
      });
}

/// A training step that keeps the memory of the last one.
struct Reused {
  HopfieldNetwork<float> network;
  State<float> x, y, rest;
  ClampedHopfield<float> clamped;
  SquaredError<float> cost;
  HostBatch<float> batch;
  NudgingRule<float> nudging = centered<float>(0.25);
  Solver solver = BlockUpdate{{.tolerance = 5e-3}};
  Parameters<float> velocity;
  DescendSGD<float> descent;
  Report nudged;
  std::vector<float> weights;

  Reused(const std::vector<Index>& sizes, Index samples)
      : network(make_network(sizes)),
        x(random_input(sizes.front(), samples)),
        y(random_targets(sizes.back(), samples)),
        rest(network.initial_state(1)),
        clamped(network.clamp(x)),
        cost(y),
        batch(AnyEnergy<float>(clamped), cost),
        velocity(Parameters<float>::Zero(network.parameters().size())),
        descent(network.parameters(), velocity, {{0, 1e-6f}}, 0.9f, 0) {}

  void run() {
    clamped.reclamp(x);
    cost.retarget(y);
    batch.relax_free(
        solver, [&](Index, StateRef<float> s) { s.colwise() = rest.col(0); }, free_slot);
    equilibrium_propagation(batch, nudging, solver, descent, nudged, weights);
    benchmark::DoNotOptimize(batch.objective(free_slot));
  }
};

void register_reused(const std::vector<Index>& sizes, Index samples) {
  add_benchmark(
      {name_of(sizes) + " training step, reused", batch_name(samples), std::string(kernel_isa())},
      [sizes, samples](benchmark::State& timer) {
        Reused step(sizes, samples);
        measure(timer, {}, kernel_isa(), [&] { step.run(); });
      });
}

const Registration registration([] {
  register_reused({1, 1}, 1);
  register_reused({64, 32, 10}, 1);
  for (const auto& sizes : network_sizes())
    for (const Index batch : {50, 200}) register_case(sizes, batch);
});

}  // namespace
}  // namespace equiprop
