/// Failures of the disk: the linker redirects the calls that write a file to functions of this file (CMakeLists.txt),
/// which fail on request.

#include <cerrno>
#include <filesystem>

#include "support.hpp"

namespace {

enum class Call { none, write, flush, sync, rename };
Call failing = Call::none;

bool fails(Call call) {
  if (call != failing) return false;
  errno = ENOSPC;
  return true;
}

}  // namespace

extern "C" {
std::size_t __real_fwrite(const void* data, std::size_t size, std::size_t count, FILE* file);
std::size_t __wrap_fwrite(const void* data, std::size_t size, std::size_t count, FILE* file) {
  return fails(Call::write) ? 0 : __real_fwrite(data, size, count, file);
}
int __real_fflush(FILE* file);
int __wrap_fflush(FILE* file) {
  return fails(Call::flush) ? EOF : __real_fflush(file);
}
int __real_fsync(int file);
int __wrap_fsync(int file) {
  return fails(Call::sync) ? -1 : __real_fsync(file);
}
int __real_rename(const char* from, const char* to);
int __wrap_rename(const char* from, const char* to) {
  return fails(Call::rename) ? -1 : __real_rename(from, to);
}
}

namespace equiprop::tests {
namespace {

TEST(Writing, AFailureAtAnyStepLeavesTheOldFileAndNothingElse) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("equiprop_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const auto path = folder / "file";
  write_safetensors(path, {}, {{"version", "old"}});
  for (const Call call : {Call::write, Call::flush, Call::sync, Call::rename}) {
    failing = call;
    try {
      write_safetensors(path, {}, {{"version", "new"}});
      ADD_FAILURE() << "a failure was overlooked";
    } catch (const FileError& error) {
      EXPECT_EQ(error.code(), std::errc::no_space_on_device);
      EXPECT_EQ(error.what(),
                "[write_safetensors] cannot write '" + path.string() +
                    "': No space left on device. No file was changed. Free space or choose another "
                    "place.");
    }
    failing = Call::none;
    EXPECT_EQ(read_safetensors(path).metadata.at("version"), "old");
    const std::filesystem::directory_iterator entries(folder);
    EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
  }
  write_safetensors(path, {}, {{"version", "new"}});
  EXPECT_EQ(read_safetensors(path).metadata.at("version"), "new");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace equiprop::tests
