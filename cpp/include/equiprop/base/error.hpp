#pragma once
/// The exception for invalid arguments, with messages of the form `[where] rule. Received ...`.

#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "equiprop/base/export.hpp"

namespace equiprop {

/// An argument is invalid. Python raises ValueError.
class EQUIPROP_EXPORT InvalidArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
  // Defined in src/, so that the library and its users share one type_info.
  ~InvalidArgument() override;
};

/// Throws InvalidArgument("[where] rule. Received <received...>.") unless `condition` holds.
template <class... Received>
void require(bool condition, std::string_view where, std::string_view rule,
             const Received&... received) {
  if (condition) return;
  std::ostringstream message;
  message.exceptions(std::ios::badbit);  // a failing allocation does not cut the text
  message.imbue(std::locale::classic());
  message << '[' << where << "] " << rule << " Received ";
  (message << ... << received);
  message << '.';
  throw InvalidArgument(message.str());
}

}  // namespace equiprop
