#pragma once
/// What the standard library lacks for files that must not be lost, on POSIX systems and on Windows. A function
/// that fails says so, and errno why.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace equiprop {

using FilePointer = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// `create` refuses a file that exists.
enum class OpenMode { read, create };
FilePointer open_file(const std::filesystem::path& path, OpenMode mode);

/// Bytes of a file, which is then at its beginning.
std::optional<std::int64_t> size_of(std::FILE* file);
bool seek(std::FILE* file, std::int64_t position);
/// What was written is on the disk.
bool synchronize(std::FILE* file);
/// `from` takes the place and name of `to`, in one step.
bool replace_file(const std::filesystem::path& from, const std::filesystem::path& to);

std::string utf8(const std::filesystem::path& path);

}  // namespace equiprop
