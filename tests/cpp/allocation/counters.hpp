#pragma once
/// Counters of allocations. The linker redirects every call of an allocation function in this program to counters.cpp
/// (CMakeLists.txt); allocations inside shared libraries are not counted.

#include <atomic>

#include "support.hpp"

namespace equiprop::tests {

extern std::atomic<long> allocations;  ///< number of calls so far
extern std::atomic<long> live_bytes;   ///< bytes in use, as the allocator rounds them
extern std::atomic<long> peak_bytes;   ///< largest live_bytes since reset_peak()

inline void reset_peak() {
  peak_bytes = live_bytes.load();
}

}  // namespace equiprop::tests
