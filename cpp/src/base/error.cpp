/// The exceptions. Their types are defined only here, so that a program can catch what the library throws.

#include "equiprop/base/error.hpp"

#include "equiprop/base/files.hpp"
#include "equiprop/base/interrupt.hpp"

namespace equiprop {

InvalidArgument::~InvalidArgument() = default;

const char* Interrupted::what() const noexcept {
  return "[equiprop] interrupted by the program";
}

const char* FileError::what() const noexcept {
  return message_.c_str();
}

}  // namespace equiprop
