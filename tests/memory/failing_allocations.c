/* Library for LD_PRELOAD: allocations of the extension and of the C++ library fail on request.
 *
 * Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign from given ranges of addresses are counted in order;
 * those with the numbers first .. first + count - 1 return NULL. operator new calls malloc from the C++ library. */

#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

#define MOST 8
static uintptr_t low[MOST], high[MOST];
static int ranges;
static atomic_long calls, first, count;
static atomic_int counting;

/* Adds a range of addresses whose calls are counted; the range 0 .. UINTPTR_MAX has all calls. */
void failing_allocations_of(uintptr_t from, uintptr_t to) {
  if (ranges < MOST) {
    low[ranges] = from;
    high[ranges++] = to;
  }
}

/* Starts to count; the calls with the numbers from .. from + number - 1 fail. */
void failing_allocations_start(long from, long number) {
  first = from;
  count = number;
  calls = 0;
  counting = 1;
}

/* Stops, and returns the number of calls. */
long failing_allocations_stop(void) {
  counting = 0;
  return calls;
}

/* Returns the bytes of all blocks that are in use. */
size_t failing_allocations_in_use(void) {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static int fails(const void* caller) {
  if (!counting) return 0;
  const uintptr_t at = (uintptr_t)caller;
  int counted = 0;
  for (int k = 0; k < ranges; ++k) counted |= at >= low[k] && at < high[k];
  if (!counted) return 0;
  const long call = ++calls;
  if (call < first || call - first >= count) return 0;
  errno = ENOMEM;
  return 1;
}

#define CALLER __builtin_return_address(0)

void* malloc(size_t size) { return fails(CALLER) ? NULL : __libc_malloc(size); }
void* calloc(size_t number, size_t size) { return fails(CALLER) ? NULL : __libc_calloc(number, size); }
void* realloc(void* block, size_t size) { return fails(CALLER) ? NULL : __libc_realloc(block, size); }
void* aligned_alloc(size_t alignment, size_t size) {
  return fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}
int posix_memalign(void** block, size_t alignment, size_t size) {
  if (fails(CALLER)) return ENOMEM;
  void* found = __libc_memalign(alignment, size);
  if (found == NULL) return ENOMEM;
  *block = found;
  return 0;
}
