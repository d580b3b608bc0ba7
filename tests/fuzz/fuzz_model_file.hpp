#pragma once
/// Declarations for both drivers of the readers of model files: mutations.cpp, which makes damaged files, and
/// libFuzzer, which brings a main of its own.

#include <array>
#include <cstddef>
#include <cstdint>

/// How many files each reader accepted: read_safetensors, load<float>, load<double>.
extern std::array<std::uint64_t, 3> accepted;

/// Gives one file to each reader, which must refuse it with a sentence, or accept it; what it accepted must come
/// back the same when it is written and read again. Aborts otherwise.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
