#include "fuzz_model_file.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

#include "equiprop/base/error.hpp"
#include "equiprop/base/safetensors.hpp"
#include "equiprop/model/checkpoint.hpp"

std::array<std::uint64_t, 3> accepted{};

namespace equiprop {
namespace {

void must(bool holds, const char* law, const std::string& received = {}) {
  if (holds) return;
  std::fprintf(stderr, "%s %s\n", law, received.c_str());
  std::abort();
}

/// In memory where there is such a folder; it goes with the process.
class Scratch {
 public:
  explicit Scratch(const char* name)
      : path_((std::filesystem::exists("/dev/shm") ? "/dev/shm"
                                                   : std::filesystem::temp_directory_path()) /
              ("fuzz_model_file." + std::to_string(::getpid()) + name)) {}
  ~Scratch() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

  std::string content() const {
    std::ifstream stream(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void fill(const std::uint8_t* data, std::size_t size) const {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }

 private:
  std::filesystem::path path_;
};

const Scratch given("given"), copy("copy");

/// Returns the result of `read`, or nothing if it refuses the file with a sentence.
template <class Read>
auto read_or_refuse(const Read& read) -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const InvalidArgument& refusal) {
    const std::string text = refusal.what();
    must(text.starts_with("[") && text.find(" Received ") != text.npos && text.ends_with("."),
         "A refusal is a sentence.", text);
    return {};
  }
}

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
