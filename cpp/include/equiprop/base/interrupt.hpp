#pragma once
/// Stopping a long loop from outside: Ctrl-C in Python, a cancel button in an application.

#include <exception>

namespace [[gnu::visibility("default")]] equiprop {

/// Thrown by poll_interrupt() when the program asked to stop. States being relaxed are then
/// unspecified; networks and their parameters are untouched.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "[equiprop] interrupted by the program"; }
};

/// `check` returns true when the current computation should stop; nullptr removes it. It is called
/// at most every 20 ms, always on the thread that entered the library.
void set_interrupt_check(bool (*check)());

/// Every iteration loop calls this once per step; it costs a clock reading.
void poll_interrupt();

}  // namespace equiprop
