/// Classifies the rows of a file with a network that was trained in Python or C++: classify model.safetensors
/// digits.csv [outputs.csv]
///
/// Each row holds the pixels of a digit, from 0 to 16, and optionally the digit. The predictions are printed, one per
/// line. The states of the outputs are written to the third file, with nine digits, which give a float exactly.

#include <cstdio>
#include <iomanip>

#include "../csv.hpp"

namespace eq = equiprop;
using eq::Index;

namespace {

/// Writes the states of the outputs (outputs, rows) to a CSV file, one row of the file for each column.
void write_csv(const std::filesystem::path& path, const eq::ConstStateRef<float>& outputs) {
  std::ofstream file(path);
  file << std::setprecision(9);
  for (Index j = 0; j < outputs.cols(); ++j)
    for (Index i = 0; i < outputs.rows(); ++i)
      file << outputs(i, j) << (i + 1 < outputs.rows() ? ',' : '\n');
  eq::require(static_cast<bool>(file.flush()), "write_csv", "The file can be written.",
              path.string());
}

}  // namespace

int main(int argc, char** argv) try {
  eq::require(argc == 3 || argc == 4, "classify",
              "Usage: classify model.safetensors digits.csv [outputs.csv].", argc - 1,
              " arguments");
  const eq::HopfieldNetwork<float> network = eq::load<float>(argv[1]);
  const eq::State<float> table = read_csv(argv[2]);
  const Index inputs = network.topology().num_inputs(), outputs = network.topology().num_outputs();
  eq::require(table.rows() == inputs || table.rows() == inputs + 1, "classify",
              "A row has one field for each input of the network, and perhaps the class.",
              table.rows(), " fields for ", inputs, " inputs");

  const eq::State<double> raw = table.topRows(inputs).cast<double>();
  const eq::State<float> x =
      network.scaling() ? network.scaling()->apply<float>(raw) : raw.cast<float>();
  eq::State<float> state = network.initial_state(table.cols());
  const eq::Report report =
      eq::relax<float>(network.clamp(x), eq::BlockUpdate{{.tolerance = 5e-3}}, state);
  if (argc == 4) write_csv(argv[3], state.bottomRows(outputs));
  const std::vector<Index> classes = classes_of(state.bottomRows(outputs));
  Index wrong = 0;
  for (Index j = 0; j < table.cols(); ++j) {
    const Index predicted = classes[static_cast<std::size_t>(j)];
    std::printf("%td\n", predicted);
    if (table.rows() > inputs) wrong += static_cast<float>(predicted) != table(inputs, j);
  }
  const auto unsettled = (report.status != eq::Status::converged).count();
  if (unsettled > 0) std::fprintf(stderr, "%td rows have not settled\n", unsettled);
  if (table.rows() > inputs)
    std::fprintf(stderr, "error %.2f %%\n",
                 100 * static_cast<double>(wrong) / static_cast<double>(table.cols()));
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
