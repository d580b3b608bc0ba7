/// JSON texts through the reader: each is refused with a sentence, or its values are written and come back.

#include <bit>

#include "base/json.hpp"
#include "fuzzing.hpp"

namespace equiprop {
namespace {

using fuzzing::must;
using fuzzing::read_or_refuse;

constexpr auto rule = "The value has another type.";

json::Reader reader_of(std::string_view text) {
  return {text, "fuzz", ""};
}

void check_number(double value) {
  const std::string text = json::number(value);
  json::Reader reader = reader_of(text);
  must(std::bit_cast<std::uint64_t>(reader.number(rule)) == std::bit_cast<std::uint64_t>(value),
       "A number comes back with its bits.", text);
}

void check_string(const std::string& value) {
  for (const auto characters : {json::Characters::all, json::Characters::ascii}) {
    const std::string text = json::quoted(value, characters, "fuzz");
    must(reader_of(text).string(rule) == value, "A string comes back.", text);
  }
}

/// Reads one value of a structure that `shape` chooses, and checks each number and string in it.
void read_value(json::Reader& reader, unsigned shape) {
  const auto number = [&] { check_number(reader.number(rule)); };
  const auto string = [&] { check_string(reader.string(rule)); };
  switch (shape % 6) {
    case 0:
      must(reader.count(rule) >= 0, "A count is not negative.");
      return;
    case 1:
      return number();
    case 2:
      return string();
    case 3:
      return reader.list(rule, number);
    case 4:
      return reader.tuple(rule, number, string);
    default:
      reader.object(rule, [&](const std::string& name) {
        check_string(name);
        if (!reader.null()) read_value(reader, shape / 6);
      });
  }
}

}  // namespace
}  // namespace equiprop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  equiprop::fuzzing::read_or_refuse([&] {
    equiprop::json::Reader reader = equiprop::reader_of(text);
    equiprop::read_value(reader, data[0]);
    reader.end();
    return true;
  });
  return 0;
}
