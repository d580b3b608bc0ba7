/// The symbols that the libraries export, and the instruction sets of their code, according to binutils.

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <sstream>

#include "support.hpp"

#if defined(__linux__)

namespace equiprop::tests {
namespace {

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::string text;
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  pclose(pipe);
  return text;
}

bool is_missing(const std::string& program) {
  return output_of("command -v " + program).empty();
}

// ---------------------------------------------------------------------------- the objects

/// Returns "v3.cpp.o" for "some/folder/v3.cpp.o:     file format elf64-x86-64".
std::string object_of(const std::string& line) {
  const std::string path = line.substr(0, line.find(':'));
  return path.substr(path.rfind('/') + 1);
}

bool is_kernel(const std::string& object) {
  const auto names = {"generic.cpp.o", "v2.cpp.o", "v3.cpp.o", "v4.cpp.o"};
  return std::find(names.begin(), names.end(), object) != names.end();
}

bool is_wide(const std::string& object) {
  return object == "v3.cpp.o" || object == "v4.cpp.o";
}

TEST(Objects, OnlyTheFilesThatMayUseWideRegisters) {
  if (is_missing("objdump")) GTEST_SKIP() << "objdump was not found";
  std::istringstream lines(output_of("objdump -d --no-show-raw-insn " EQUIPROP_OBJECTS
                                     " | grep -E 'file format|%[yz]mm'"));
  std::string object;
  std::size_t objects = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("file format") != std::string::npos)
      object = object_of(line), ++objects;
    else
      ASSERT_TRUE(is_wide(object)) << object << ": " << line;
  }
  EXPECT_GT(objects, 5U);
}

/// Runs nm on files and returns the names of the symbols that `accepts` accepts.
template <class Accepts>
std::set<std::string> symbols(const std::string& arguments, const Accepts& accepts) {
  std::istringstream lines(output_of("nm -P " + arguments + " 2>/dev/null"));
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    char kind = ' ';
    if (words >> name >> kind && accepts(kind)) names.insert(name);
  }
  return names;
}

bool is_weak(char kind) {
  return std::string("WVu").find(kind) != std::string::npos;
}
/// Returns true for symbols that are defined and visible to other files.
bool is_global(char kind) {
  return is_weak(kind) || (kind >= 'A' && kind <= 'Z' && kind != 'U');
}

TEST(Objects, FilesForOneInstructionSetHaveNoSymbolThatCouldMerge) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "sanitizers add symbols of their own";
#endif
  if (is_missing("nm")) GTEST_SKIP() << "nm was not found";
  std::istringstream paths(EQUIPROP_OBJECTS);
  for (std::string path; paths >> path;)
    if (is_kernel(object_of(path))) {
      EXPECT_EQ(symbols(path, is_weak), std::set<std::string>{}) << path;
      EXPECT_FALSE(symbols(path, is_global).empty()) << path;
    }
}

// ---------------------------------------------------------------------------- the libraries

/// Returns true for functions, type information and virtual tables of namespace equiprop.
bool is_ours(const std::string& name) {
  const auto beginnings = {"_ZN8equiprop", "_ZNK8equiprop", "_ZTIN8equiprop", "_ZTSN8equiprop",
                           "_ZTVN8equiprop"};
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [&](const char* beginning) { return name.rfind(beginning, 0) == 0; });
}

[[maybe_unused]] std::set<std::string> not_ours(const std::set<std::string>& names) {
  std::set<std::string> others;
  std::copy_if(names.begin(), names.end(), std::inserter(others, others.end()),
               [](const std::string& name) { return !is_ours(name); });
  return others;
}

#ifdef EQUIPROP_SHARED
TEST(SharedLibrary, ExportsNamesOfEquipropAlone) {
  if (is_missing("nm")) GTEST_SKIP() << "nm was not found";
  const auto names = symbols("-D --defined-only '" EQUIPROP_SHARED "'", is_global);
  EXPECT_EQ(not_ours(names), std::set<std::string>{});
  EXPECT_EQ(names.count("_ZTIN8equiprop15InvalidArgumentE"), 1U);
}
#endif

#ifdef EQUIPROP_SEALED
TEST(StaticLibrary, ShowsNamesOfEquipropAlone) {
  if (is_missing("nm")) GTEST_SKIP() << "nm was not found";
  const auto names = symbols("'" EQUIPROP_STATIC "'", is_global);
  EXPECT_EQ(not_ours(names), std::set<std::string>{});
  EXPECT_EQ(names.count("_ZTIN8equiprop15InvalidArgumentE"), 1U);
}

/// The tests stand for a program that uses all of the library.
TEST(StaticLibrary, SharesNoSymbolWithItsUsersThatTheLinkerWouldMerge) {
  if (is_missing("nm")) GTEST_SKIP() << "nm was not found";
  const auto library = symbols("'" EQUIPROP_STATIC "'", is_global);
  const auto users = symbols(EQUIPROP_USERS, is_weak);
  std::set<std::string> both;
  std::set_intersection(library.begin(), library.end(), users.begin(), users.end(),
                        std::inserter(both, both.end()));
  EXPECT_EQ(both, std::set<std::string>{});
  EXPECT_GT(users.size(), 1000U);
}
#endif

}  // namespace
}  // namespace equiprop::tests

#endif
