#pragma once
/// Interruption of long loops from outside, for example by Ctrl-C in Python or a cancel button in an application.

#include <exception>

#include "equiprop/base/export.hpp"

namespace equiprop {

/// Thrown by poll_interrupt() if the program requested a stop. The states that were being relaxed are then unspecified;
/// networks and their parameters are unchanged.
class EQUIPROP_EXPORT Interrupted : public std::exception {
 public:
  /// Returns the message, one sentence.
  const char* what() const noexcept override;
};

/// Sets the function that decides if the current computation should stop (it returns true), or removes it (nullptr).
/// The library calls it at most once every 20 ms, always on the thread that called the library.
EQUIPROP_EXPORT void set_interrupt_check(bool (*check)());

/// Throws Interrupted if the check requests a stop. Every iteration loop calls it once per step; its cost is one
/// reading of the clock.
EQUIPROP_EXPORT void poll_interrupt();

}  // namespace equiprop
