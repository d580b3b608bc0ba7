/// Settings of the emulated device for Python: functions of C in the module equiprop_cuda._cuda, which ctypes finds.

#include <cuda_runtime.h>

extern "C" {

/// Returns how often the host has waited for the device.
__attribute__((visibility("default"))) long emulated_waits() {
  return emulated::settings.waits;
}
/// Returns the stream on whose event another stream waited last.
__attribute__((visibility("default"))) void* emulated_awaited() {
  return emulated::settings.awaited;
}
/// Fails the launch that follows `number` others, and all later calls; a negative number mends the device.
__attribute__((visibility("default"))) void emulated_fail_launch(long number) {
  emulated::settings.fail_launch = number;
  if (number < 0) emulated::sticky = cudaSuccess;
}
/// Fails the allocation that follows `number` others.
__attribute__((visibility("default"))) void emulated_fail_allocation(long number) {
  emulated::settings.fail_allocation = number;
}
/// Sets the memory that the device says is free; 0 restores it.
__attribute__((visibility("default"))) void emulated_free_memory(unsigned long long bytes) {
  emulated::settings.free_memory = bytes == 0 ? emulated::Settings{}.free_memory : bytes;
}
}
