#include "allocation/counters.hpp"

#include <malloc.h>

#include <cstdlib>
#include <new>

namespace equiprop::tests {

std::atomic<long> allocations{0}, live_bytes{0}, peak_bytes{0};

namespace {

void* counted(void* pointer) {
  ++allocations;
  const long live = live_bytes += static_cast<long>(malloc_usable_size(pointer));
  for (long peak = peak_bytes; peak < live && !peak_bytes.compare_exchange_weak(peak, live);) {
  }
  return pointer;
}

void* released(void* pointer) {
  live_bytes -= static_cast<long>(malloc_usable_size(pointer));
  return pointer;
}

}  // namespace
}  // namespace equiprop::tests

using equiprop::tests::counted;
using equiprop::tests::released;

extern "C" {

#define ALLOCATOR(name, parameters, ...)        \
  void* __real_##name parameters;               \
  void* __wrap_##name parameters {              \
    return counted(__real_##name(__VA_ARGS__)); \
  }
ALLOCATOR(malloc, (std::size_t size), size)
ALLOCATOR(calloc, (std::size_t count, std::size_t size), count, size)
ALLOCATOR(aligned_alloc, (std::size_t alignment, std::size_t size), alignment, size)
ALLOCATOR(_Znwm, (std::size_t size), size)
ALLOCATOR(_Znam, (std::size_t size), size)
ALLOCATOR(_ZnwmSt11align_val_t, (std::size_t size, std::align_val_t alignment), size, alignment)
ALLOCATOR(_ZnamSt11align_val_t, (std::size_t size, std::align_val_t alignment), size, alignment)
#undef ALLOCATOR

#define DEALLOCATOR(name, parameters, ...)             \
  void __real_##name parameters;                       \
  void __wrap_##name parameters {                      \
    released(pointer);                                 \
    __real_##name(pointer __VA_OPT__(, ) __VA_ARGS__); \
  }
DEALLOCATOR(free, (void* pointer))
DEALLOCATOR(_ZdlPv, (void* pointer))
DEALLOCATOR(_ZdaPv, (void* pointer))
DEALLOCATOR(_ZdlPvm, (void* pointer, std::size_t size), size)
DEALLOCATOR(_ZdaPvm, (void* pointer, std::size_t size), size)
DEALLOCATOR(_ZdlPvSt11align_val_t, (void* pointer, std::align_val_t alignment), alignment)
DEALLOCATOR(_ZdaPvSt11align_val_t, (void* pointer, std::align_val_t alignment), alignment)
DEALLOCATOR(_ZdlPvmSt11align_val_t, (void* pointer, std::size_t size, std::align_val_t alignment),
            size, alignment)
DEALLOCATOR(_ZdaPvmSt11align_val_t, (void* pointer, std::size_t size, std::align_val_t alignment),
            size, alignment)
#undef DEALLOCATOR

void* __real_realloc(void* pointer, std::size_t size);
void* __wrap_realloc(void* pointer, std::size_t size) {
  return counted(__real_realloc(released(pointer), size));
}
int __real_posix_memalign(void** out, std::size_t alignment, std::size_t size);
int __wrap_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  const int error = __real_posix_memalign(out, alignment, size);
  if (error == 0) counted(*out);
  return error;
}
}
