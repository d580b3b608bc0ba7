/// The free phase as training runs it: whole networks relaxed to a tolerance of 1e-3. GFLOP/s are effective: the sweeps
/// that each sample needed, times the flops of a sweep. EQUIPROP_ISA chooses the kernels.
///
///     cmake -S . -B build/bench -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build/bench
///     build/bench/benchmarks/cpp/bench_solver

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
  add_benchmark({name_of(sizes), batch_name(batch), std::string(kernel_isa())},
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

}  // namespace
}  // namespace equiprop

int main(int argc, char** argv) {
  for (const auto& sizes : equiprop::network_sizes())
    for (const equiprop::Index batch : {8, 50, 64, 200}) equiprop::register_case(sizes, batch);
  return equiprop::run_benchmarks(argc, argv);
}
