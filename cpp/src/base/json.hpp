#pragma once
/// Reader of strict JSON (RFC 8259) in UTF-8 whose structure is known in advance.
///
/// The caller asks for one value after another, and the reader builds nothing else: a hostile text cannot make it
/// allocate memory or nest deeper than the caller. Repeated names, lone surrogates, and fractions or exponents of
/// integers are errors.

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "equiprop/base/arrays.hpp"

namespace equiprop::json {

class Reader {
 public:
  /// Error messages begin with `where` and end with `origin`.
  Reader(std::string_view text, std::string_view where, std::string_view origin)
      : text_(text), where_(where), origin_(origin) {}

  /// Calls member(name), which reads the value, for each member of an object; returns their number.
  template <class Member>
  std::size_t object(std::string_view rule, const Member& member);
  /// Calls element(), which reads one element, for each element of a list.
  template <class Element>
  void list(std::string_view rule, const Element& element);
  /// Calls each of the functions once, for a list of exactly these elements.
  template <class... Element>
  void tuple(std::string_view rule, const Element&... element);

  std::string string(std::string_view rule);
  /// Reads an integer from 0 to 2^63 - 1.
  Index count(std::string_view rule);
  /// Reads a finite number.
  double number(std::string_view rule);
  /// Returns true if the next value is an object; reads nothing.
  bool at_object();
  /// Reads null and returns true if it is the next value; reads nothing otherwise.
  bool null();
  /// Throws InvalidArgument unless the text has ended.
  void end();

  /// Throws InvalidArgument: `[where] rule. Received <received><origin>.`
  [[noreturn]] void refuse(std::string_view rule, std::string_view received) const;
  /// Throws InvalidArgument that quotes the text at the present position.
  [[noreturn]] void refuse(std::string_view rule) const;

 private:
  void skip_space();
  bool take(char wanted);
  void expect(char wanted, std::string_view rule) {
    if (!take(wanted)) refuse(rule);
  }
  char32_t escaped();
  char32_t four_digits();
  std::size_t digits(std::size_t from) const;

  static constexpr std::string_view well_formed = "The text is JSON in UTF-8.";
  std::string_view text_, where_, origin_;
};

template <class Member>
std::size_t Reader::object(std::string_view rule, const Member& member) {
  expect('{', rule);
  std::set<std::string> names;
  if (take('}')) return 0;
  do {
    const auto [name, is_new] = names.insert(string(well_formed));
    if (!is_new) refuse("Each name of an object occurs once.", *name);
    expect(':', well_formed);
    member(*name);
  } while (take(','));
  expect('}', well_formed);
  return names.size();
}

template <class Element>
void Reader::list(std::string_view rule, const Element& element) {
  expect('[', rule);
  if (take(']')) return;
  do element();
  while (take(','));
  expect(']', well_formed);
}

template <class... Element>
void Reader::tuple(std::string_view rule, const Element&... element) {
  char before = '[';
  ((expect(before, rule), element(), before = ','), ...);
  expect(']', rule);
}

/// Characters that `quoted` writes without an escape sequence: all, or only ASCII.
enum class Characters { all, ascii };
/// Returns a string as Python's json.dumps writes it, with ensure_ascii for Characters::ascii. Throws InvalidArgument,
/// whose message starts with `where`, unless the text is UTF-8.
std::string quoted(std::string_view text, Characters characters, std::string_view where);

/// Returns a finite number in Python's form: the fewest digits that read back to the same number.
std::string number(double value);

}  // namespace equiprop::json
