#include "allocation/counters.hpp"

#include <malloc.h>

#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>

namespace equiprop::tests {

std::atomic<long> allocations{0}, live_bytes{0}, peak_bytes{0}, failures{0};

namespace {

constexpr long never = std::numeric_limits<long>::max();
std::atomic<long> allowed{never};  // calls that still succeed
std::atomic<bool> lasting{false};

/// Returns true if this call must fail.
bool fails() {
  if (allowed == never || allowed-- > 0) return false;
  if (!lasting) allowed = never;
  ++failures;
  return true;
}

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

void fail_allocation(long number, bool and_all_later) {
  lasting = and_all_later;
  failures = 0;
  allowed = number;
}
void fail_no_allocation() {
  allowed = never;
}

}  // namespace equiprop::tests

using equiprop::tests::counted;
using equiprop::tests::fails;
using equiprop::tests::released;

extern "C" {

#define ALLOCATOR(name, parameters, ...)                            \
  void* __real_##name parameters;                                   \
  void* __wrap_##name parameters {                                  \
    return fails() ? nullptr : counted(__real_##name(__VA_ARGS__)); \
  }
ALLOCATOR(malloc, (std::size_t size), size)
ALLOCATOR(calloc, (std::size_t count, std::size_t size), count, size)
ALLOCATOR(aligned_alloc, (std::size_t alignment, std::size_t size), alignment, size)
#undef ALLOCATOR

void __real_free(void* pointer);
void __wrap_free(void* pointer) {
  __real_free(released(pointer));
}
void* __real_realloc(void* pointer, std::size_t size);
void* __wrap_realloc(void* pointer, std::size_t size) {
  return fails() ? nullptr : counted(__real_realloc(released(pointer), size));
}
int __real_posix_memalign(void** out, std::size_t alignment, std::size_t size);
int __wrap_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  if (fails()) return ENOMEM;
  const int error = __real_posix_memalign(out, alignment, size);
  if (error == 0) counted(*out);
  return error;
}
}

namespace {

void* aligned(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return __wrap_aligned_alloc(unit, (size + unit - 1) / unit * unit);
}
void* or_throw(void* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

// The operators of the whole program; the shared C++ library calls them too.
void* operator new(std::size_t size) {
  return or_throw(__wrap_malloc(size));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(aligned(size, alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return __wrap_malloc(size);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return aligned(size, alignment);
}
void operator delete(void* pointer) noexcept {
  __wrap_free(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
  __wrap_free(pointer);
}
void operator delete(void* pointer, std::align_val_t) noexcept {
  __wrap_free(pointer);
}
void operator delete(void* pointer, std::size_t, std::align_val_t) noexcept {
  __wrap_free(pointer);
}
