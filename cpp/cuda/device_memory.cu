/// Implements device_memory.hpp on a device.

#include "equiprop/cuda/device_memory.hpp"
#include "memory.hpp"

namespace equiprop::cuda {

DeviceMemory::DeviceMemory(std::size_t bytes) {
  const cudaError_t error = cudaMalloc(&data_, bytes > 0 ? bytes : 1);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // this failure does not affect later calls
    throw OutOfDeviceMemory("[cuda] The device has too little memory for an array of " +
                                std::to_string(bytes) + " bytes. Free arrays of the device.",
                            0);
  }
  check(error, "an allocation");
}
DeviceMemory::~DeviceMemory() {
  cudaFree(data_);  // it waits for the device
}

void copy(void* to, const void* from, std::size_t bytes) {
  const Stream stream;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "a copy");
  check(cudaStreamSynchronize(stream), "the work on the device");
}

int present_device() {
  int device = 0;
  check(cudaGetDevice(&device), "the choice of a device");
  return device;
}

int device_of(const void* address) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, address), "a query of an address");
  const bool on_device =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return on_device ? attributes.device : -1;
}

}  // namespace equiprop::cuda
