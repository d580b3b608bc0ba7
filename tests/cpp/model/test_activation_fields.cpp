#include "equiprop/model/activation_fields.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

bool same(const ActivationFields& a, const ActivationFields& b) {
  return std::tie(a.kind, a.gain, a.shift, a.lower, a.upper) ==
         std::tie(b.kind, b.gain, b.shift, b.lower, b.upper);
}

TEST(ActivationFields, EveryActivationComesBack) {
  std::vector<NamedActivation> all = activations();
  all.push_back({"logistic", logistic(1e-5, -1 / 3.)});
  all.push_back({"clip", Clip{0.1, -2, std::numeric_limits<double>::infinity()}});
  for (const auto& [name, activation] : all) {
    const ActivationFields fields = fields_of(activation);
    const Activation again = activation_of(fields);
    EXPECT_EQ(again.index(), activation.index()) << name;
    EXPECT_TRUE(same(fields_of(again), fields)) << name;
  }
}

TEST(ActivationFields, WhatNoActivationHasIsRefused) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const ActivationFields& fields : std::vector<ActivationFields>{{"relu"},
                                                                      {""},
                                                                      {"tanh", 0},
                                                                      {"tanh", -1},
                                                                      {"clip", nan},
                                                                      {"softplus", infinity},
                                                                      {"logistic", 1, nan},
                                                                      {"logistic", 1, infinity},
                                                                      {"clip", 1, 0, 1, 1},
                                                                      {"clip", 1, 0, 2, 1},
                                                                      {"clip", 1, 0, nan, 1}})
    EXPECT_THROW(activation_of(fields), InvalidArgument) << fields.kind << ' ' << fields.gain;
}

}  // namespace
}  // namespace equiprop::tests
