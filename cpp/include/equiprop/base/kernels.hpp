#pragma once
/// Packed products with a fused response, for the instruction set of the processor that runs them.

#include <string_view>
#include <vector>

#include "equiprop/base/kernel_table.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// Instruction sets compiled in that this processor runs, the slowest ("generic") first.
std::vector<std::string_view> kernel_isas();

/// The one in use: the last of `kernel_isas`, or what the environment variable EQUIPROP_ISA names. Chosen once.
std::string_view kernel_isa();

/// `name` if this processor runs it, else InvalidArgument; the best for an empty name.
std::string_view choose_kernel_isa(std::string_view name);

/// T is float or double.
template <class T>
const Kernels<T>& kernels(std::string_view isa);

/// Those of kernel_isa(). Packed weights belong to the instruction set that packed them.
template <class T>
const Kernels<T>& kernels();

}  // namespace equiprop
