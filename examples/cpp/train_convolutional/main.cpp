/// Learns handwritten digits with a convolutional network: train_convolutional digits.csv [model.safetensors]
///
/// Each row of the file holds the 64 pixels of a digit, from 0 to 16, and the digit. Every fifth row is used for
/// testing.

#include <cstdio>

#include "../digits.hpp"

namespace eq = equiprop;

namespace {

/// Returns a network 1-16-32 for images of 8 x 8 pixels: two convolutions, each with the maximum over windows of 2 x 2,
/// and a dense coupling to the outputs.
eq::HopfieldNetwork<float> convolutional() {
  const eq::Windows windows{.kernel = {3, 3}, .padding = {1, 1}};
  return {{{"x", {1, 8, 8}}, {"h1", {16, 4, 4}}, {"h2", {32, 2, 2}}, {"y", 10, eq::linear()}},
          {eq::MaxPooled{0, 1, windows}, eq::MaxPooled{1, 2, windows}, eq::Dense{2, 3}}};
}

const eq::Solver solver = eq::BlockUpdate{{.tolerance = 1e-3}, /*anderson=*/1};

/// The averages of Adam, and the number of its steps.
struct Averages {
  eq::Parameters<float> mean, square;
  int steps = 0;
};

/// Trains on one mini-batch: free phase, second phase, and a step of Adam.
void learn(eq::HopfieldNetwork<float>& network, Averages& averages, const Digits& batch) {
  const eq::AnyEnergy<float> energy = network.clamp(batch.x);
  const eq::AnyCost<float> cost = eq::SquaredError<float>(batch.y);
  eq::State<float> state = network.initial_state(batch.x.cols());
  eq::relax<float>(energy, solver, state);
  const float t = static_cast<float>(++averages.steps);
  const eq::AdamStep<float> step{.rate = 0.003f / std::sqrt(1 + t / 200),
                                 .beta1 = 0.9f,
                                 .beta2 = 0.999f,
                                 .epsilon = 1e-8f,
                                 .decay = 0,
                                 .correction1 = 1 - std::pow(0.9f, t),
                                 .correction2 = 1 - std::pow(0.999f, t)};
  eq::DescendAdam<float> descent(network.parameters(), averages.mean, averages.square,
                                 {{.begin = 0, .rate = step.rate}}, step);
  eq::equilibrium_propagation<float>(energy, cost, state, eq::centered<float>(0.25), solver,
                                     descent);
}

}  // namespace

int main(int argc, char** argv) try {
  eq::require(argc == 2 || argc == 3, "train_convolutional",
              "Usage: train_convolutional digits.csv [model.safetensors].", argc - 1, " arguments");
  const std::pair<Digits, Digits> data = read_digits(argv[1]);

  eq::HopfieldNetwork<float> network = convolutional();
  network.initialize(0);
  network.set_scaling(digit_scaling);
  const eq::Parameters<float> zeros = eq::Parameters<float>::Zero(network.parameters().size());
  Averages averages{zeros, zeros};
  learn_digits(network, solver, data, 12,
               [&](const Digits& batch) { learn(network, averages, batch); });
  if (argc == 3) eq::save(network, argv[2]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
