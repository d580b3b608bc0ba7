#include "support.hpp"

namespace equiprop::tests {
namespace {

template <class... Received>
std::string message(const Received&... received) {
  try {
    require(false, "where", "The rule.", received...);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Require, SaysWhereTheRuleAndWhatItReceived) {
  EXPECT_EQ(message(3), "[where] The rule. Received 3.");
  EXPECT_EQ(message("'", "x", "' and ", 0.5), "[where] The rule. Received 'x' and 0.5.");
}

TEST(Require, LetsTrueConditionsPass) {
  EXPECT_NO_THROW(require(true, "where", "The rule.", 3));
}

TEST(Require, ThrowsWhatPythonTakesForAValueError) {
  EXPECT_THROW(require(false, "where", "The rule.", 3), std::invalid_argument);
}

}  // namespace
}  // namespace equiprop::tests
