#pragma once
/// Settings of the emulated device; see emulated/cuda_runtime.h.

#include <cstddef>
#include <vector>

namespace equiprop::device_tests {

/// Changes the emulated device while it exists.
class Emulation {
 public:
  enum class Order { ascending, descending, random };

  Emulation();
  ~Emulation();
  Emulation(const Emulation&) = delete;
  Emulation& operator=(const Emulation&) = delete;

  /// Runs the threads of a cluster in another order.
  void set_order(Order order, unsigned seed = 0);
  /// Removes the device.
  void remove_device();
  /// Creates a device without clusters, as before sm_90.
  void remove_clusters();
  /// Fails the allocation that follows `number` others.
  void fail_allocation(long number);
  /// Fails the launch that follows `number` others, and all later calls.
  void fail_launch(long number);
  /// Sets the memory that the device says is free.
  void set_free_memory(std::size_t bytes);

  /// Keeps the launches from now on; without `execute`, kernels are not run, and their results have no meaning.
  void record(bool execute = true);
  /// A launch: blocks, blocks of a cluster, threads of a block, bytes of shared memory of a block, and barriers that the first
  /// threads of all clusters met.
  struct Launch {
    long blocks, cluster, threads, shared, barriers;
  };
  /// Returns the launches since `record` or the last call.
  std::vector<Launch> launches();

  /// Returns a factor as tensor cores read it, with 11 or 8 bits.
  ///@{
  static float rounded_to_tf32(float v);
  static float rounded_to_bf16(float v);
  ///@}
  /// Returns the number of allocations that were not freed.
  static std::size_t living_allocations();
};

}  // namespace equiprop::device_tests
