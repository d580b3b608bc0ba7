#pragma once
/// Counters of the memory that the program and the library allocate. The linker redirects their calls of malloc and
/// free to memory.cpp; allocations inside libc are not counted.

#include <cstddef>

struct Memory {
  std::size_t arrays = 0;   ///< bytes in use that Eigen's arrays requested from malloc
  std::size_t objects = 0;  ///< bytes in use that operator new requested
  std::size_t peak = 0;     ///< largest sum of both so far
  long allocations = 0;     ///< number of calls so far
};

extern constinit Memory memory;
