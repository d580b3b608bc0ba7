#include "base/file_system.hpp"

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

#include <cerrno>
#include <system_error>

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

bool replace_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  errno = error.default_error_condition().value();
  return !error;
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

bool replace_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  return std::rename(from.c_str(), to.c_str()) == 0;
}

#endif

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

}  // namespace equiprop
