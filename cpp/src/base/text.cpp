#include "base/text.hpp"

namespace equiprop {
namespace {

/// Returns true for control characters of C0 and C1, and for line and paragraph separators.
bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

}  // namespace

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, text.empty() ? 0u : 1u};
  if (first < 0xc2 || first > 0xf4) return {};
  const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The limits of the second byte exclude overlong forms, surrogates, and code points beyond U+10FFFF.
  const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return {};
  char32_t code = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  return {code, length};
}

std::string printable(std::string_view text, std::size_t limit) {
  constexpr std::string_view ellipsis = "...";
  constexpr std::size_t longest = 4;  // bytes of a UTF-8 character, and of \xff
  std::string out;
  while (!text.empty()) {
    const auto [code, length] = first_character(text);
    const bool plain = length > 0 && !is_control(code);
    if (out.size() + longest > limit - ellipsis.size()) return out.append(ellipsis);
    if (plain)
      out += text.substr(0, length);
    else
      out += concatenated("\\x", hexadecimal(static_cast<unsigned char>(text.front()), 2));
    text.remove_prefix(plain ? length : 1);
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  return concatenated("'", printable(text, 80), "'");
}

std::string hexadecimal(char32_t code, int digits) {
  std::string out;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(code >> shift) & 0xf];
  return out;
}

std::string joined(const std::vector<std::string>& values, std::string_view separator) {
  std::string out;
  for (const auto& value : values) {
    if (&value != &values.front()) out += separator;
    out += value;
  }
  return out;
}

}  // namespace equiprop
