#include "base/file_system.hpp"

#ifdef _WIN32
#include <io.h>
#else
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <cerrno>
#include <system_error>

#include "base/text.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/files.hpp"

namespace equiprop {

#ifdef _WIN32

FilePointer open_file(const std::filesystem::path& path, OpenMode mode) {
  return {::_wfopen(path.c_str(), mode == OpenMode::read ? L"rbN" : L"wbxN"), &std::fclose};
}

std::optional<std::int64_t> size_of(std::FILE* file) {
  if (::_fseeki64(file, 0, SEEK_END) != 0) return {};
  const std::int64_t size = ::_ftelli64(file);
  if (size < 0 || !seek(file, 0)) return {};
  return size;
}

bool seek(std::FILE* file, std::int64_t position) {
  return ::_fseeki64(file, position, SEEK_SET) == 0;
}

bool synchronize(std::FILE* file) {
  return std::fflush(file) == 0 && ::_commit(::_fileno(file)) == 0;
}

bool synchronize_folder(const std::filesystem::path&) {
  return true;
}

bool replace_file(FilePointer& file, const std::filesystem::path& from,
                  const std::filesystem::path& to) {
  file.reset();  // an open file has no other name here
  std::error_code error;
  std::filesystem::rename(from, to, error);
  errno = error.default_error_condition().value();
  return !error;
}

void lock(std::FILE*) {}

bool is_linked(std::FILE*) {
  return true;
}

void remove_unlocked(const std::filesystem::path&) {}

std::vector<std::string> names_in(const std::filesystem::path&) {
  return {};
}

#else

FilePointer open_file(const std::filesystem::path& path, OpenMode mode) {
  return {std::fopen(path.c_str(), mode == OpenMode::read ? "rbe" : "wbxe"), &std::fclose};
}

std::optional<std::int64_t> size_of(std::FILE* file) {
  if (::fseeko(file, 0, SEEK_END) != 0) return {};
  const std::int64_t size = ::ftello(file);
  if (size < 0 || !seek(file, 0)) return {};
  return size;
}

bool seek(std::FILE* file, std::int64_t position) {
  return ::fseeko(file, position, SEEK_SET) == 0;
}

bool synchronize(std::FILE* file) {
  return std::fflush(file) == 0 && ::fsync(::fileno(file)) == 0;
}

bool synchronize_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return true;
  const bool flushed = ::fsync(descriptor) == 0;
  const int number = errno;
  ::close(descriptor);
  errno = number;
  return flushed || number == EINVAL || number == ENOTSUP || number == EROFS || number == EBADF;
}

bool replace_file(FilePointer& file, const std::filesystem::path& from,
                  const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) return false;
  file.reset();  // not before, because remove_unlocked would remove a file that is not locked
  return true;
}

void lock(std::FILE* file) {
  while (::flock(::fileno(file), LOCK_EX) != 0 && errno == EINTR) {
  }
}

bool is_linked(std::FILE* file) {
  struct stat status {};
  return ::fstat(::fileno(file), &status) != 0 || status.st_nlink > 0;
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (open == nullptr) return names;
  while (const dirent* entry = ::readdir(open.get())) names.emplace_back(entry->d_name);
  return names;
}

void remove_unlocked(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return;
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  if (regular && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) ::unlink(path.c_str());
  ::close(descriptor);
}

#endif

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

std::string path_in_quotes(const std::filesystem::path& path) {
  return concatenated("'", printable(utf8(path)), "'");
}

const std::filesystem::path& whole(const std::filesystem::path& path, std::string_view where) {
  require(path.native().find('\0') == path.native().npos, where, "A path holds no zero byte.",
          path_in_quotes(path));
  return path;
}

void fail_file(int number, std::string_view where, std::string_view action, std::string_view object,
               std::string_view cure) {
  throw FileError(number, concatenated("[", where, "] cannot ", action, " ", object, ": ",
                                       std::generic_category().message(number), ".", cure));
}

}  // namespace equiprop
