#include "memory.hpp"

#include <new>

constinit Memory memory;

namespace {

/// Data in front of each allocated block. Its size preserves the alignment of malloc.
struct alignas(std::max_align_t) Header {
  std::size_t bytes;
  std::size_t Memory::*kind;
};

}  // namespace

extern "C" {
void* __real_malloc(std::size_t bytes);
void __real_free(void* pointer);
}

namespace {

void* allocate(std::size_t bytes, std::size_t Memory::*kind) {
  void* const place = __real_malloc(sizeof(Header) + bytes);
  if (place == nullptr) return nullptr;
  memory.*kind += bytes;
  if (memory.arrays + memory.objects > memory.peak) memory.peak = memory.arrays + memory.objects;
  ++memory.allocations;
  return new (place) Header{bytes, kind} + 1;
}

void release(void* pointer) {
  if (pointer == nullptr) return;
  Header* const header = static_cast<Header*>(pointer) - 1;
  memory.*header->kind -= header->bytes;
  __real_free(header);
}

}  // namespace

extern "C" {
void* __wrap_malloc(std::size_t bytes) {
  return allocate(bytes, &Memory::arrays);
}
void __wrap_free(void* pointer) {
  release(pointer);
}
}

void* operator new(std::size_t bytes) {
  if (void* pointer = allocate(bytes, &Memory::objects)) return pointer;
  throw std::bad_alloc();
}
void operator delete(void* pointer) noexcept {
  release(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
  release(pointer);
}
