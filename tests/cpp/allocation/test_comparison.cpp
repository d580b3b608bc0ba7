/// The comparison of the two processes of a large network stores only a few states, Thbar and the dual Thtil. Its
/// memory grows with the number of steps only by the traces.

#include <thread>

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

/// A network with about a million parameters.
struct Large {
  static constexpr Index batch = 8;

  explicit Large(const Activation& activation, Potential potential)
      : network({{"x", 784}, {"h", 800, activation}, {"g", 400, activation}, {"y", 10, activation}},
                chain(4), potential) {
    network.initialize(1, 0.2);
    Random random(1);
    const State<double> x = random_state(random, 784, batch);
    const State<double> y = random_state(random, 10, batch);
    energy = network.clamp(x);
    dual_energy = network.clamp_as<D>(x);
    cost = SquaredError<double>(y);
    dual_cost = SquaredError<D>(y.cast<D>());
    s = network.initial_state(batch);
    for (const Block& block : network.topology().state().blocks())
      layers.push_back(block.offset + block.size());
    for (const Block& block : network.topology().parameters().blocks())
      blocks.push_back(block.offset + block.size());
  }
  Comparison compare(Index steps, Integrator integrator) const {
    return compare_processes<D>(energy, cost, dual_energy, dual_cost, s, exact_limit(),
                                {steps, 0.1, integrator}, layers, blocks, traced);
  }
  /// Returns the bytes of the traces, which grow with the number of steps.
  long trace_bytes(Index steps) const {
    const std::size_t kept = traced.units.size() * traced.samples.size() + traced.parameters.size();
    const std::size_t groups = layers.size() + blocks.size();
    return static_cast<long>(2 * (kept + groups) * sizeof(double)) * (steps + 1);
  }
  long bound(Index steps) const {
    const long states = 6 * s.size(), parameters = 4 * network.parameters().size();
    return (states + parameters) * static_cast<long>(sizeof(double)) + trace_bytes(steps);
  }

  HopfieldNetwork<double> network;
  AnyEnergy<double> energy = network.clamp(State<double>::Zero(784, 1));
  AnyEnergy<D> dual_energy = network.clamp_as<D>(State<double>::Zero(784, 1));
  AnyCost<double> cost = SquaredError<double>(State<double>(10, 0));
  AnyCost<D> dual_cost = SquaredError<D>(State<D>(10, 0));
  State<double> s;
  std::vector<Index> layers, blocks;
  Traced traced{{0, 5, 1209}, {0, 7}, {0, 100, 700000}};
};

/// Returns the largest memory that a comparison uses, on a thread that has no buffers yet.
long extra_bytes(const Large& large, Index steps, Integrator integrator = Integrator::euler) {
  long extra = 0;
  std::thread([&] {
    const long before = live_bytes;
    reset_peak();
    large.compare(steps, integrator);
    extra = peak_bytes - before;
  }).join();
  return extra;
}

TEST(ComparisonMemory, IsFourNumbersPerParameterAtMost) {
  for (const int threads : {1, 2, 4})
    for (const auto potential : {Potential::quadratic, Potential::legendre})
      for (const auto integrator : {Integrator::euler, Integrator::runge_kutta}) {
        set_num_threads(threads);
        const Large large(tanh_activation(), potential);
        EXPECT_LE(extra_bytes(large, 3, integrator), large.bound(3)) << threads << " threads";
      }
  set_num_threads(0);
}

TEST(ComparisonMemory, GrowsWithTheStepsByItsTracesAlone) {
  set_num_threads(1);  // with several threads, the overlap of their buffers is random
  long extra[2], traces[2];
  for (const std::size_t i : {0u, 1u}) {
    // A new network: one that was used before already has its scratch memory.
    const Large large(hard_sigmoid(), Potential::legendre);
    const Index steps = i == 0 ? 2 : 40;
    extra[i] = extra_bytes(large, steps);
    traces[i] = large.trace_bytes(steps);
  }
  // The peak may occur at the start, before the traces are complete. The allocator rounds arrays to pages. Any other
  // memory that 38 steps kept would be at least 38 states, three million bytes.
  const long pages = 16 * 4096;
  EXPECT_NEAR(extra[1] - extra[0], 0, traces[1] - traces[0] + pages);
  set_num_threads(0);
}

}  // namespace
}  // namespace equiprop::tests
