/// Learns handwritten digits by Equilibrium Propagation: train_digits digits.csv [model.safetensors]
///
/// Each row of the file holds the 64 pixels of a digit, from 0 to 16, and the digit. Every fifth row is used for
/// testing.

#include <cstdio>

#include "../csv.hpp"

namespace eq = equiprop;
using eq::Index;

namespace {

struct Digits {
  eq::State<float> x,
      y;  // (64, digits) from 0 to 1, and (10, digits): 1 for the digit, 0 elsewhere
};

/// The scaling of pixels from 0 to 16, which is saved with the network.
const eq::Scaling scaling(eq::Scaling::Vector{{0}}, eq::Scaling::Vector{{1. / 16}});

/// Returns the rows i of the table with i % 5 == 4 if `fifth`, otherwise the other rows.
Digits some_digits(const eq::State<float>& table, bool fifth) {
  std::vector<Index> rows;
  for (Index i = 0; i < table.cols(); ++i)
    if ((i % 5 == 4) == fifth) rows.push_back(i);
  const eq::State<float> some = eq::columns_of<float>(table, rows);
  Digits digits{scaling.apply<float>(some.topRows(64).cast<double>()),
                eq::State<float>::Zero(10, some.cols())};
  for (Index j = 0; j < some.cols(); ++j) {
    const float digit = some(64, j);
    eq::require(digit >= 0 && digit < 10 && digit == std::floor(digit), "train_digits",
                "The last field of a row is a digit.", digit);
    digits.y(static_cast<Index>(digit), j) = 1;
  }
  return digits;
}

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

/// Returns the fraction of misclassified digits.
double error_on(const eq::HopfieldNetwork<float>& network, const Digits& digits) {
  eq::State<float> state = network.initial_state(digits.x.cols());
  eq::relax<float>(network.clamp(digits.x), solver, state);
  const std::vector<Index> predicted = classes_of(state.bottomRows(10)),
                           given = classes_of(digits.y);
  Index wrong = 0;
  for (std::size_t j = 0; j < given.size(); ++j) wrong += predicted[j] != given[j];
  return static_cast<double>(wrong) / static_cast<double>(given.size());
}

}  // namespace

int main(int argc, char** argv) try {
  eq::require(argc == 2 || argc == 3, "train_digits",
              "Usage: train_digits digits.csv [model.safetensors].", argc - 1, " arguments");
  const eq::State<float> table = read_csv(argv[1]);
  eq::require(table.rows() == 65 && table.cols() >= 5, "train_digits",
              "There are at least five rows, each of 64 pixels and a digit.", table.cols(),
              " rows of ", table.rows(), " fields");
  const Digits train = some_digits(table, false), test = some_digits(table, true);

  eq::HopfieldNetwork<float> network({{"x", 64}, {"h", 256}, {"y", 10, eq::linear()}},
                                     eq::chain(3));
  network.initialize(0);
  network.set_scaling(scaling);
  eq::Parameters<float> velocity = eq::Parameters<float>::Zero(network.parameters().size());
  eq::Random random(0, 1);
  constexpr std::size_t batch = 50;
  for (int epoch = 1; epoch <= 15; ++epoch) {
    const std::vector<Index> order = random.permutation(train.x.cols());
    for (std::size_t begin = 0; begin < order.size(); begin += batch) {
      const eq::Samples some =
          eq::Samples(order).subspan(begin, std::min(batch, order.size() - begin));
      learn(network, velocity,
            {eq::columns_of<float>(train.x, some), eq::columns_of<float>(train.y, some)});
    }
    std::printf("epoch %2d: test error %.2f %%\n", epoch, 100 * error_on(network, test));
  }
  if (argc == 3) eq::save(network, argv[2]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
