/// Learns handwritten digits by Equilibrium Propagation: train_digits digits.csv [model.safetensors]
///
/// Each row of the file holds the 64 pixels of a digit, from 0 to 16, and the digit. Every fifth row is used for
/// testing.

#include <cstdio>

#include "../digits.hpp"

namespace eq = equiprop;

namespace {

const eq::Solver solver = eq::BlockUpdate{{.tolerance = 5e-3}};

/// Trains on one mini-batch: free phase, second phase, and a step of SGD with momentum.
void learn(eq::HopfieldNetwork<float>& network, eq::Parameters<float>& velocity,
           const Digits& batch) {
  const eq::AnyEnergy<float> energy = network.clamp(batch.x);
  const eq::AnyCost<float> cost = eq::SquaredError<float>(batch.y);
  eq::State<float> state = network.initial_state(batch.x.cols());
  eq::relax<float>(energy, solver, state);
  eq::DescendSGD<float> descent(network.parameters(), velocity, {{.begin = 0, .rate = 0.05f}},
                                /*momentum=*/0.9f, /*decay=*/0);
  eq::equilibrium_propagation<float>(energy, cost, state, eq::centered<float>(0.25), solver,
                                     descent);
}

}  // namespace

int main(int argc, char** argv) try {
  eq::require(argc == 2 || argc == 3, "train_digits",
              "Usage: train_digits digits.csv [model.safetensors].", argc - 1, " arguments");
  const std::pair<Digits, Digits> data = read_digits(argv[1]);

  eq::HopfieldNetwork<float> network({{"x", 64}, {"h", 256}, {"y", 10, eq::linear()}},
                                     eq::chain(3));
  network.initialize(0);
  network.set_scaling(digit_scaling);
  eq::Parameters<float> velocity = eq::Parameters<float>::Zero(network.parameters().size());
  learn_digits(network, solver, data, 15,
               [&](const Digits& batch) { learn(network, velocity, batch); });
  if (argc == 3) eq::save(network, argv[2]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
