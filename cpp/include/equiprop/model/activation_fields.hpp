#pragma once
/// An activation written down: what files hold of one, and other languages give.

#include <limits>
#include <string>

#include "equiprop/model/activation.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// tanh(x) ("tanh"), 1 / (1 + exp(-gain (x - shift))) ("logistic"), log(1 + exp(gain x)) / gain ("softplus"), or
/// clip(gain x, lower, upper) ("clip"). Fields that the kind does not use are ignored.
struct ActivationFields {
  std::string kind;
  double gain = 1;
  double shift = 0;
  double lower = -std::numeric_limits<double>::infinity();
  double upper = std::numeric_limits<double>::infinity();
};

/// Unused fields are the defaults.
ActivationFields fields_of(const Activation& activation);

/// Throws InvalidArgument unless the kind is one of the four, gain is positive and finite, shift finite and
/// lower < upper, used or not.
Activation activation_of(const ActivationFields& fields);

}  // namespace equiprop
