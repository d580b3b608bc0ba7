#pragma once
/// Stopping a long loop from outside: Ctrl-C in Python, a cancel button in an application.

#include <exception>

#include "equiprop/base/export.hpp"

namespace equiprop {

/// Thrown by poll_interrupt() when the program asked to stop. States being relaxed are then
/// unspecified; networks and their parameters are untouched.
class EQUIPROP_EXPORT Interrupted : public std::exception {
 public:
  /// One sentence.
  const char* what() const noexcept override;
};

/// `check` returns true when the current computation should stop; nullptr removes it. It is called
/// at most every 20 ms, always on the thread that entered the library.
EQUIPROP_EXPORT void set_interrupt_check(bool (*check)());

/// Every iteration loop calls this once per step; it costs a clock reading.
EQUIPROP_EXPORT void poll_interrupt();

}  // namespace equiprop
