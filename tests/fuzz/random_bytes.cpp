/// TARGET COUNT [FIRST]: random inputs number FIRST, FIRST + 1, ... for a target of fuzzing without libFuzzer. Half of
/// their bytes are characters of JSON and CSV.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "equiprop/base/random.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::string input(std::uint64_t number) {
  constexpr std::string_view common = "0123456789.,,,\n\n-+eE\"\"[]{}:\\u\r null";
  equiprop::Random random(2, number);
  std::string bytes(random.below(60), '\0');
  for (char& byte : bytes)
    byte = random.below(2) == 0 ? common[random.below(common.size())]
                                : static_cast<char>(random.below(256));
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  for (std::uint64_t number = first; number < first + count; ++number) {
    const std::string bytes = input(number);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
}
