#include "emulation.hpp"

#include "tensor.hpp"

namespace equiprop::device_tests {

Emulation::Emulation() {
  emulated::settings = {};
}
Emulation::~Emulation() {
  emulated::settings = {};
  emulated::sticky = cudaSuccess;
}
void Emulation::set_order(Order order, unsigned seed) {
  emulated::settings.order = static_cast<emulated::Order>(order);
  emulated::settings.seed = seed;
}
void Emulation::remove_device() {
  emulated::settings.devices = 0;
}
void Emulation::remove_clusters() {
  emulated::settings.clusters = false;
}
void Emulation::fail_allocation(long number) {
  emulated::settings.fail_allocation = number;
}
void Emulation::fail_launch(long number) {
  emulated::settings.fail_launch = number;
}
void Emulation::set_free_memory(std::size_t bytes) {
  emulated::settings.free_memory = bytes;
}
void Emulation::record(bool execute) {
  emulated::settings.records = true;
  emulated::settings.executes = execute;
  emulated::launches.clear();
}
std::vector<Emulation::Launch> Emulation::launches() {
  const auto count = [](const dim3& size) { return long{size.x} * size.y * size.z; };
  std::vector<Launch> found;
  for (const emulated::Launch& launch : emulated::launches)
    found.push_back({count(launch.grid), count(launch.cluster), count(launch.block),
                     static_cast<long>(launch.shared), launch.barriers});
  emulated::launches.clear();
  return found;
}
float Emulation::rounded_to_tf32(float v) {
  return cuda::from_bits(cuda::to_tf32(v));
}
float Emulation::rounded_to_bf16(float v) {
  return cuda::from_bits(cuda::to_bf16(0, v));
}
std::size_t Emulation::living_allocations() {
  return emulated::allocations.size();
}

}  // namespace equiprop::device_tests
