#include "equiprop/base/kernels.hpp"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "base/kernels/tables.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {
namespace {

struct Isa {
  std::string_view name;
  bool (*runs)();
  const Kernels<float>& single_kernels;
  const Kernels<double>& double_kernels;
};

bool always() {
  return true;
}

#ifdef EQUIPROP_X86_KERNELS
// The checks name features, because clang 14 does not know the names of the x86-64 levels.
bool runs_v2() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
}
bool runs_v3() {
  return runs_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool runs_v4() {
  return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

/// All instruction sets, the slowest first.
const Isa isas[] = {
    {"generic", always, generic::single_kernels, generic::double_kernels},
#ifdef EQUIPROP_X86_KERNELS
    {"x86-64-v2", runs_v2, x86_64_v2::single_kernels, x86_64_v2::double_kernels},
    {"x86-64-v3", runs_v3, x86_64_v3::single_kernels, x86_64_v3::double_kernels},
    {"x86-64-v4", runs_v4, x86_64_v4::single_kernels, x86_64_v4::double_kernels},
#endif
};

const Isa& find(std::string_view name) {
  const auto known = choose_kernel_isa(name);
  return *std::find_if(std::begin(isas), std::end(isas),
                       [&](const Isa& isa) { return isa.name == known; });
}

std::string rule(const std::vector<std::string_view>& names) {
  std::string text = "The instruction set is one that this processor runs:";
  for (const auto name : names) text.append(name == names.front() ? " " : ", ").append(name);
  return text + ".";
}

std::string_view from_environment() {
  const char* name = std::getenv("EQUIPROP_ISA");
  return choose_kernel_isa(name == nullptr ? "" : name);
}

}  // namespace

std::vector<std::string_view> kernel_isas() {
  std::vector<std::string_view> names;
  for (const Isa& isa : isas)
    if (isa.runs()) names.push_back(isa.name);
  return names;
}

std::string_view choose_kernel_isa(std::string_view name) {
  const auto names = kernel_isas();
  if (name.empty()) return names.back();
  const auto found = std::find(names.begin(), names.end(), name);
  require(found != names.end(), "EQUIPROP_ISA", rule(names), name);
  return *found;
}

std::string_view kernel_isa() {
  static const std::string_view chosen = from_environment();
  return chosen;
}

template <>
const Kernels<float>& kernels<float>(std::string_view isa) {
  return find(isa).single_kernels;
}
template <>
const Kernels<double>& kernels<double>(std::string_view isa) {
  return find(isa).double_kernels;
}

template <>
const Kernels<float>& kernels<float>() {
  static const Kernels<float>& chosen = kernels<float>(kernel_isa());
  return chosen;
}
template <>
const Kernels<double>& kernels<double>() {
  static const Kernels<double>& chosen = kernels<double>(kernel_isa());
  return chosen;
}

}  // namespace equiprop
