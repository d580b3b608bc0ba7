#pragma once
/// Networks with diagonal couplings, and the equivalent dense networks.

#include "extension/diagonal.hpp"
#include "reference.hpp"

namespace equiprop::tests {

/// Returns the couplings x = a - b - y and x - y, where "=" is diagonal and "-" dense: both kinds of couplings start at
/// the input, and both join free layers.
inline std::vector<Coupling> mixed_couplings() {
  return {Diagonal{0, 1}, Diagonal{1, 2}, Coupling(3, 2), Coupling(0, 3), Diagonal{2, 4}};
}

/// Returns a network whose layers have these activations in turn.
inline Case diagonal_case(const NamedActivation& of, Potential potential, Feedback feedback) {
  std::vector<Layer> layers;
  for (const Index units : {3, 3, 3, 2, 3})
    layers.push_back({"layer" + std::to_string(layers.size()), units, of.activation});
  const std::string suffix = potential == Potential::legendre ? "_legendre" : "_quadratic";
  return {of.name + suffix, layers, mixed_couplings(), potential, feedback};
}

/// Returns cases with every activation and both potentials.
inline std::vector<Case> diagonal_cases(Feedback feedback) {
  std::vector<Case> all;
  for (const NamedActivation& of : activations())
    for (const Potential potential : {Potential::legendre, Potential::quadratic})
      all.push_back(diagonal_case(of, potential, feedback));
  return all;
}

/// Returns the graph in which all couplings are dense.
inline Topology dense_topology(const Topology& topology) {
  std::vector<Coupling> couplings;
  for (const Coupling& coupling : topology.couplings())
    couplings.emplace_back(coupling.source(), coupling.target());
  return Topology(topology.layers(), couplings, topology.potential(), topology.feedback());
}

/// Returns the index of each parameter of a network among those of the dense graph: that of W_ii for the weight w_i.
inline std::vector<Index> places_in(const Topology& dense, const Topology& topology) {
  std::vector<Index> places;
  const auto& from = topology.parameters().blocks();
  for (std::size_t k = 0; k < from.size(); ++k) {
    const Block& to = dense.parameters()[k];
    const Index step = from[k].size() == to.size() ? 1 : to.rows + 1;
    for (Index i = 0; i < from[k].size(); ++i) places.push_back(to.offset + step * i);
  }
  return places;
}

template <class S>
Parameters<S> dense_parameters(const Topology& topology, const Parameters<S>& theta) {
  const Topology dense = dense_topology(topology);
  const std::vector<Index> places = places_in(dense, topology);
  Parameters<S> all = Parameters<S>::Zero(dense.parameters().size());
  for (std::size_t i = 0; i < places.size(); ++i) all(places[i]) = theta(static_cast<Index>(i));
  return all;
}

/// The network by dense algebra, as a function of the parameters of the diagonal network.
template <class S>
class DenseEquivalent final : public EnergyDecorator<S> {
 public:
  DenseEquivalent(const Topology& topology, const Parameters<S>& theta, const State<S>& x)
      : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(ReferenceNetwork<S>(
            dense_topology(topology), dense_parameters<S>(topology, theta), x))),
        places_(places_in(dense_topology(topology), topology)) {}

  Index num_parameters() const override { return static_cast<Index>(places_.size()); }
  void parameter_gradient(const ConstStateRef<S>& s, S weight,
                          ParametersRef<S> grad) const override {
    gather(grad, [&](ParametersRef<S> all) { this->model().parameter_gradient(s, weight, all); });
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const override {
    gather(grad, [&](ParametersRef<S> all) {
      this->model().mixed_derivative_product(s, v, weight, all);
    });
  }
  bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                ParameterSink<S>& sink) const override {
    return EnergyInterface<S>::contrast(states, weights, sink);
  }
  bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                        ParameterSink<S>& sink) const override {
    return EnergyInterface<S>::mixed_derivative(s, v, weight, sink);
  }

 private:
  template <class Add>
  void gather(ParametersRef<S>& grad, const Add& add) const {
    Parameters<S> all = Parameters<S>::Zero(this->model().num_parameters());
    add(ParametersRef<S>(all));
    for (std::size_t i = 0; i < places_.size(); ++i) grad(static_cast<Index>(i)) += all(places_[i]);
  }

  std::vector<Index> places_;
};

/// The network of the library, or dense algebra if parameters have a derivative part.
inline EnergyFamily diagonal_family(const HopfieldNetwork<double>& network,
                                    const State<double>& x) {
  const Topology topology = network.topology();
  return make_family(network.parameters(), x, [topology](const auto& theta, const auto& input) {
    using S = typename std::decay_t<decltype(theta)>::Scalar;
    HopfieldNetwork<double> same(topology.layers(), topology.couplings(), topology.potential(),
                                 topology.feedback());
    if constexpr (std::same_as<S, D>) {
      if ((derivative(theta).array() != 0).any())
        return AnyEnergy<D>(DenseEquivalent<D>(topology, theta, input));
      same.parameters() = value(theta);
      return AnyEnergy<D>(
          ClampedHopfield<D>(std::make_shared<const Topology>(topology),
                             std::make_shared<const Parameters<double>>(same.parameters()), input));
    } else {
      same.parameters() = theta;
      return AnyEnergy<double>(same.clamp(input));
    }
  });
}

}  // namespace equiprop::tests
