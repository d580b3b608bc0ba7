#include "fuzz_model_file.hpp"

#include "equiprop/base/safetensors.hpp"
#include "equiprop/model/checkpoint.hpp"
#include "fuzzing.hpp"

std::array<std::uint64_t, 3> accepted{};

namespace equiprop {
namespace {

using fuzzing::must;
using fuzzing::read_or_refuse;
using fuzzing::Scratch;

const Scratch given("given"), copy("copy");

bool same(const Safetensors& a, const Safetensors& b) {
  const auto equal = [](const auto& left, const auto& right) {
    return left.first == right.first && left.second.type == right.second.type &&
           left.second.shape == right.second.shape && left.second.bytes == right.second.bytes;
  };
  return a.metadata == b.metadata &&
         std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(), equal);
}

void check_tensors() {
  const auto file = read_or_refuse([] { return read_safetensors(given.path()); });
  if (!file) return;
  ++accepted[0];
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, tensor] : file->tensors)
    tensors[name] = {tensor.type, tensor.shape, tensor.bytes};
  write_safetensors(copy.path(), tensors, file->metadata);
  must(same(*file, read_safetensors(copy.path())), "What is accepted comes back.");
}

template <class S>
void check_network(std::uint64_t& count) {
  const auto network = read_or_refuse([] { return load<S>(given.path()); });
  if (!network) return;
  ++count;
  save(*network, copy.path());
  const std::string saved = copy.content();
  save(load<S>(copy.path()), copy.path());
  must(saved == copy.content(), "A network comes back.");
}

}  // namespace
}  // namespace equiprop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  equiprop::given.fill(data, size);
  equiprop::check_tensors();
  equiprop::check_network<float>(accepted[1]);
  equiprop::check_network<double>(accepted[2]);
  return 0;
}
