#pragma once
/// The linker sends every call of an allocation function in this program through counters.cpp
/// (CMakeLists.txt); what libraries allocate for themselves goes by it.

#include <atomic>

#include "support.hpp"

namespace equiprop::tests {

extern std::atomic<long> allocations;  ///< calls so far
extern std::atomic<long> live_bytes;  ///< allocated and not yet freed, as the allocator rounds them
extern std::atomic<long> peak_bytes;  ///< the most that was alive since reset_peak()

inline void reset_peak() {
  peak_bytes = live_bytes.load();
}

}  // namespace equiprop::tests
