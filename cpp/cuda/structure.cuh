#pragma once
/// The structure of a network: sizes, the view that kernels receive, and the couplings with the input.

#include <limits>
#include <vector>

#include "engine.hpp"
#include "network.cuh"

namespace equiprop::cuda {

template <class T>
Units<T> units_of(const LayerFields& layer, bool legendre) {
  const double signal_gain = legendre || layer.rho != Rho::clip ? 1 : layer.gain;
  const double bend = layer.rho == Rho::tanh       ? 2
                      : layer.rho == Rho::logistic ? layer.gain * layer.gain * layer.gain / 8
                      : layer.rho == Rho::softplus
                          ? layer.gain * layer.gain / (6 * 1.7320508075688772)
                          : 0;
  const double steep = layer.rho == Rho::logistic ? layer.gain : 1;
  const double saturated =
      layer.rho == Rho::clip ? 0 : 4 * steep * std::numeric_limits<T>::epsilon();
  return {layer.rho,
          legendre,
          T(layer.gain),
          T(layer.shift),
          T(layer.lower / signal_gain),
          T(layer.upper / signal_gain),
          T(signal_gain),
          T(legendre ? layer.gain : 1),
          T(bend),
          T(saturated)};
}

/// A coupling of a free layer with the input.
struct InputCoupling {
  int layer;  ///< free layer, numbered from 0
  std::ptrdiff_t weights;
  bool is_source;  ///< the input is the source: W is (layer, input), otherwise (input, layer)
};

/// Sizes of a network and of its device memory.
struct Sizes {
  explicit Sizes(const NetworkFields& network)
      : inputs(static_cast<std::size_t>(network.layers.front().units)),
        outputs(static_cast<std::size_t>(network.layers.back().units)),
        parameters(static_cast<std::size_t>(network.parameters)) {
    for (std::size_t k = 1; k < network.layers.size(); ++k)
      units += static_cast<std::size_t>(network.layers[k].units);
  }
  std::size_t inputs, outputs, parameters, units = 0;

  /// Numbers for each sample: input, targets, weight, drive, states, factors of gradients and their sum.
  std::size_t per_sample() const {
    return inputs + outputs + 1 + units * (1 + slots + 2 * most_nodes + 1);
  }
};

/// A network as plain data and as kernels see it.
template <class T>
struct Structure {
  explicit Structure(const NetworkFields& fields) : network(fields), sizes(fields) {}

  /// Fills in the layers of the view.
  void describe_layers() {
    view.layers = static_cast<int>(network.layers.size()) - 1;
    int begin = 0;
    for (int k = 0; k < view.layers; ++k) {
      LayerView<T>& layer = view.layer[k];
      layer.rho = units_of<T>(network.layers[k + 1], network.legendre);
      layer.units = network.layers[k + 1].units;
      layer.begin = begin;
      begin += layer.units;
      if (!network.legendre && (layer.rho.rho != Rho::clip || network.layers[k + 1].gain != 1))
        view.own_signals = true;
    }
    view.units = begin;
    view.outputs = static_cast<int>(sizes.outputs);
    for (const auto& block : network.blocks) {
      for (const int k : block) view.order[ordered++] = k;
      view.block_end[view.blocks++] = ordered;
    }
  }
  /// Fills in the view and the couplings with the input, for dense weights at these places.
  void describe(const T* theta, const T* transposed) {
    describe_layers();
    int pulls = 0;
    for (int k = 0; k < view.layers; ++k) pulls = add_pulls(k, pulls, theta, transposed);
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0) from_input.push_back({c.target - 1, c.weights, true});
      if (c.target == 0) from_input.push_back({c.source - 1, c.weights, false});
    }
  }
  /// Adds the pulls of all neighbours on free layer k from number `pulls` on.
  int add_pulls(int k, int pulls, const T* theta, const T* transposed) {
    LayerView<T>& layer = view.layer[k];
    layer.first_pull = pulls;
    const auto add = [&](int other, const T* by_unit, const T* by_depth) {
      const LayerView<T>& neighbour = view.layer[other - 1];
      view.pull[pulls++] = {neighbour.begin, neighbour.units, by_unit, by_depth};
      layer.depth += neighbour.units;
    };
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      if (c.target == k + 1) add(c.source, theta + c.weights, transposed + c.weights);
      if (c.source == k + 1) add(c.target, transposed + c.feedback, theta + c.feedback);
    }
    layer.pulls = pulls - layer.first_pull;
    return pulls;
  }
  int output_block() const {
    int n = 0;
    while (view.order[n] != view.layers - 1) ++n;
    int b = 0;
    while (n >= view.block_end[b]) ++b;
    return b;
  }
  /// Returns the number of weights of the couplings between free layers.
  std::size_t inner_weights() const {
    std::size_t count = 0;
    for (const CouplingFields& c : network.couplings)
      if (c.source != 0 && c.target != 0) count += weights_of(c);
    return count;
  }
  std::size_t weights_of(const CouplingFields& c) const {
    return static_cast<std::size_t>(network.layers[c.source].units) *
           network.layers[c.target].units;
  }

  NetworkFields network;
  Sizes sizes;
  NetworkView<T> view{};
  std::vector<InputCoupling> from_input;
  int ordered = 0;  ///< layers whose order is known
};

}  // namespace equiprop::cuda
