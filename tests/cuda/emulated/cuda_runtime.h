#pragma once
/// The part of the CUDA runtime and of CUDA's built-in names that the kernels use, on the CPU: put this folder before
/// CUDA's on the include path, and any C++ compiler makes a program of a .cu file. For tests only.
///
/// Threads of a block (of all blocks of a cluster) are fibers of one thread, which change at barriers and shuffles
/// only. What this finds without a GPU:
///   wrong results         kernels run as they are written; a fixed order of sums gives the bits of the device
///   missing barriers      `order` of a launch: the fibers in ascending, descending or random order, same bits asked
///   races                 -DEMULATED_THREADS: every CUDA thread is a real one, for ThreadSanitizer
///   wrong addresses       device memory is malloc's, shared memory has its exact size: AddressSanitizer sees both
///   unwritten memory      device and shared memory begin as NaN
///   divergent barriers    a thread that leaves while others wait is an error, so is a warp that shuffles in part
///   error paths           `faults`: no device, no memory at the n-th allocation, a launch that fails, a sticky error

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifdef EMULATED_THREADS
#include <barrier>
#include <thread>
#else
#include <ucontext.h>

#include <csetjmp>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__
#define EQUIPROP_EMULATED 1

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulated {

enum class Order { ascending, descending, random };

/// What goes wrong, and how often fibers changed.
struct Settings {
  Order order = Order::ascending;
  unsigned seed = 0;
  int devices = 1;            ///< 0: no device
  long fail_allocation = -1;  ///< this one from now on fails, 0 the next
  long fail_launch = -1;      ///< the same of launches; the error stays, as an illegal address does
  bool clusters = true;       ///< as from sm_90 on
  bool records = false;       ///< keeps the shape of every launch
  bool executes = true;       ///< otherwise kernels are not run: only their shapes are recorded
  std::size_t largest_shared = 227 * 1024;
  std::size_t free_memory = std::size_t{1} << 37;  ///< bytes, as cudaMemGetInfo says
  long switches = 0;
};
inline Settings settings;

/// A launch, and the barriers at which the first thread of each of its clusters waited.
struct Launch {
  dim3 grid, block, cluster;
  std::size_t shared = 0;
  long barriers = 0;
};
inline std::vector<Launch> launches;
inline long barriers = 0;

class Failure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Block;
struct Cluster;

#ifndef EMULATED_THREADS
/// A stack and a place in the program. Without AddressSanitizer, which wants to hear of changes of stacks,
/// setjmp does what swapcontext does, without its two system calls.
class Fiber {
 public:
  void prepare(char* stack, std::size_t bytes, void (*enter)()) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, enter, 0);
    begun_ = false;
  }
  void switch_to(Fiber& other) {
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&context_, &other.context_);
#else
    if (_setjmp(place_) != 0) return;
    begun_ = true;
    if (!other.begun_) setcontext(&other.context_);
    _longjmp(other.place_, 1);
#endif
  }

 private:
  ucontext_t context_{};
  jmp_buf place_;
  bool begun_ = false;
};
#endif

/// One CUDA thread.
struct Barrier;
struct Thread {
  dim3 thread, block;
  unsigned linear = 0;
  Block* home = nullptr;
#ifndef EMULATED_THREADS
  Fiber fiber;
  Barrier* waits_for = nullptr;
  unsigned long generation = 0;  // of that barrier, which is passed once it has another
  bool done = false;
#endif
};

/// A barrier of fibers, or of threads.
struct Barrier {
  explicit Barrier(unsigned n)
      : size(n)
#ifdef EMULATED_THREADS
        ,
        barrier(n)
#endif
  {
  }
  unsigned size, arrived = 0;
  unsigned long generation = 0;
#ifdef EMULATED_THREADS
  std::barrier<> barrier;
#endif
};

struct Warp {
  explicit Warp(unsigned n) : all(n) {}
  Barrier all;
  std::uint64_t lanes[32] = {};
  std::uint32_t words[32][6] = {};
};

struct Block {
  Cluster* cluster;
  unsigned rank;
  std::unique_ptr<std::max_align_t[]> memory;  // shared
  std::size_t bytes;
  Barrier all;
  std::vector<std::unique_ptr<Warp>> warps;
};

struct Cluster {
  dim3 grid, size;
  std::vector<std::unique_ptr<Block>> blocks;
  std::unique_ptr<Barrier> all;
};

inline thread_local Thread* self = nullptr;

#ifdef EMULATED_THREADS
inline void wait(Barrier& barrier) {
  barrier.barrier.arrive_and_wait();
}
#else
inline Fiber scheduler;
inline std::exception_ptr thrown;

inline void yield() {
  ++settings.switches;
  self->fiber.switch_to(scheduler);
}
/// The last one to come opens the barrier and goes on.
inline void wait(Barrier& barrier) {
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  self->waits_for = &barrier;
  self->generation = barrier.generation;
  yield();
}
#endif

inline std::function<void()> body;
inline dim3 blockDimension;  // of the launch at work

#ifdef EMULATED_THREADS
/// Runs all threads of a cluster.
inline void run(std::vector<Thread>& threads) {
  std::vector<std::thread> workers;
  for (Thread& t : threads)
    workers.emplace_back([&t] {
      self = &t;
      body();
    });
  for (auto& w : workers) w.join();
}
#else
inline void enter() {
  try {
    body();
  } catch (...) {
    thrown = std::current_exception();
  }
  self->done = true;
  for (;;) yield();
}

/// Runs all threads of a cluster, each until its next barrier, until all are done.
inline void run(std::vector<Thread>& threads) {
  constexpr std::size_t stack = 64 * 1024;
  static std::unique_ptr<char[]> stacks;
  static std::size_t held = 0;
  if (held < threads.size()) {
    stacks = std::make_unique_for_overwrite<char[]>(stack * threads.size());
    held = threads.size();
  }
  std::vector<Thread*> order;
  for (Thread& t : threads) {
    t.fiber.prepare(stacks.get() + stack * order.size(), stack, enter);
    order.push_back(&t);
  }
  if (settings.order == Order::descending) std::reverse(order.begin(), order.end());
  std::mt19937 random(settings.seed);
  for (std::size_t left = threads.size(); left > 0;) {
    if (settings.order == Order::random) std::shuffle(order.begin(), order.end(), random);
    bool moved = false;
    for (Thread* t : order) {
      if (t->done) continue;
      if (t->waits_for != nullptr && t->waits_for->generation == t->generation) continue;
      t->waits_for = nullptr;
      self = t;
      scheduler.switch_to(t->fiber);
      moved = true;
      if (thrown) std::rethrow_exception(std::exchange(thrown, nullptr));
      if (t->done) --left;
    }
    if (!moved)
      throw Failure(
          "[emulated] A barrier waits for threads that have left the kernel or wait elsewhere.");
  }
}
#endif

/// Runs `kernel` on each cluster of the grid, one after the other.
inline void launch(dim3 grid, dim3 block, dim3 cluster, std::size_t shared,
                   std::function<void()> kernel) {
  const unsigned blocks = cluster.x * cluster.y * cluster.z, size = block.x * block.y * block.z;
  if (blocks > 1 && !settings.clusters) throw Failure("[emulated] This device has no clusters.");
  if (grid.x % cluster.x || grid.y % cluster.y || grid.z % cluster.z || size == 0 || size > 1024 ||
      blocks > 16)
    throw Failure("[emulated] A grid is whole clusters of at most 16 blocks of 1 to 1024 threads.");
  if (shared > settings.largest_shared)
    throw Failure("[emulated] Too much shared memory for a block.");
  if (!settings.executes) {
    if (settings.records) launches.push_back({grid, block, cluster, shared, 0});
    return;
  }
  body = std::move(kernel);
  barriers = 0;
  for (unsigned z = 0; z < grid.z; z += cluster.z)
    for (unsigned y = 0; y < grid.y; y += cluster.y)
      for (unsigned x = 0; x < grid.x; x += cluster.x) {
        Cluster here{grid, cluster, {}, std::make_unique<Barrier>(blocks * size)};
        std::vector<Thread> threads(blocks * size);
        for (unsigned b = 0; b < blocks; ++b) {
          const std::size_t units =
              (shared + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t);
          here.blocks.emplace_back(new Block{
              &here, b, std::make_unique<std::max_align_t[]>(units), shared, Barrier(size), {}});
          Block& home = *here.blocks.back();
          std::memset(home.memory.get(), 0xff, shared);  // NaN
          for (unsigned t = 0; t < size; t += 32)
            home.warps.push_back(std::make_unique<Warp>(std::min(32u, size - t)));
          for (unsigned t = 0; t < size; ++t) {
            Thread& thread = threads[b * size + t];
            thread.thread = dim3(t % block.x, t / block.x % block.y, t / (block.x * block.y));
            thread.block = dim3(x + b % cluster.x, y + b / cluster.x % cluster.y,
                                z + b / (cluster.x * cluster.y));
            thread.linear = t;
            thread.home = &home;
          }
        }
        blockDimension = block;
        run(threads);
      }
  if (settings.records) launches.push_back({grid, block, cluster, shared, barriers});
}

}  // namespace emulated

#define threadIdx (emulated::self->thread)
#define blockIdx (emulated::self->block)
#define blockDim (emulated::blockDimension)
#define gridDim (emulated::self->home->cluster->grid)

namespace emulated {

inline void count_barrier() {
  if (self->linear == 0 && self->home->rank == 0) ++barriers;
}

}  // namespace emulated

inline void __syncthreads() {
  emulated::count_barrier();
  emulated::wait(emulated::self->home->all);
}

inline void __syncwarp(unsigned = 0xffffffffu) {
  emulated::wait(emulated::self->home->warps[emulated::self->linear / 32]->all);
}

/// The value of lane `lane ^ mask`; the whole warp takes part.
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  static_assert(sizeof(T) <= 8);
  emulated::Warp& warp = *emulated::self->home->warps[emulated::self->linear / 32];
  const unsigned lane = emulated::self->linear % 32;
  std::memcpy(&warp.lanes[lane], &value, sizeof(T));
  __syncwarp();
  T out;
  std::memcpy(&out, &warp.lanes[lane ^ static_cast<unsigned>(mask)], sizeof(T));
  __syncwarp();
  return out;
}

namespace emulated {

/// What all lanes of a warp know of one another, as the hardware of a product on tensor cores; the whole warp takes part.
class Lanes {
 public:
  template <int N>
  explicit Lanes(const std::uint32_t (&mine)[N]) : warp_(*self->home->warps[self->linear / 32]) {
    static_assert(N <= 6);
    std::memcpy(warp_.words[self->linear % 32], mine, sizeof(mine));
    __syncwarp();
    std::memcpy(words_, warp_.words, sizeof(words_));
    __syncwarp();
  }
  std::uint32_t word(int lane, int i) const { return words_[lane][i]; }

 private:
  Warp& warp_;
  std::uint32_t words_[32][6];
};

}  // namespace emulated

/// The lanes of the warp that say true; the whole warp takes part.
inline unsigned __ballot_sync(unsigned, bool here) {
  const std::uint32_t mine[1] = {here ? 1U : 0U};
  const emulated::Lanes lanes(mine);
  unsigned all = 0;
  for (int lane = 0; lane < 32; ++lane) all |= lanes.word(lane, 0) << lane;
  return all;
}

// --- the runtime ---------------------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorIllegalAddress = 700,
};
inline const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    default:
      return "cudaErrorInvalidValue";
  }
}
inline const char* cudaGetErrorString(cudaError_t e) {
  return cudaGetErrorName(e);
}

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
using cudaStream_t = struct CUstream_st*;

namespace emulated {

inline cudaError_t sticky = cudaSuccess;
inline std::set<void*> allocations;

inline bool strikes(long& countdown) {
  return countdown >= 0 && countdown-- == 0;
}

}  // namespace emulated

inline cudaError_t cudaGetLastError() {
  return emulated::sticky;
}
inline cudaError_t cudaGetDeviceCount(int* n) {
  *n = emulated::settings.devices;
  return *n > 0 ? cudaSuccess : cudaErrorNoDevice;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return emulated::sticky;
}
enum cudaDeviceAttr { cudaDevAttrClusterLaunch, cudaDevAttrMaxSharedMemoryPerBlockOptin };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrClusterLaunch
               ? (emulated::settings.clusters ? 1 : 0)
               : static_cast<int>(emulated::settings.largest_shared);
  return emulated::sticky;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = emulated::settings.free_memory;
  *total = std::size_t{1} << 37;
  return emulated::sticky;
}
inline cudaError_t cudaMallocAsync(void** p, std::size_t bytes, cudaStream_t) {
  if (emulated::sticky != cudaSuccess) return emulated::sticky;
  if (emulated::strikes(emulated::settings.fail_allocation)) return cudaErrorMemoryAllocation;
  *p = std::malloc(bytes == 0 ? 1 : bytes);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xff, bytes);  // NaN
  emulated::allocations.insert(*p);
  return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t) {
  if (p != nullptr && emulated::allocations.erase(p) == 0) return cudaErrorInvalidValue;
  std::free(p);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  if (emulated::sticky != cudaSuccess) return emulated::sticky;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                                     std::size_t from_pitch, std::size_t width, std::size_t height,
                                     cudaMemcpyKind, cudaStream_t) {
  for (std::size_t row = 0; emulated::sticky == cudaSuccess && row < height; ++row)
    std::memcpy(static_cast<char*>(to) + row * to_pitch,
                static_cast<const char*>(from) + row * from_pitch, width);
  return emulated::sticky;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  if (emulated::sticky == cudaSuccess) std::memset(to, value, bytes);
  return emulated::sticky;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return emulated::sticky;
}
enum { cudaStreamNonBlocking = 1 };
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned) {
  return emulated::sticky;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) {
  return cudaSuccess;
}
