#pragma once
/// The part of the CUDA runtime and of CUDA's built-in names that the kernels use, on the CPU: put this folder before
/// CUDA's on the include path, and any C++ compiler makes a program of a .cu file. For tests only.
///
/// Threads of a block (of all blocks of a cluster) are fibers of one thread, which change at barriers and shuffles
/// only. What this finds without a GPU:
///   wrong results         kernels run as they are written; a fixed order of sums gives the bits of the device
///   missing barriers      `order` of a launch: the fibers in ascending, descending or random order, same bits asked
///   races                 -fsanitize=thread: every fiber is a thread for ThreadSanitizer, ordered by barriers only
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
#include <deque>
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

#include <ucontext.h>

#include <csetjmp>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__
#define EQUIPROP_EMULATED 1

/// A function of the emulator itself, whose own reads and writes are no races of the kernels.
#define EMULATOR __attribute__((no_sanitize("thread")))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulated {

static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16);

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
  long waits = 0;           ///< times that the host has waited for a stream
  void* awaited = nullptr;  ///< stream on whose event another stream waited last
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

/// Order of accesses for ThreadSanitizer: what was done before `order_after` of a place happens before what is done after
/// `order_before` of it.
///@{
#ifdef __SANITIZE_THREAD__
inline void order_after(void* place) {
  __tsan_release(place);
}
inline void order_before(void* place) {
  __tsan_acquire(place);
}
#else
inline void order_after(void*) {}
inline void order_before(void*) {}
#endif
///@}

/// A stack and a place in the program. Without a sanitizer, which wants to hear of changes of stacks, setjmp does what
/// swapcontext does, without its two system calls.
class Fiber {
 public:
  /// Begins at `enter`; `number` is its number among the fibers that live at a time.
  void prepare(char* stack, std::size_t bytes, void (*enter)(), [[maybe_unused]] std::size_t number) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, enter, 0);
    begun_ = false;
#ifdef __SANITIZE_THREAD__
    static std::vector<void*> sanitized;  // a new one costs much
    if (sanitized.size() <= number) sanitized.push_back(__tsan_create_fiber(0));
    sanitized_ = sanitized[number];
#endif
  }
  EMULATOR void switch_to(Fiber& other) {
#if defined(__SANITIZE_THREAD__)
    sanitized_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(other.sanitized_, __tsan_switch_to_fiber_no_sync);
    swapcontext(&context_, &other.context_);
#elif defined(__SANITIZE_ADDRESS__)
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
  [[maybe_unused]] void* sanitized_ = nullptr;
};

/// One CUDA thread.
struct Barrier;
struct Thread {
  dim3 thread, block;
  unsigned linear = 0;
  Block* home = nullptr;
  Fiber fiber;
  Barrier* waits_for = nullptr;
  unsigned long generation = 0;  // of that barrier, which is passed once it has another
  bool done = false;
};

struct Barrier {
  explicit Barrier(unsigned n) : size(n) {}
  unsigned size, arrived = 0;
  unsigned long generation = 0;
  char places[2] = {};  // of ordered accesses, by turns, as no fiber is two generations behind
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
  std::unique_ptr<unsigned char[]> memory;  // shared, aligned to 16 bytes by new
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

inline Fiber scheduler;
inline std::exception_ptr thrown;

EMULATOR inline void yield() {
  ++settings.switches;
  self->fiber.switch_to(scheduler);
}
/// The last one to come opens the barrier and goes on.
EMULATOR inline void wait(Barrier& barrier) {
  char* const place = &barrier.places[barrier.generation % 2];
  order_after(place);
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.generation;
  } else {
    self->waits_for = &barrier;
    self->generation = barrier.generation;
    yield();
  }
  order_before(place);
}

inline std::function<void()> body;
inline dim3 blockDimension;  // of the launch at work

inline char begin_of_launch, end_of_launch;  // places of ordered accesses

EMULATOR inline void enter() {
  order_before(&begin_of_launch);
  try {
    body();
  } catch (...) {
    thrown = std::current_exception();
  }
  order_after(&end_of_launch);
  self->done = true;
  for (;;) yield();
}

/// Runs all threads of a cluster, each until its next barrier, until all are done.
EMULATOR inline void run(std::vector<Thread>& threads) {
  constexpr std::size_t stack = 64 * 1024;
  static std::unique_ptr<char[]> stacks;
  static std::size_t held = 0;
  if (held < threads.size()) {
    stacks = std::make_unique_for_overwrite<char[]>(stack * threads.size());
    held = threads.size();
  }
  std::vector<Thread*> order;
  for (Thread& t : threads) {
    t.fiber.prepare(stacks.get() + stack * order.size(), stack, enter, order.size());
    order.push_back(&t);
  }
  if (settings.order == Order::descending) std::reverse(order.begin(), order.end());
  order_after(&begin_of_launch);
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
  order_before(&end_of_launch);
}

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
          here.blocks.emplace_back(new Block{&here,
                                             b,
                                             std::make_unique_for_overwrite<unsigned char[]>(shared),
                                             shared,
                                             Barrier(size),
                                             {}});
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

/// Raises a number of the device's memory to at least `value`, and returns what it was.
template <class T>
T atomicMax(T* at, T value) {
  T old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (old < value &&
         !__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
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
  ++emulated::settings.waits;
  return emulated::sticky;
}
enum { cudaStreamNonBlocking = 1 };
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  static std::uintptr_t streams = 0;
  *stream = reinterpret_cast<cudaStream_t>(16 * ++streams);
  return emulated::sticky;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) {
  return cudaSuccess;
}

// All work is done when a call returns, so an event need only tell on which stream it was recorded.
using cudaEvent_t = cudaStream_t*;
enum { cudaEventDisableTiming = 2 };
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new cudaStream_t(nullptr);
  return emulated::sticky;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  *event = stream;
  return emulated::sticky;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  emulated::settings.awaited = *event;
  return emulated::sticky;
}

inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  return cudaMallocAsync(p, bytes, nullptr);
}
inline cudaError_t cudaFree(void* p) {
  return cudaFreeAsync(p, nullptr);
}
enum cudaMemoryType { cudaMemoryTypeHost = 1, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
/// The first page of addresses is no memory of the device; all others are, so that tests can use arrays of their own.
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const bool on_device = reinterpret_cast<std::uintptr_t>(p) >= 4096;
  *attributes = {on_device ? cudaMemoryTypeDevice : cudaMemoryTypeHost, 0};
  return emulated::sticky;
}

// --- graphs: kernels and conditional nodes, one after the other ------------------------------------------------------

using cudaGraphNode_t = struct CUgraphNode_st*;
using cudaGraphConditionalHandle = unsigned long long;
enum { cudaGraphCondAssignDefault = 1 };
enum cudaGraphConditionalNodeType { cudaGraphCondTypeIf, cudaGraphCondTypeWhile };
enum cudaGraphNodeType { cudaGraphNodeTypeKernel, cudaGraphNodeTypeConditional };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
struct cudaGraphEdgeData;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = cudaGraph_t;

/// A kernel, or a body under a condition.
struct CUgraphNode_st {
  std::function<void()> kernel;
  unsigned* condition = nullptr;
  bool repeats = false;
  std::unique_ptr<CUgraph_st> body;
};
struct CUgraph_st {
  struct Condition {
    unsigned value, at_start;
    bool resets;
  };
  std::deque<CUgraphNode_st> nodes;
  std::deque<Condition> conditions;
};
struct cudaGraphNodeParams {
  cudaGraphNodeType type;
  struct {
    cudaGraphConditionalHandle handle;
    cudaGraphConditionalNodeType type;
    unsigned size;
    cudaGraph_t* phGraph_out;
  } conditional;
};

namespace emulated {

inline cudaGraph_t captured = nullptr;     // graph that receives launches, or nullptr
inline std::vector<cudaGraphNode_t> ends;  // of the last capture
inline std::set<cudaGraph_t> graphs;

inline cudaError_t execute(const std::function<void()>& kernel) {
  if (sticky != cudaSuccess) return sticky;
  if (strikes(settings.fail_launch)) return sticky = cudaErrorIllegalAddress;
  kernel();
  return cudaSuccess;
}
inline cudaError_t submit(std::function<void()> kernel) {
  if (captured == nullptr) return execute(kernel);
  captured->nodes.push_back({std::move(kernel), nullptr, false, nullptr});
  return sticky;
}
inline cudaError_t execute(const CUgraph_st& graph) {
  for (const CUgraphNode_st& node : graph.nodes) {
    if (node.condition == nullptr) {
      if (execute(node.kernel) != cudaSuccess) return sticky;
      continue;
    }
    while (*node.condition != 0) {
      if (execute(*node.body) != cudaSuccess) return sticky;
      if (!node.repeats) break;
    }
  }
  return sticky;
}

}  // namespace emulated

inline void cudaGraphSetConditional(cudaGraphConditionalHandle handle, unsigned value) {
  reinterpret_cast<CUgraph_st::Condition*>(handle)->value = value;
}
inline cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  if (emulated::sticky != cudaSuccess) return emulated::sticky;
  emulated::graphs.insert(*graph = new CUgraph_st);
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (emulated::graphs.erase(graph) == 0) return cudaErrorInvalidValue;
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* handle,
                                                    cudaGraph_t graph, unsigned at_start,
                                                    unsigned flags) {
  graph->conditions.push_back({at_start, at_start, flags == cudaGraphCondAssignDefault});
  *handle = reinterpret_cast<cudaGraphConditionalHandle>(&graph->conditions.back());
  return emulated::sticky;
}
/// Adds a conditional node at the end of a graph: it follows all nodes that are there, so `after` is the last of them.
inline cudaError_t cudaGraphAddNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                    const cudaGraphNode_t* after, const cudaGraphEdgeData*,
                                    std::size_t count, cudaGraphNodeParams* parameters) {
  if (parameters->type != cudaGraphNodeTypeConditional || count != (graph->nodes.empty() ? 0 : 1) ||
      (count == 1 && after[0] != &graph->nodes.back()))
    return cudaErrorInvalidValue;
  auto& under = *reinterpret_cast<CUgraph_st::Condition*>(parameters->conditional.handle);
  graph->nodes.push_back({{},
                          &under.value,
                          parameters->conditional.type == cudaGraphCondTypeWhile,
                          std::make_unique<CUgraph_st>()});
  *node = &graph->nodes.back();
  static thread_local cudaGraph_t body;
  body = (*node)->body.get();
  parameters->conditional.phGraph_out = &body;
  return emulated::sticky;
}
inline cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t, cudaGraph_t graph,
                                                 const cudaGraphNode_t*, const cudaGraphEdgeData*,
                                                 std::size_t, cudaStreamCaptureMode) {
  emulated::captured = graph;
  return emulated::sticky;
}
inline cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status,
                                            unsigned long long*, cudaGraph_t*,
                                            const cudaGraphNode_t** nodes,
                                            const cudaGraphEdgeData**, std::size_t* count) {
  *status = cudaStreamCaptureStatusActive;
  emulated::ends.clear();
  if (!emulated::captured->nodes.empty())
    emulated::ends.push_back(&emulated::captured->nodes.back());
  *nodes = emulated::ends.data();
  *count = emulated::ends.size();
  return emulated::sticky;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(emulated::captured, nullptr);
  return emulated::sticky;
}
/// The graph itself is executed, and must outlive what this returns.
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                        unsigned long long) {
  if (emulated::strikes(emulated::settings.fail_allocation)) return cudaErrorMemoryAllocation;
  *executable = graph;
  return emulated::sticky;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) {
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  if (emulated::sticky != cudaSuccess) return emulated::sticky;
  for (auto& condition : graph->conditions)
    if (condition.resets) condition.value = condition.at_start;
  return emulated::execute(*graph);
}
