#pragma once
/// What the program and the library have allocated. The linker sends their calls of malloc and free to memory.cpp; what
/// libc takes for itself goes by.

#include <cstddef>

struct Memory {
  std::size_t arrays = 0;   ///< bytes alive that Eigen's arrays asked malloc for
  std::size_t objects = 0;  ///< bytes alive that operator new was asked for: everything else
  std::size_t peak = 0;     ///< the most of both at one time
  long allocations = 0;     ///< calls so far
};

extern constinit Memory memory;
