#pragma once
/// An activation written down: what files hold of one, and other languages give.

#include <limits>
#include <string>

#include "equiprop/base/export.hpp"
#include "equiprop/model/activation.hpp"

namespace equiprop {

/// Of tanh(x) ("tanh"), 1 / (1 + exp(-gain (x - shift))) ("logistic"), log(1 + exp(gain x)) / gain ("softplus"), or
/// clip(gain x, lower, upper) ("clip"). Fields that the kind does not use are ignored.
struct ActivationFields {
  std::string kind;                                         ///< the name in quotes
  double gain = 1;                                          ///< of all but tanh
  double shift = 0;                                         ///< of a logistic
  double lower = -std::numeric_limits<double>::infinity();  ///< of a clip
  double upper = std::numeric_limits<double>::infinity();   ///< of a clip
};

/// Unused fields are the defaults.
EQUIPROP_EXPORT ActivationFields fields_of(const Activation& activation);

/// Throws InvalidArgument unless the kind is one of the four, gain is positive and finite, shift finite and
/// lower < upper, used or not.
EQUIPROP_EXPORT Activation activation_of(const ActivationFields& fields);

}  // namespace equiprop
