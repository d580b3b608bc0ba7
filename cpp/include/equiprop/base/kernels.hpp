#pragma once
/// Selection of the kernels for the instruction set of the processor.

#include <string_view>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/base/kernel_table.hpp"

namespace equiprop {

/// Returns the compiled instruction sets that this processor supports, the slowest ("generic") first.
EQUIPROP_EXPORT std::vector<std::string_view> kernel_isas();

/// Returns the instruction set in use: the last of `kernel_isas`, or the one that the environment variable EQUIPROP_ISA
/// names. It is chosen once per process.
EQUIPROP_EXPORT std::string_view kernel_isa();

/// Returns `name`, or the fastest instruction set if `name` is empty. Throws InvalidArgument if this processor does not
/// support it.
EQUIPROP_EXPORT std::string_view choose_kernel_isa(std::string_view name);

/// Returns the kernels of an instruction set. T is float or double.
template <class T>
EQUIPROP_EXPORT const Kernels<T>& kernels(std::string_view isa);

/// Returns the kernels of kernel_isa(). Packed weights can be used only by the instruction set that packed them.
template <class T>
EQUIPROP_EXPORT const Kernels<T>& kernels();

}  // namespace equiprop
