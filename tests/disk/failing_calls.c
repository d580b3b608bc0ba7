/* Library for LD_PRELOAD: calls that write below a folder fail on request, as on a disk that is full or broken, or kill
 * the process.
 *
 * The calls are counted in order; those with the numbers first .. first + count - 1 fail: fsync with EIO, all others
 * with ENOSPC. A write that fails has written half of its bytes, and a descriptor whose close fails is closed. If count
 * is 0, the first of these calls is the last act of the process.
 * Functions of FILE are counted themselves, because their calls inside the C library cannot be replaced. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static atomic_long calls, first, count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Starts to count the calls below a folder, or stops if it is empty. */
void failing_calls_start(const char* below, long from, long number) {
  snprintf(folder, sizeof folder, "%s", below);
  first = from;
  count = number;
  calls = 0;
}

/* Returns the number of calls so far. */
long failing_calls_count(void) { return calls; }

__attribute__((constructor)) static void start_from_environment(void) {
  const char* below = getenv("FAILING_CALLS_FOLDER");
  if (below != NULL)
    failing_calls_start(below, atol(getenv("FAILING_CALLS_FIRST")), atol(getenv("FAILING_CALLS_COUNT")));
}

/* Counts a call, and returns 1 if it fails. */
static int fails(int number) {
  const long call = ++calls;
  if (count == 0 && call == first) kill(getpid(), SIGKILL);
  if (call < first || call - first >= count) return 0;
  errno = number;
  return 1;
}

static int is_below(const char* path) {
  const size_t length = strlen(folder);
  return length > 0 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int is_below_at(int at, const char* path) {
  char base[4096], whole[8192];
  if (folder[0] == 0) return 0;
  if (path[0] == '/') return is_below(path);
  if (at == AT_FDCWD) {
    if (getcwd(base, sizeof base) == NULL) return 0;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    const ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0) return 0;
    base[size] = 0;
  }
  snprintf(whole, sizeof whole, "%s/%s", base, path);
  return is_below(whole);
}

static int is_descriptor_below(int descriptor) {
  char link[64], path[4096];
  if (folder[0] == 0) return 0;
  const int number = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  errno = number;
  if (size < 0) return 0;
  path[size] = 0;
  return is_below(path);
}

static int is_written_below(int descriptor) {
  if (!is_descriptor_below(descriptor)) return 0;
  return (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY;
}

#define OPEN(name)                                                                             \
  int name(const char* path, int flags, ...) {                                                 \
    va_list rest;                                                                              \
    va_start(rest, flags);                                                                     \
    const mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                          \
    va_end(rest);                                                                              \
    if ((flags & O_ACCMODE) != O_RDONLY && is_below_at(AT_FDCWD, path) && fails(ENOSPC)) return -1; \
    return REAL(name)(path, flags, mode);                                                      \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                           \
  int name(int at, const char* path, int flags, ...) {                                         \
    va_list rest;                                                                              \
    va_start(rest, flags);                                                                     \
    const mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                          \
    va_end(rest);                                                                              \
    if ((flags & O_ACCMODE) != O_RDONLY && is_below_at(at, path) && fails(ENOSPC)) return -1;  \
    return REAL(name)(at, path, flags, mode);                                                  \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                            \
  FILE* name(const char* path, const char* mode) {                                             \
    if (strpbrk(mode, "wa+") != NULL && is_below_at(AT_FDCWD, path) && fails(ENOSPC)) return NULL; \
    return REAL(name)(path, mode);                                                             \
  }
FOPEN(fopen)
FOPEN(fopen64)

int mkdir(const char* path, mode_t mode) {
  if (is_below_at(AT_FDCWD, path) && fails(ENOSPC)) return -1;
  return REAL(mkdir)(path, mode);
}

int mkdirat(int at, const char* path, mode_t mode) {
  if (is_below_at(at, path) && fails(ENOSPC)) return -1;
  return REAL(mkdirat)(at, path, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (is_written_below(descriptor) && fails(ENOSPC)) {
    REAL(write)(descriptor, bytes, size / 2);
    errno = ENOSPC;
    return -1;
  }
  return REAL(write)(descriptor, bytes, size);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  if (is_written_below(descriptor) && fails(ENOSPC)) return -1;
  return REAL(pwrite)(descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  if (is_written_below(descriptor) && fails(ENOSPC)) return -1;
  return REAL(pwrite64)(descriptor, bytes, size, offset);
}

size_t fwrite(const void* bytes, size_t size, size_t number, FILE* file) {
  if (is_written_below(fileno(file)) && fails(ENOSPC)) {
    const size_t written = REAL(fwrite)(bytes, size, number / 2, file);
    errno = ENOSPC;
    return written;
  }
  return REAL(fwrite)(bytes, size, number, file);
}

int fflush(FILE* file) {
  if (file != NULL && is_written_below(fileno(file)) && fails(ENOSPC)) return EOF;
  return REAL(fflush)(file);
}

int fclose(FILE* file) {
  const int failing = is_written_below(fileno(file)) && fails(ENOSPC);
  const int result = REAL(fclose)(file);
  if (!failing) return result;
  errno = ENOSPC;
  return EOF;
}

int fsync(int descriptor) {
  return is_descriptor_below(descriptor) && fails(EIO) ? -1 : REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
  return is_descriptor_below(descriptor) && fails(EIO) ? -1 : REAL(fdatasync)(descriptor);
}

int rename(const char* from, const char* to) {
  return is_below_at(AT_FDCWD, to) && fails(ENOSPC) ? -1 : REAL(rename)(from, to);
}

int renameat(int from_at, const char* from, int to_at, const char* to) {
  return is_below_at(to_at, to) && fails(ENOSPC) ? -1 : REAL(renameat)(from_at, from, to_at, to);
}

int ftruncate(int descriptor, off_t size) {
  return is_written_below(descriptor) && fails(ENOSPC) ? -1 : REAL(ftruncate)(descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
  return is_written_below(descriptor) && fails(ENOSPC) ? -1 : REAL(ftruncate64)(descriptor, size);
}

int close(int descriptor) {
  const int failing = is_written_below(descriptor) && fails(ENOSPC);
  const int result = REAL(close)(descriptor);
  if (!failing) return result;
  errno = ENOSPC;
  return -1;
}
