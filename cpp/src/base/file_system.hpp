#pragma once
/// Functions that the standard library lacks for safe writing of files, on POSIX systems and on Windows. A function
/// that fails returns an empty or false result and sets errno.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
/// Flushes the names in a folder to the disk, so that a new name survives a loss of power; true if this system or the
/// permissions of the folder do not allow it.
bool synchronize_folder(const std::filesystem::path& folder);
/// Renames the open `file` from `from` to `to` atomically, and closes it; an existing file `to` is replaced.
bool replace_file(FilePointer& file, const std::filesystem::path& from,
                  const std::filesystem::path& to);

/// Marks a file as in use until it is closed or the process ends; without effect on Windows.
void lock(std::FILE* file);
/// Returns false if the file was removed while it is open.
bool is_linked(std::FILE* file);
/// Removes a regular file that no process has locked; without effect on Windows and on file systems without locks.
void remove_unlocked(const std::filesystem::path& path);

/// Returns the names in a folder, none if it cannot be read; none on Windows. libstdc++ ends the process if an allocation
/// fails while a std::filesystem::directory_iterator is constructed.
std::vector<std::string> names_in(const std::filesystem::path& folder);

std::string utf8(const std::filesystem::path& path);
/// Returns a path for a message.
std::string path_in_quotes(const std::filesystem::path& path);
/// Rejects a path with a zero byte, because the system would truncate the path there.
const std::filesystem::path& whole(const std::filesystem::path& path, std::string_view where);
/// Throws FileError "[where] cannot <action> <object>: <reason of the error number>." and the cure.
[[noreturn]] void fail_file(int number, std::string_view where, std::string_view action,
                            std::string_view object, std::string_view cure = "");

}  // namespace equiprop
