/// CSV files through the reader of the examples: each is refused with a sentence, or has the shape that its separators
/// say and comes back when it is written and read again.

#include <algorithm>
#include <cstring>

#include "csv.hpp"
#include "fuzzing.hpp"

namespace equiprop {
namespace {

using fuzzing::must;

const fuzzing::Scratch given("given.csv"), copy("copy.csv");

std::string written(const State<float>& table) {
  std::string text;
  char number[32];
  for (Index row = 0; row < table.cols(); ++row)
    for (Index field = 0; field < table.rows(); ++field) {
      std::snprintf(number, sizeof number, "%.9g", static_cast<double>(table(field, row)));
      text += number;
      text += field + 1 < table.rows() ? ',' : '\n';
    }
  return text;
}

void check(const std::string& content) {
  const auto table = fuzzing::read_or_refuse([] { return read_csv(given.path()); });
  if (!table) return;
  const auto commas = std::ranges::count(content, ',');
  const auto lines = std::ranges::count(content, '\n') + (content.ends_with('\n') ? 0 : 1);
  must(content.find('\0') != content.npos ||
           (table->cols() == lines && (table->rows() - 1) * table->cols() == commas),
       "The shape is that of the separators.");
  must(table->allFinite(), "Numbers are finite.");
  const std::string text = written(*table);
  copy.fill(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  must((read_csv(copy.path()).array() == table->array()).all(), "A table comes back.");
}

}  // namespace
}  // namespace equiprop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  equiprop::given.fill(data, size);
  equiprop::check({reinterpret_cast<const char*>(data), size});
  return 0;
}
