#include <locale>

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

TEST(Require, SpellsNumbersAlikeInEveryLocale) {
  struct Grouped : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  const std::locale old = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  const std::string found = message(1048577, " and ", 0.5);
  std::locale::global(old);
  EXPECT_EQ(found, "[where] The rule. Received 1048577 and 0.5.");
}

TEST(Require, LetsTrueConditionsPass) {
  EXPECT_NO_THROW(require(true, "where", "The rule.", 3));
}

TEST(Require, ThrowsWhatPythonTakesForAValueError) {
  EXPECT_THROW(require(false, "where", "The rule.", 3), std::invalid_argument);
}

}  // namespace
}  // namespace equiprop::tests
