#pragma once
/// Failures of a CUDA device.

#include <cstddef>
#include <stdexcept>
#include <string>

namespace equiprop::cuda {

/// There is no device, or it failed. After a failure other than OutOfDeviceMemory the device is lost to the process.
class DeviceError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An allocation on the device failed; nothing else is affected.
class OutOfDeviceMemory : public DeviceError {
 public:
  /// `samples` is the largest batch that the free memory holds by estimate.
  OutOfDeviceMemory(const std::string& message, std::size_t samples)
      : DeviceError(message), samples_(samples) {}
  /// Returns the number of samples for which the memory suffices by estimate; 0 if it does not hold the parameters.
  std::size_t samples_that_fit() const { return samples_; }

 private:
  std::size_t samples_;
};

}  // namespace equiprop::cuda
