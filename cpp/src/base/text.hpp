#pragma once
/// Text for messages and files.

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace equiprop {

/// The character at the start of a text: its code point and number of bytes, 0 if the text does not begin with UTF-8.
struct Character {
  char32_t code = 0;
  std::size_t length = 0;
};
Character first_character(std::string_view text);

/// Returns at most `limit` bytes of any text for a message, as valid UTF-8 on one line.
std::string printable(std::string_view text, std::size_t limit = std::string_view::npos);
/// Returns at most 80 bytes of any text for a message, between single quotes.
std::string in_quotes(std::string_view text);

/// Returns the last `digits` hexadecimal digits of a code.
std::string hexadecimal(char32_t code, int digits);

/// Concatenates text and integers.
template <class... Part>
std::string concatenated(const Part&... parts) {
  std::string out;
  const auto append = [&](const auto& part) {
    if constexpr (std::integral<std::remove_cvref_t<decltype(part)>>)
      out += std::to_string(part);
    else
      out += part;
  };
  (append(parts), ...);
  return out;
}
std::string joined(const std::vector<std::string>& values, std::string_view separator);

}  // namespace equiprop
