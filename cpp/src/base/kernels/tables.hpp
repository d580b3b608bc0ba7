#pragma once
/// The kernel tables that the sources in this folder define, one namespace per instruction set.

#include "equiprop/base/kernel_table.hpp"

#define EQUIPROP_KERNEL_TABLES(isa)            \
  namespace equiprop::isa {                    \
  extern const Kernels<float> single_kernels;  \
  extern const Kernels<double> double_kernels; \
  }

EQUIPROP_KERNEL_TABLES(generic)
#ifdef EQUIPROP_X86_KERNELS
EQUIPROP_KERNEL_TABLES(x86_64_v2)
EQUIPROP_KERNEL_TABLES(x86_64_v3)
EQUIPROP_KERNEL_TABLES(x86_64_v4)
#endif
#undef EQUIPROP_KERNEL_TABLES
