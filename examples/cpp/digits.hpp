#pragma once
/// Handwritten digits, and the loop over mini-batches, for the examples that learn them.

#include <cstdio>
#include <utility>

#include "csv.hpp"

/// Inputs (64, digits) from 0 to 1, and targets (10, digits): 1 for the digit, 0 elsewhere.
struct Digits {
  equiprop::State<float> x, y;
};

/// The scaling of pixels from 0 to 16, which is saved with a network.
inline const equiprop::Scaling digit_scaling(equiprop::Scaling::Vector{{0}},
                                             equiprop::Scaling::Vector{{1. / 16}});

/// Returns the rows i of the table with i % 5 == 4 if `fifth`, otherwise the other rows.
inline Digits some_digits(const equiprop::State<float>& table, bool fifth) {
  std::vector<equiprop::Index> rows;
  for (equiprop::Index i = 0; i < table.cols(); ++i)
    if ((i % 5 == 4) == fifth) rows.push_back(i);
  const equiprop::State<float> some = equiprop::columns_of<float>(table, rows);
  Digits digits{digit_scaling.apply<float>(some.topRows(64).cast<double>()),
                equiprop::State<float>::Zero(10, some.cols())};
  for (equiprop::Index j = 0; j < some.cols(); ++j) {
    const float digit = some(64, j);
    equiprop::require(digit >= 0 && digit < 10 && digit == std::floor(digit), "digits",
                      "The last field of a row is a digit.", digit);
    digits.y(static_cast<equiprop::Index>(digit), j) = 1;
  }
  return digits;
}

/// Reads a file whose rows hold the 64 pixels of a digit, from 0 to 16, and the digit. Returns training data and, of
/// every fifth row, test data.
inline std::pair<Digits, Digits> read_digits(const std::filesystem::path& path) {
  const equiprop::State<float> table = read_csv(path);
  equiprop::require(table.rows() == 65 && table.cols() >= 5, "digits",
                    "There are at least five rows, each of 64 pixels and a digit.", table.cols(),
                    " rows of ", table.rows(), " fields");
  return {some_digits(table, false), some_digits(table, true)};
}

/// Returns the fraction of misclassified digits.
inline double error_on(const equiprop::HopfieldNetwork<float>& network,
                       const equiprop::Solver& solver, const Digits& digits) {
  equiprop::State<float> state = network.initial_state(digits.x.cols());
  equiprop::relax<float>(network.clamp(digits.x), solver, state);
  const std::vector<equiprop::Index> predicted = classes_of(state.bottomRows(10)),
                                     given = classes_of(digits.y);
  equiprop::Index wrong = 0;
  for (std::size_t j = 0; j < given.size(); ++j) wrong += predicted[j] != given[j];
  return static_cast<double>(wrong) / static_cast<double>(given.size());
}

/// Calls `learn` with the mini-batches of each epoch, in random order, and prints the test error after it.
template <class Learn>
void learn_digits(const equiprop::HopfieldNetwork<float>& network, const equiprop::Solver& solver,
                  const std::pair<Digits, Digits>& data, int epochs, const Learn& learn) {
  const auto& [train, test] = data;
  equiprop::Random random(0, 1);
  constexpr std::size_t batch = 50;
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    const std::vector<equiprop::Index> order = random.permutation(train.x.cols());
    for (std::size_t begin = 0; begin < order.size(); begin += batch) {
      const equiprop::Samples some =
          equiprop::Samples(order).subspan(begin, std::min(batch, order.size() - begin));
      learn(Digits{equiprop::columns_of<float>(train.x, some),
                   equiprop::columns_of<float>(train.y, some)});
    }
    std::printf("epoch %2d: test error %.2f %%\n", epoch, 100 * error_on(network, solver, test));
  }
}
