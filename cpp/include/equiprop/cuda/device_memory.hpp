#pragma once
/// Arrays in the memory of a CUDA device.

#include <cstddef>

#include "equiprop/base/export.hpp"

namespace equiprop::cuda {

/// Memory of the present device, which is freed with the object; work of all streams that uses it ends before.
class EQUIPROP_EXPORT DeviceMemory {
 public:
  /// Throws DeviceError if there is no device, or too little memory.
  explicit DeviceMemory(std::size_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const { return data_; }  ///< the memory

 private:
  void* data_ = nullptr;
};

/// Copies bytes within or between host and device, and waits for the end. Throws DeviceError.
EQUIPROP_EXPORT void copy(void* to, const void* from, std::size_t bytes);

/// Returns the number of the device that kernels use. Throws DeviceError.
EQUIPROP_EXPORT int present_device();
/// Returns the number of the device that holds the memory at an address, or -1 if it is not that of a device. Throws
/// DeviceError.
EQUIPROP_EXPORT int device_of(const void* address);

}  // namespace equiprop::cuda
