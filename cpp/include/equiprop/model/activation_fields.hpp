#pragma once
/// Conversion of activations to and from plain fields, for files and other languages.

#include <limits>
#include <string>

#include "equiprop/base/export.hpp"
#include "equiprop/model/activation.hpp"

namespace equiprop {

/// The fields of an activation. `kind` is "tanh" for tanh(x), "logistic" for 1 / (1 + exp(-gain (x - shift))),
/// "softplus" for log(1 + exp(gain x)) / gain, or "clip" for clip(gain x, lower, upper). Fields that the kind does not
/// use are ignored.
struct ActivationFields {
  std::string kind;                                         ///< name of the function
  double gain = 1;                                          ///< gain, not used by tanh
  double shift = 0;                                         ///< shift of a logistic
  double lower = -std::numeric_limits<double>::infinity();  ///< lower bound of a clip
  double upper = std::numeric_limits<double>::infinity();   ///< upper bound of a clip
};

/// Returns the fields of an activation; fields that it does not use have their defaults.
EQUIPROP_EXPORT ActivationFields fields_of(const Activation& activation);

/// Returns the activation with these fields. Throws InvalidArgument unless the kind is one of the four, gain is
/// positive, shift is finite and lower < upper; unused fields are checked too.
EQUIPROP_EXPORT Activation activation_of(const ActivationFields& fields);

}  // namespace equiprop
