#include "emulation.hpp"

#include <cuda_runtime.h>

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
std::size_t Emulation::living_allocations() {
  return emulated::allocations.size();
}

}  // namespace equiprop::device_tests
