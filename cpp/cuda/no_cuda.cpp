/// Linked in place of engine.cu if the component is built without CUDA: every engine is refused with one sentence.

#include "equiprop/cuda/device_memory.hpp"
#include "run.hpp"

namespace equiprop::cuda {
namespace {

constexpr const char* sentence =
    "[cuda] This build of equiprop has no CUDA kernels. Install equiprop-cuda, or build with "
    "-DEQUIPROP_BUILD_CUDA=ON.";

[[noreturn]] void refuse() {
  throw DeviceError(sentence);
}

}  // namespace

std::string why_unavailable() {
  return sentence;
}

std::size_t free_memory() {
  refuse();
}

template <class T>
std::size_t memory_of(const NetworkFields&, std::size_t) {
  refuse();
}

// No engine can be created, so no other function can be called.

template <class T>
struct Engine<T>::Device {};
template <class T>
Engine<T>::Engine(const NetworkFields&, std::size_t, const Cut&, Precision) {
  refuse();
}
template <class T>
Engine<T>::~Engine() = default;
template <class T>
void Engine<T>::upload(const T*) {
  refuse();
}
template <class T>
void Engine<T>::download(T*) const {
  refuse();
}
template <class T>
void Engine<T>::clamp(const T*, std::size_t) {
  refuse();
}
template <class T>
void Engine<T>::set_targets(const CostFields&, const T*) {
  refuse();
}
template <class T>
void Engine<T>::set_weights(const T*) {
  refuse();
}
template <class T>
void Engine<T>::write(std::size_t, const T*) {
  refuse();
}
template <class T>
void Engine<T>::read(std::size_t, T*) const {
  refuse();
}
template <class T>
void Engine<T>::read_outputs(std::size_t, T*) const {
  refuse();
}
template <class T>
Outcome Engine<T>::relax_free(const SolverFields&, std::size_t, std::optional<std::size_t>) {
  refuse();
}
template <class T>
Outcome Engine<T>::relax(const SolverFields&, std::span<const double>, std::size_t, std::size_t) {
  refuse();
}
template <class T>
Outcome Engine<T>::solve(double, int, std::size_t, std::size_t) {
  refuse();
}
template <class T>
void Engine<T>::displace(std::size_t, std::size_t, std::size_t, std::span<const double>) {
  refuse();
}
template <class T>
void Engine<T>::contrast(std::size_t, std::span<const double>) {
  refuse();
}
template <class T>
void Engine<T>::mixed(std::size_t, std::size_t, double) {
  refuse();
}
template <class T>
bool Engine<T>::gradient_is_finite() {
  refuse();
}
template <class T>
void Engine<T>::read_gradient(T*) const {
  refuse();
}
template <class T>
void Engine<T>::read_input_gradient(T*) {
  refuse();
}
template <class T>
void Engine<T>::update(const UpdateFields&) {
  refuse();
}
template <class T>
void Engine<T>::write_averages(const T*, const T*) {
  refuse();
}
template <class T>
void Engine<T>::hold(const DataFields<T>&) {
  refuse();
}
template <class T>
std::vector<StepRecord> Engine<T>::run(const RunFields&, std::span<const StepFields>,
                                       std::span<const int>, RunState&, const RunArrays<T>&) {
  refuse();
}
template <class T>
StepReports Engine<T>::reports() const {
  refuse();
}
template <class T>
void Engine<T>::follow(void*) {
  refuse();
}
template <class T>
bool Engine<T>::all_finite(const T*, std::size_t) {
  refuse();
}
template <class T>
void* Engine<T>::stream() const {
  refuse();
}
template <class T>
void Engine<T>::wait() const {
  refuse();
}

DeviceMemory::DeviceMemory(std::size_t) {
  refuse();
}
DeviceMemory::~DeviceMemory() = default;
void copy(void*, const void*, std::size_t) {
  refuse();
}
int present_device() {
  refuse();
}
int device_of(const void*) {
  refuse();
}

template std::size_t memory_of<float>(const NetworkFields&, std::size_t);
template std::size_t memory_of<double>(const NetworkFields&, std::size_t);
template class Engine<float>;
template class Engine<double>;

}  // namespace equiprop::cuda
