#pragma once
/// Functions that the standard library lacks for safe writing of files, on POSIX systems and on Windows. A function
/// that fails returns an empty or false result and sets errno.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace equiprop {

using FilePointer = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// Mode of open_file; `create` fails if the file exists.
enum class OpenMode { read, create };
FilePointer open_file(const std::filesystem::path& path, OpenMode mode);

/// Returns the bytes of a file and moves its position to its beginning.
std::optional<std::int64_t> size_of(std::FILE* file);
bool seek(std::FILE* file, std::int64_t position);
/// Flushes a file to the disk.
bool synchronize(std::FILE* file);
/// Renames `from` to `to` atomically; an existing file `to` is replaced.
bool replace_file(const std::filesystem::path& from, const std::filesystem::path& to);

std::string utf8(const std::filesystem::path& path);

}  // namespace equiprop
