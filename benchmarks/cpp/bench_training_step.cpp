/// Benchmarks of a complete training step: clamp, relax, and descend with centered nudging at beta = 1/4, all to a
/// tolerance of 1e-3. The flops are those of the sweeps that each sample needed (both nudged phases counted with the
/// longer one), of the drive of the input, and of the sums of the gradient. EQUIPROP_ISA chooses the kernels.
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

const Registration registration([] {
  for (const auto& sizes : network_sizes())
    for (const Index batch : {50, 200}) register_case(sizes, batch);
});

}  // namespace
}  // namespace equiprop
