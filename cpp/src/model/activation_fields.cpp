#include "equiprop/model/activation_fields.hpp"

namespace equiprop {
namespace {

struct WriteDown {
  ActivationFields operator()(const Tanh&) const { return {"tanh"}; }
  ActivationFields operator()(const Logistic& rho) const {
    return {"logistic", rho.gain, rho.shift};
  }
  ActivationFields operator()(const Softplus& rho) const { return {"softplus", rho.gain}; }
  ActivationFields operator()(const Clip& rho) const {
    return {"clip", rho.gain, 0, rho.lower, rho.upper};
  }
};

}  // namespace

ActivationFields fields_of(const Activation& activation) {
  return std::visit(WriteDown(), activation);
}

Activation activation_of(const ActivationFields& fields) {
  const auto& [kind, gain, shift, lower, upper] = fields;
  require(gain > 0 && std::isfinite(gain) && std::isfinite(shift) && lower < upper, "Activation",
          "gain is positive, shift finite and lower < upper.", "gain ", gain, ", shift ", shift,
          ", lower ", lower, ", upper ", upper);
  if (kind == "tanh") return Tanh{};
  if (kind == "logistic") return Logistic{gain, shift};
  if (kind == "softplus") return Softplus{gain};
  require(kind == "clip", "Activation", "kind is 'tanh', 'logistic', 'softplus' or 'clip'.", "'",
          kind, "'");
  return Clip{gain, lower, upper};
}

}  // namespace equiprop
