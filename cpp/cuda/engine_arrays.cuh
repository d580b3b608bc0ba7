#pragma once
/// Arrays of other libraries on the device: the order of streams, and checks.

#include "engine_device.cuh"

namespace equiprop::cuda {

/// An event, which ends with the object.
class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

template <class T>
void Engine<T>::follow(void* stream) {
  const Event event;
  check(cudaEventRecord(event, static_cast<cudaStream_t>(stream)), "recording an event");
  check(cudaStreamWaitEvent(device_->stream, event, 0), "the order of streams");
}

template <class T>
bool Engine<T>::all_finite(const T* numbers, std::size_t count) {
  const Shape shape{dim3(flag_blocks), elementwise_threads, dim3(1),
                    sizeof(int) * elementwise_threads};
  device_->run("a test of numbers", &find_not_finite<T>, shape, static_cast<std::ptrdiff_t>(count),
               numbers, device_->flags.data());
  int flags[flag_blocks];
  device_->fetch(flags, device_->flags.data(), flag_blocks);
  return std::all_of(flags, flags + flag_blocks, [](int flag) { return flag == 0; });
}
template <class T>
bool Engine<T>::gradient_is_finite() {
  return all_finite(device_->gradient.data(), device_->sizes.parameters);
}

}  // namespace equiprop::cuda
