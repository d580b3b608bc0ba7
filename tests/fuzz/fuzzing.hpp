#pragma once
/// Shared by the targets of fuzzing: laws that abort, files for the readers, and numbers from the bytes of libFuzzer.

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "equiprop/base/error.hpp"

namespace equiprop::fuzzing {

inline void must(bool holds, const char* law, const std::string& received = {}) {
  if (holds) return;
  std::fprintf(stderr, "%s %s\n", law, received.c_str());
  std::abort();
}

/// A file in memory where there is such a folder; it goes with the process.
class Scratch {
 public:
  explicit Scratch(const char* name)
      : path_((std::filesystem::exists("/dev/shm") ? "/dev/shm"
                                                   : std::filesystem::temp_directory_path()) /
              ("equiprop_fuzz." + std::to_string(::getpid()) + name)) {}
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

}  // namespace equiprop::fuzzing
