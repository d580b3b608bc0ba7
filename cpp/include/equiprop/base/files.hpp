#pragma once
/// Writing of files that are complete or absent, also if the disk is full or the process ends at any instant.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "equiprop/base/export.hpp"

namespace equiprop {

/// The system could not read or write a file; code() holds the errno. Python raises the matching subclass of OSError.
class EQUIPROP_EXPORT FileError : public std::system_error {
 public:
  /// Creates the error of errno `number`.
  FileError(int number, std::string message)
      : std::system_error(number, std::generic_category()), message_(std::move(message)) {}
  /// Returns the message, `[where] rule. Received <the system's reason> for <path>.`
  const char* what() const noexcept override;

 private:
  std::string message_;
};

/// Writes a file whose content is `parts`, one after the other, atomically: the path always holds either the complete
/// new file or the unchanged old one. The file is flushed to the disk before it gets its name, and its folder
/// afterwards. Symbolic links are followed, and the permissions of a replaced file are kept. Temporary files in the
/// folder that ended processes left behind are removed. Error messages start with `where`.
///
/// Throws InvalidArgument if the path leads to a device or pipe, FileError if writing fails, for example on a full
/// disk; no temporary file is left behind.
EQUIPROP_EXPORT void write_file(const std::filesystem::path& path,
                                std::span<const std::span<const std::byte>> parts,
                                std::string_view where = "write_file");

/// Moves a file within a file system, atomically; an existing file `to` is replaced. The new name is flushed to the disk.
/// Throws FileError if this fails; error messages start with `where`.
EQUIPROP_EXPORT void move_file(const std::filesystem::path& from, const std::filesystem::path& to,
                               std::string_view where = "move_file");

/// Removes the temporary files of write_file in a folder whose processes have ended. A file to which a process still
/// writes is kept, and so are all temporary files on a system or a file system without locks.
EQUIPROP_EXPORT void remove_leftovers(const std::filesystem::path& folder);

}  // namespace equiprop
