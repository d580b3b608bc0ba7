/// Failures of the disk: the linker redirects the calls that write a file to functions of this file (CMakeLists.txt),
/// which fail on request.

#include <cerrno>
#include <filesystem>

#include "support.hpp"

namespace {

int calls = 0, failing = 0;  // number of calls so far, and of the call that fails

bool fails() {
  if (++calls != failing) return false;
  errno = ENOSPC;
  return true;
}

}  // namespace

extern "C" {
std::size_t __real_fwrite(const void* data, std::size_t size, std::size_t count, FILE* file);
std::size_t __wrap_fwrite(const void* data, std::size_t size, std::size_t count, FILE* file) {
  return fails() ? 0 : __real_fwrite(data, size, count, file);
}
int __real_fflush(FILE* file);
int __wrap_fflush(FILE* file) {
  return fails() ? EOF : __real_fflush(file);
}
int __real_fsync(int file);
int __wrap_fsync(int file) {
  return fails() ? -1 : __real_fsync(file);
}
int __real_rename(const char* from, const char* to);
int __wrap_rename(const char* from, const char* to) {
  return fails() ? -1 : __real_rename(from, to);
}
}

namespace equiprop::tests {
namespace {

class Writing : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder);
    failing = 0;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  /// Writes a file whose call `number` fails, and returns the message of the error, empty for none.
  template <class Write>
  static std::string failure_of(int number, const Write& write) {
    calls = 0;
    failing = number;
    std::string message;
    try {
      write();
    } catch (const FileError& error) {
      EXPECT_EQ(error.code(), std::errc::no_space_on_device);
      message = error.what();
    }
    failing = 0;
    return message;
  }
  std::string version() const { return read_safetensors(path).metadata.at("version"); }
  void write(const char* text) const { write_safetensors(path, {}, {{"version", text}}); }
  long entries() const {
    const std::filesystem::directory_iterator entries(folder);
    return std::distance(begin(entries), end(entries));
  }

  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("equiprop_" + std::to_string(::getpid()));
  const std::filesystem::path path = folder / "file";
};

TEST_F(Writing, AFailureAtAnyCallLeavesTheOldFileOrTheNewOneAndNothingElse) {
  write("old");
  for (int number = 1; number <= 4; ++number) {  // fwrite, fflush, fsync, rename
    EXPECT_EQ(failure_of(number, [&] { write("new"); }),
              "[write_safetensors] cannot write '" + path.string() +
                  "': No space left on device. No file was changed. Free space or choose another "
                  "place.");
    EXPECT_EQ(version(), "old");
    EXPECT_EQ(entries(), 1);
  }
  EXPECT_EQ(failure_of(5, [&] { write("new"); }),  // fsync of the folder
            "[write_safetensors] cannot flush the folder of '" + path.string() +
                "': No space left on device. The file was replaced, but a loss of power may undo "
                "this.");
  EXPECT_EQ(version(), "new");
  EXPECT_EQ(failure_of(6, [&] { write("newer"); }), "");
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(version(), "newer");
}

TEST_F(Writing, ANetworkIsSavedWholeOrNotAtAll) {
  const auto saved = [&](double bias) {
    HopfieldNetwork<double> network({{"x", 2}, {"y", 1}}, chain(2));
    network.parameters().setConstant(bias);
    save(network, path);
  };
  int number = 0;
  std::string failure = "none yet";
  while (!failure.empty()) {
    saved(1);
    failure = failure_of(++number, [&] { saved(2); });
    const bool replaced = failure.empty() || failure.find("was replaced") != std::string::npos;
    EXPECT_EQ(load<double>(path).parameters()(0), replaced ? 2 : 1);
    EXPECT_EQ(entries(), 1);
  }
  EXPECT_EQ(number, calls + 1);
}

TEST_F(Writing, AMovedFileHasOneName) {
  write("old");
  const auto moved = folder / "moved";
  EXPECT_EQ(failure_of(1, [&] { move_file(path, moved); }),
            "[move_file] cannot move a file to '" + moved.string() + "': No space left on device.");
  EXPECT_EQ(version(), "old");
  move_file(path, moved);
  EXPECT_EQ(entries(), 1);
  EXPECT_EQ(read_safetensors(moved).metadata.at("version"), "old");
}

}  // namespace
}  // namespace equiprop::tests
