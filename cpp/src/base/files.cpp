#include "equiprop/base/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>

#include "base/file_system.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {
namespace {

constexpr std::string_view prefix = ".equiprop-", suffix = ".part";
constexpr std::size_t digits = 16;

/// Returns a new name in the folder of a file. It is put together as text: if an allocation fails, libstdc++'s
/// path::replace_filename frees memory that it does not own.
std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  std::random_device random;
  char number[digits + 1];
  std::snprintf(number, sizeof number, "%08x%08x", random(), random());
  auto name = path.native();
  name.resize(name.size() - path.filename().native().size());
  for (const std::string_view part : {prefix, std::string_view(number), suffix})
    name.append(part.begin(), part.end());
  return name;
}

bool is_temporary(std::string_view name) {
  return name.size() == prefix.size() + digits + suffix.size() && name.starts_with(prefix) &&
         name.ends_with(suffix) &&
         name.find_first_not_of("0123456789abcdef", prefix.size()) == prefix.size() + digits;
}

/// Returns the folder of a file, "." for a name alone.
std::filesystem::path folder_of(const std::filesystem::path& path) {
  const auto folder = path.parent_path();
  return folder.empty() ? "." : folder;
}

/// Flushes a new name of a file to the disk.
void flush_name(const std::filesystem::path& path, std::string_view where) {
  if (synchronize_folder(folder_of(path))) return;
  const int number = errno;
  fail_file(number, where, "flush the folder of", path_in_quotes(path),
            " The file was replaced, but a loss of power may undo this.");
}

/// Resolves links of a path to a file; returns the path itself if there is no file yet.
std::filesystem::path target_of(const std::filesystem::path& path, std::string_view where) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  require(!std::filesystem::is_other(status), where, "Only a regular file is replaced.",
          "a device or pipe, ", path_in_quotes(path));
  const auto target = std::filesystem::canonical(path, error);
  return error ? path : target;
}

/// A temporary file beside the one at `path`, which replaces it on success and is removed on failure.
class Replacement {
 public:
  Replacement(const std::filesystem::path& path, std::string_view where)
      : where_(where), path_(target_of(whole(path, where), where)) {
    remove_leftovers(folder_of(path_));
    do {
      temporary_ = temporary_beside(path_);
      file_ = open_file(temporary_, OpenMode::create);
      check(file_ != nullptr);
      lock(file_.get());
    } while (!is_linked(file_.get()));  // remove_leftovers came between the creation and the lock
    std::error_code error;
    const auto old = std::filesystem::status(path_, error);
    if (exists(old)) std::filesystem::permissions(temporary_, old.permissions(), error);
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;
  ~Replacement() {
    std::error_code error;
    if (done_) return;
    file_.reset();
    std::filesystem::remove(temporary_, error);
  }

  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;  // fwrite must not be given a null pointer
    check(std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size());
  }
  void take_place() {
    check(synchronize(file_.get()));
    check(replace_file(file_, temporary_, path_));
    done_ = true;
    flush_name(path_, where_);
  }

 private:
  void check(bool succeeded) const {
    if (succeeded) return;
    const int number = errno;
    fail_file(number, where_, "write", path_in_quotes(path_),
              " No file was changed. Free space or choose another place.");
  }

  std::string_view where_;
  std::filesystem::path path_, temporary_;
  FilePointer file_{nullptr, &std::fclose};
  bool done_ = false;
};

}  // namespace

void write_file(const std::filesystem::path& path,
                std::span<const std::span<const std::byte>> parts, std::string_view where) {
  Replacement replacement(path, where);
  for (const auto part : parts) replacement.write(part);
  replacement.take_place();
}

void move_file(const std::filesystem::path& from, const std::filesystem::path& to,
               std::string_view where) {
  FilePointer closed{nullptr, &std::fclose};
  if (!replace_file(closed, whole(from, where), whole(to, where))) {
    const int number = errno;
    fail_file(number, where, "move a file to", path_in_quotes(to));
  }
  flush_name(to, where);
}

void remove_leftovers(const std::filesystem::path& folder) {
  for (const std::string& name : names_in(folder))
    if (is_temporary(name)) remove_unlocked(folder / name);
}

}  // namespace equiprop
