/// Printable forms of text that may come from a damaged file.

#include "base/text.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

TEST(Text, WhatIsPrintedIsOneLineOfUtf8) {
  EXPECT_EQ(printable("a\n\xff\xc3\x9f"), "a\\x0a\\xff\xc3\x9f");
  const std::string cut = printable(std::string(100, '\xff'), 20);
  EXPECT_LE(cut.size(), 20u);
  EXPECT_TRUE(cut.ends_with("..."));
}

TEST(Text, NothingThatIsPrintedSteersATerminal) {
  for (char32_t code = 0; code < 0x20; ++code)
    EXPECT_EQ(printable(std::string(1, static_cast<char>(code))), "\\x" + hexadecimal(code, 2));
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // starts a terminal control sequence
  EXPECT_EQ(printable("\xc2\x85"), "\\xc2\\x85");           // next line
  EXPECT_EQ(printable("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");  // line separator
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");             // no-break space
}

}  // namespace
}  // namespace equiprop::tests
