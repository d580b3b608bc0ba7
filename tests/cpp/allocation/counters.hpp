#pragma once
/// Counters of allocations. The linker redirects every call of an allocation function in this program to counters.cpp
/// (CMakeLists.txt), which also replaces the operators new and delete of the whole program. Calls of malloc inside shared
/// libraries are not counted.

#include <atomic>

#include "support.hpp"

namespace equiprop::tests {

extern std::atomic<long> allocations;  ///< number of calls so far
extern std::atomic<long> live_bytes;   ///< bytes in use, as the allocator rounds them
extern std::atomic<long> peak_bytes;   ///< largest live_bytes since reset_peak()
extern std::atomic<long> failures;     ///< calls that failed since fail_allocation()

inline void reset_peak() {
  peak_bytes = live_bytes.load();
}

/// Lets call `number` of an allocation function fail, 0 is the next one, on whatever thread; and all later ones as well,
/// if `and_all_later`.
void fail_allocation(long number, bool and_all_later);
/// Lets no call fail any more.
void fail_no_allocation();

}  // namespace equiprop::tests
