#pragma once
/// Memory, streams and failures of a device.

#include <string>

#include "device.hpp"
#include "equiprop/cuda/errors.hpp"

namespace equiprop::cuda {

/// Throws DeviceError unless `error` is cudaSuccess. `what` completes the sentence "... failed".
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw DeviceError(std::string("[cuda] ") + what +
                    " failed. The device is lost to this process: start the process again. "
                    "Received " +
                    cudaGetErrorName(error) + ": " + cudaGetErrorString(error) + ".");
}

/// A stream of its own, so that a graph can be captured from it.
class Stream {
 public:
  Stream() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// An allocation that failed; the engine adds the batch that would fit. 0 bytes are those of a graph.
struct AllocationFailure {
  std::size_t bytes;
};

/// Throws AllocationFailure if the memory did not suffice, and DeviceError as `check` for another failure.
inline void check_memory(cudaError_t error, std::size_t bytes, const char* what) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // this failure does not affect later calls
    throw AllocationFailure{bytes};
  }
  check(error, what);
}

/// Device memory in the order of a stream. Its content is not initialised.
template <class T>
class Array {
 public:
  Array(std::size_t size, cudaStream_t stream) : size_(size), stream_(stream) {
    void* data = nullptr;
    const std::size_t bytes = size * sizeof(T);
    check_memory(cudaMallocAsync(&data, bytes, stream), bytes, "an allocation");
    data_ = static_cast<T*>(data);
  }
  ~Array() { cudaFreeAsync(data_, stream_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
  cudaStream_t stream_;
};

}  // namespace equiprop::cuda
