/// Strict JSON: accepted texts, rejected texts, and Python's formats of numbers and strings.

#include <bit>

#include "base/json.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

using json::Reader;

/// Returns the result of `read` as text, or "refused" if it throws InvalidArgument.
template <class Read>
std::string outcome(std::string_view text, const Read& read) {
  try {
    Reader reader(text, "test", " in it");
    const auto value = read(reader);
    reader.end();
    std::ostringstream stream;
    stream << value;
    return stream.str();
  } catch (const InvalidArgument& refusal) {
    const std::string sentence = refusal.what();
    EXPECT_TRUE(sentence.starts_with("[test] ") && sentence.ends_with(" in it.")) << sentence;
    return "refused";
  }
}

std::string string(std::string_view text) {
  return outcome(text, [](Reader& reader) { return reader.string("A string is due."); });
}
std::string count(std::string_view text) {
  return outcome(text, [](Reader& reader) { return reader.count("A count is due."); });
}
std::string number(std::string_view text) {
  return outcome(text, [](Reader& reader) { return reader.number("A number is due."); });
}
/// Returns the names and values of an object of counts, and their number.
std::string object(std::string_view text) {
  return outcome(text, [](Reader& reader) {
    std::string found;
    const auto members = reader.object("An object is due.", [&](const std::string& name) {
      found += name + "=" + std::to_string(reader.count("A count is due.")) + ";";
    });
    return found + std::to_string(members);
  });
}
std::string pair(std::string_view text) {
  return outcome(text, [](Reader& reader) {
    Index sum = 0;
    const auto element = [&] { sum = 10 * sum + reader.count("A count is due."); };
    reader.tuple("A pair is due.", element, element);
    return sum;
  });
}
std::string list(std::string_view text) {
  return outcome(text, [](Reader& reader) {
    std::string found;
    reader.list("A list is due.", [&] {
      found += reader.null() ? "null;" : std::to_string(reader.count("A count is due.")) + ";";
    });
    return found;
  });
}

TEST(Json, ReadsCountsInOneSpelling) {
  EXPECT_EQ(count("0"), "0");
  EXPECT_EQ(count(" \t\r\n42 "), "42");
  EXPECT_EQ(count("9223372036854775807"), "9223372036854775807");
  for (const auto* text : {"",
                           " ",
                           "-0",
                           "-1",
                           "+1",
                           "01",
                           "00",
                           "1.0",
                           "1.",
                           "1e3",
                           "1E3",
                           "0x1",
                           "NaN",
                           "Infinity",
                           "true",
                           "null",
                           "\"1\"",
                           "[1]",
                           "1 2",
                           "9223372036854775808",
                           "99999999999999999999999999"})
    EXPECT_EQ(count(text), "refused") << text;
}

TEST(Json, ReadsFiniteNumbers) {
  EXPECT_EQ(number("-0.5e-1"), "-0.05");
  EXPECT_EQ(number("1E+2"), "100");
  EXPECT_EQ(number("7"), "7");
  for (const auto* text : {"", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "NaN", "-Infinity",
                           "inf", "nan", "1e999", "0x1p3", "1_000", "1,5", "true", "null"})
    EXPECT_EQ(number(text), "refused") << text;
}

TEST(Json, ReadsStringsOfUtf8) {
  EXPECT_EQ(string(R"("")"), "");
  EXPECT_EQ(string("\"\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\""),
            "\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(string(R"("\"\\\/\b\f\n\r\t")"), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(string(R"("\u0041\u00DF\u20ac\ud83d\uDE00")"), "A\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(string(R"("\u0000")"), std::string(1, '\0'));
  for (const std::string_view text : {"",
                                      "a",
                                      "'a'",
                                      "\"",
                                      "\"a",
                                      "\"a\"b\"",
                                      R"("\)",
                                      R"("\x41")",
                                      R"("\u004")",
                                      R"("\u004g")",
                                      R"("\u+041")",
                                      R"("\u-041")",
                                      R"("\ud800")",
                                      R"("\ud800a")",
                                      R"("\ud800\n")",
                                      R"("\ud800\u0041")",
                                      R"("\udc00")",
                                      R"("\ud800\ud800")",
                                      R"("\u")",
                                      R"("\ud800\u")",
                                      "\"\n\"",
                                      "\"\x1f\"",
                                      "\"\xff\"",
                                      "\"\xc3\"",
                                      "\"\xc0\x80\"",
                                      "\"\xe0\x80\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf0\x80\x80\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xf8\x88\x80\x80\x80\"",
                                      "\"\xe2\x82\""})
    EXPECT_EQ(string(text), "refused") << text;
}

TEST(Json, ReadsObjectsWithoutRepeatedNames) {
  EXPECT_EQ(object("{}"), "0");
  EXPECT_EQ(object(R"( { "a" : 1 , "b":2 } )"), "a=1;b=2;2");
  for (const auto* text : {"", "{", "}", "[]", R"({"a"})", R"({"a":})", R"({"a":1)", R"({"a":1,})",
                           R"({,"a":1})", R"({"a":1 "b":2})", R"({a:1})", R"({"a":1,"a":1})",
                           R"({"a":1,"\u0061":2})", R"({"a":1}})", R"({"a"=1})", R"({"a":1]})"})
    EXPECT_EQ(object(text), "refused") << text;
}

TEST(Json, ReadsListsAndTuples) {
  EXPECT_EQ(list("[]"), "");
  EXPECT_EQ(list("[1, null,3]"), "1;null;3;");
  EXPECT_EQ(pair("[1, 2]"), "12");
  for (const auto* text : {"[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[nul]", "[nullx]", "[1}",
                           "{}", "[[1]]", "[1]]"})
    EXPECT_EQ(list(text), "refused") << text;
  for (const auto* text : {"[]", "[1]", "[1,2,3]", "[1,2", "[1,2,]"})
    EXPECT_EQ(pair(text), "refused") << text;
}

TEST(Json, FollowsNoNesting) {
  for (const auto* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int k = 0; k < 1'000'000; ++k) deep += open;
    EXPECT_EQ(object(deep), "refused");
    EXPECT_EQ(list(deep), "refused");
    EXPECT_EQ(number(deep), "refused");
  }
}

/// Numbers have the form of Python's repr: tests the limits between its two forms, and numbers with 17 digits.
TEST(Json, WritesNumbersAsPythonDoes) {
  const std::pair<double, const char*> known[] = {
      {0, "0.0"},
      {-0.0, "-0.0"},
      {1, "1.0"},
      {-2.5, "-2.5"},
      {1e-4, "0.0001"},
      {1e-5, "1e-05"},
      {1.5e-5, "1.5e-05"},
      {1e16, "1e+16"},
      {1e22, "1e+22"},
      {5e-324, "5e-324"},
      {0.1, "0.1"},
      {1 / 3., "0.3333333333333333"},
      {9999999999999998, "9999999999999998.0"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {123456789012345680, "1.2345678901234568e+17"},
      {9007199254740993, "9007199254740992.0"}};
  for (const auto& [value, text] : known) EXPECT_EQ(json::number(value), text);
}

TEST(Json, NumbersComeBackToTheLastBit) {
  Random random(1);
  for (int k = 0; k < 100'000; ++k) {
    const double value = std::bit_cast<double>(random.bits64());
    if (!std::isfinite(value)) continue;
    const std::string text = json::number(value);
    ASSERT_EQ(Reader(text, "test", "").number("A number is due."), value) << text;
  }
}

TEST(Json, StringsComeBackAndAreWrittenAsPythonDoes) {
  using json::Characters;
  const std::string text("\"\\/\b\f\n\r\t\x01\x7f\xc3\x9f\xf0\x9f\x98\x80\0", 17);
  const std::string all = json::quoted(text, Characters::all, "test");
  const std::string ascii = json::quoted(text, Characters::ascii, "test");
  EXPECT_EQ(all, "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\xc3\x9f\xf0\x9f\x98\x80\\u0000\"");
  EXPECT_EQ(ascii, R"("\"\\/\b\f\n\r\t\u0001\u007f\u00df\ud83d\ude00\u0000")");
  EXPECT_EQ(string(all), text);
  EXPECT_EQ(string(ascii), text);
  for (const auto* bad : {"\xff", "\xed\xa0\x80", "a\xc3"})
    EXPECT_THROW(json::quoted(bad, Characters::all, "test"), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
