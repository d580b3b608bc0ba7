#include "base/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <locale>
#include <sstream>

#include "base/text.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop::json {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, char32_t code) {
  const auto continuation = [&](int shift) {
    out += static_cast<char>(0x80 | ((code >> shift) & 0x3f));
  };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    continuation(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    continuation(6);
    continuation(0);
  } else {
    out += static_cast<char>(0xf0 | (code >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

std::string escape(char32_t code) {
  if (code < 0x10000) return concatenated("\\u", hexadecimal(code, 4));
  return escape(0xd7c0 + (code >> 10)) + escape(0xdc00 + (code & 0x3ff));
}

}  // namespace

void Reader::refuse(std::string_view rule, std::string_view received) const {
  require(false, where_, rule, in_quotes(received), origin_);
  std::abort();  // never reached
}

void Reader::refuse(std::string_view rule) const {
  refuse(rule, text_.empty() ? "the end of it" : text_);
}

void Reader::skip_space() {
  text_.remove_prefix(std::min(text_.find_first_not_of(" \t\n\r"), text_.size()));
}

bool Reader::take(char wanted) {
  skip_space();
  if (!text_.starts_with(wanted)) return false;
  text_.remove_prefix(1);
  return true;
}

std::string Reader::string(std::string_view rule) {
  expect('"', rule);
  std::string out;
  for (;;) {
    const auto [code, length] = first_character(text_);
    if (length == 0 || code < 0x20) refuse(well_formed);
    const std::string_view character = text_.substr(0, length);
    text_.remove_prefix(length);
    if (code == '"') return out;
    if (code == '\\')
      append_utf8(out, escaped());
    else
      out += character;
  }
}

/// Reads an escape sequence after its backslash.
char32_t Reader::escaped() {
  constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  if (text_.empty()) refuse(well_formed);
  const char letter = text_.front();
  if (letter != 'u') {
    const std::size_t k = letters.find(letter);
    if (k == letters.npos) refuse(well_formed);
    text_.remove_prefix(1);
    return static_cast<unsigned char>(meanings[k]);
  }
  const char32_t code = four_digits();
  if (code < 0xd800 || code > 0xdfff) return code;
  if (code > 0xdbff || !text_.starts_with("\\u")) refuse(well_formed);
  text_.remove_prefix(1);
  const char32_t low = four_digits();
  if (low < 0xdc00 || low > 0xdfff) refuse(well_formed);
  return 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
}

/// Reads the code point of an escape uXXXX.
char32_t Reader::four_digits() {
  const std::string_view four = text_.substr(1, 4);
  std::uint32_t code = 0;
  const auto [end, error] = std::from_chars(four.data(), four.data() + four.size(), code, 16);
  if (four.size() < 4 || error != std::errc() || end != four.data() + 4) refuse(well_formed);
  text_.remove_prefix(5);
  return code;
}

Index Reader::count(std::string_view rule) {
  skip_space();
  const std::size_t length = digits(0);
  const bool integer = length == text_.size() ||
                       std::string_view(".eE").find(text_[length]) == std::string_view::npos;
  const bool leading_zero = length > 1 && text_.front() == '0';
  Index value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + length, value);
  if (length == 0 || !integer || leading_zero || error != std::errc()) refuse(rule);
  text_.remove_prefix(length);
  return value;
}

double Reader::number(std::string_view rule) {
  skip_space();
  std::size_t length = text_.starts_with('-') ? 1 : 0;
  const std::size_t whole = digits(length);
  if (whole == 0 || (whole > 1 && text_[length] == '0')) refuse(rule);
  length += whole;
  if (text_.substr(length).starts_with('.')) {
    const std::size_t fraction = digits(length + 1);
    if (fraction == 0) refuse(rule);
    length += 1 + fraction;
  }
  if (length < text_.size() && (text_[length] == 'e' || text_[length] == 'E')) {
    ++length;
    if (length < text_.size() && (text_[length] == '+' || text_[length] == '-')) ++length;
    const std::size_t exponent = digits(length);
    if (exponent == 0) refuse(rule);
    length += exponent;
  }
  double value = 0;
  // A stream, because libc++ has from_chars for double only since version 20.
  std::istringstream stream{std::string(text_.substr(0, length))};
  stream.exceptions(std::ios::badbit);  // a failing allocation is no wrong number
  stream.imbue(std::locale::classic());
  if (!(stream >> value)) refuse(rule);
  text_.remove_prefix(length);
  return value;
}

/// Counts the digits from index `from` on.
std::size_t Reader::digits(std::size_t from) const {
  std::size_t end = from;
  while (end < text_.size() && is_digit(text_[end])) ++end;
  return end - from;
}

bool Reader::at_object() {
  skip_space();
  return !text_.empty() && text_.front() == '{';
}

bool Reader::null() {
  skip_space();
  if (!text_.starts_with("null")) return false;
  text_.remove_prefix(4);
  return true;
}

void Reader::end() {
  skip_space();
  if (!text_.empty()) refuse(well_formed);
}

std::string quoted(std::string_view text, Characters characters, std::string_view where) {
  constexpr std::string_view special = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
  std::string out = "\"";
  while (!text.empty()) {
    const auto [code, length] = first_character(text);
    require(length > 0, where, "Names and metadata are valid UTF-8.", in_quotes(text));
    const std::size_t k = special.find(text.front());
    if (k != special.npos)
      (out += '\\') += letters[k];
    else if (code < 0x20 || (code > 0x7e && characters == Characters::ascii))
      out += escape(code);
    else
      out += text.substr(0, length);
    text.remove_prefix(length);
  }
  return out += '"';
}

std::string number(double value) {
  char buffer[32];
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr);
  return plain && out.find('.') == out.npos ? out + ".0" : out;
}

}  // namespace equiprop::json
