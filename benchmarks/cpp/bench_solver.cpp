/// Benchmarks of the free phase as in training: networks relaxed to a tolerance of 1e-3. The flops are the number of
/// sweeps that each sample needed, times the flops of a sweep. EQUIPROP_ISA chooses the kernels.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_solver

#include "networks.hpp"

namespace equiprop {
namespace {

struct FreePhase {
  HopfieldNetwork<float> network;
  AnyEnergy<float> energy;
  State<float> start, state;
  Report report;

  FreePhase(const std::vector<Index>& sizes, Index batch)
      : network(make_network(sizes)),
        energy(network.clamp(random_input(sizes.front(), batch))),
        start(network.initial_state(batch)) {}
  void run() {
    state = start;
    report = relax<float>(energy, BlockUpdate{{.tolerance = 1e-3}}, state);
  }
};

void register_case(const std::vector<Index>& sizes, Index batch) {
  add_benchmark({name_of(sizes) + " free phase", batch_name(batch), std::string(kernel_isa())},
                [&sizes, batch](benchmark::State& timer) {
                  FreePhase phase(sizes, batch);
                  phase.run();
                  const auto sweeps = static_cast<double>(phase.report.iterations.sum());
                  measure(timer, {.flops = sweeps * sweep_flops(phase.network.topology())},
                          kernel_isa(), [&] { phase.run(); });
                  timer.counters["sweeps_mean"] = sweeps / static_cast<double>(batch);
                  timer.counters["sweeps_most"] =
                      static_cast<double>(phase.report.iterations.maxCoeff());
                });
}

const Registration registration([] {
  for (const auto& sizes : network_sizes())
    for (const Index batch : {8, 50, 64, 200}) register_case(sizes, batch);
});

}  // namespace
}  // namespace equiprop
