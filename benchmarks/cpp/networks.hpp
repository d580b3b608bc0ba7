#pragma once
/// The networks of the benchmarks: chains of hard-sigmoid layers with random weights.

#include "measuring.hpp"

namespace equiprop {

inline const std::vector<std::vector<Index>>& network_sizes() {
  static const std::vector<std::vector<Index>> all{{784, 512, 10}, {784, 512, 512, 10}};
  return all;
}

inline std::string name_of(const std::vector<Index>& sizes) {
  std::vector<std::string> parts;
  for (const Index size : sizes) parts.push_back(std::to_string(size));
  return join(parts, '-');
}

inline HopfieldNetwork<float> make_network(const std::vector<Index>& sizes) {
  std::vector<Layer> layers;
  std::vector<Coupling> couplings;
  for (const Index size : sizes) {
    const auto k = static_cast<Index>(layers.size());
    layers.push_back({"layer" + std::to_string(k), size});
    if (k > 0) couplings.push_back({k - 1, k});
  }
  HopfieldNetwork<float> network(layers, couplings);
  network.initialize(1);
  return network;
}

/// Returns numbers in [0, 1), like pixels.
inline State<float> random_input(Index inputs, Index batch) {
  Random random(2);
  State<float> x(inputs, batch);
  for (Index i = 0; i < x.size(); ++i) x(i) = static_cast<float>(random.uniform());
  return x;
}

/// Returns the flops (multiplications and additions) of one sample for the weights from the input.
inline double input_flops(const Topology& topology) {
  double sum = 0;
  for (const auto e : topology.from_input())
    sum += 2 * static_cast<double>(topology.weights(e).size());
  return sum;
}
inline double inner_flops(const Topology& topology) {
  double sum = 0;
  for (const auto e : topology.inner()) sum += 2 * static_cast<double>(topology.weights(e).size());
  return sum;
}
/// Returns the flops of one sample for a sweep, which uses the weights between free layers in both directions.
inline double sweep_flops(const Topology& topology) {
  return 2 * inner_flops(topology);
}

}  // namespace equiprop
