#pragma once
/// Precision of the products that a CUDA device computes for networks in float32.

#include <string_view>

#include "equiprop/base/export.hpp"

namespace equiprop::cuda {

/// How products of matrices round their factors: the drive by the input, the gradients of weights and the derivative by the
/// input. Sums are float32 in all cases, and relaxations, conjugate gradients and biases are exact.
enum class Precision {
  exact,   ///< factors of 24 bits; the only one for float64
  tf32,    ///< 11 bits, on tensor cores: relative error 2^-11 of a factor
  tf32x3,  ///< three products of 11 bits each: relative error 2^-22 of a factor; named "3xtf32"
  bf16     ///< 8 bits: relative error 2^-8 of a factor
};

/// Returns the precision of a name: "exact", "tf32", "3xtf32" or "bf16". Throws InvalidArgument for another one.
EQUIPROP_EXPORT Precision precision_of(std::string_view name);

}  // namespace equiprop::cuda
