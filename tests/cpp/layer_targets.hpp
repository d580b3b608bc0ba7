#pragma once
/// Random costs of some layers of a network, on any scalar.

#include "support.hpp"

namespace equiprop::tests {

/// Costs with targets of some free layers: a squared error for every second layer, a cross-entropy for the others.
struct LayerTargets {
  struct Layer {
    Index begin;  // first row in a state
    State<double> y;
    bool entropy;
    double scale;
  };

  template <class S>
  LayerCosts<S> as() const {
    std::vector<LayerCost<S>> costs;
    for (const auto& [begin, y, entropy, scale] : layers) {
      const State<S> targets = y.template cast<S>();
      const AnyCost<S> cost = entropy ? AnyCost<S>(CrossEntropy<S>(targets, 1.3))
                                      : AnyCost<S>(SquaredError<S>(targets));
      costs.push_back({begin - layers.front().begin, cost, scale});
    }
    return {units - layers.front().begin, std::move(costs)};
  }
  /// Returns scale_k C_k(s_k, y_k) summed over the layers, (batch,), by the formulas.
  PerSample<double> value(const State<double>& s) const {
    PerSample<double> sum = PerSample<double>::Zero(s.cols());
    for (const auto& [begin, y, entropy, scale] : layers)
      for (Index j = 0; j < s.cols(); ++j) {
        const Eigen::ArrayXd at = s.col(j).segment(begin, y.rows()).array(), to = y.col(j).array();
        sum(j) +=
            scale * (entropy ? to.sum() * std::log((1.3 * at).exp().sum()) - 1.3 * (to * at).sum()
                             : (at - to).square().sum() / 2);
      }
    return sum;
  }

  Index units;
  std::vector<Layer> layers;
};

/// Draws targets of the free layers `chosen`, in increasing order.
inline LayerTargets random_layer_targets(const Topology& topology, Random& random, Index batch,
                                         const std::vector<std::size_t>& chosen) {
  LayerTargets targets{topology.state().size(), {}};
  for (const auto k : chosen) {
    const Block& layer = topology.state()[k];
    State<double> y = random_state(random, layer.rows, batch).array() + 1.2;
    for (Index j = 0; j < batch; ++j) y.col(j) /= y.col(j).sum();  // probabilities
    targets.layers.push_back({layer.offset, y, targets.layers.size() % 2 == 1,
                              0.3 + 0.4 * static_cast<double>(targets.layers.size() % 3)});
  }
  return targets;
}

/// Returns choices of free layers: all, all but the last, and the first.
inline std::vector<std::vector<std::size_t>> layer_choices(const Topology& topology) {
  std::vector<std::size_t> all(topology.num_free());
  for (std::size_t k = 0; k < all.size(); ++k) all[k] = k;
  if (all.size() == 1) return {all};
  return {all, {all.begin(), all.end() - 1}, {0}};
}

}  // namespace equiprop::tests
