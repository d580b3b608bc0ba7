#pragma once
/// Networks of dense couplings on which the batch of a device is compared with that of the host.

#include <random>
#include <string>
#include <vector>

#include "equiprop/model/hopfield.hpp"

namespace equiprop::device_tests {

/// A network with the cost of its outputs; a logit scale of 0 is the squared error.
template <class T>
struct Case {
  std::string name;
  HopfieldNetwork<T> network;
  double logit_scale = 0;
};

inline Layer layer(Index units, Activation activation = hard_sigmoid()) {
  return Layer{.name = "", .shape = Shape{units}, .activation = activation};
}

/// Creates a network with random weights and biases, such that some units are free and some are held.
template <class T>
HopfieldNetwork<T> drawn(std::vector<Layer> layers, std::vector<Coupling> couplings,
                         Potential potential = Potential::legendre,
                         Feedback feedback = Feedback::tied) {
  for (std::size_t k = 0; k < layers.size(); ++k) layers[k].name = "layer" + std::to_string(k);
  HopfieldNetwork<T> network(std::move(layers), std::move(couplings), potential, feedback);
  network.initialize(7, 0.6);
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform(-0.2, 0.4);
  Parameters<T>& theta = network.parameters();
  for (Index i = 0; i < theta.size(); ++i) theta(i) += static_cast<T>(0.1 * uniform(random));
  for (std::size_t k = 0; k < network.topology().num_free(); ++k) {
    const Block& bias = network.topology().bias(k);
    for (Index i = 0; i < bias.size(); ++i)
      theta(bias.offset + i) = static_cast<T>(uniform(random));
  }
  return network;
}

/// One network of each kind that the kernels support; layers of more and of fewer than 32 units, and sums of more and of
/// fewer than 128 terms.
template <class T>
std::vector<Case<T>> zoo() {
  const auto sizes = [](std::vector<Index> units, Activation activation = hard_sigmoid()) {
    std::vector<Layer> layers;
    for (const Index n : units) layers.push_back(layer(n, activation));
    return layers;
  };
  const auto ending = [](std::vector<Layer> layers, Activation activation) {
    layers.back().activation = activation;
    return layers;
  };
  constexpr auto quadratic = Potential::quadratic;
  std::vector<Case<T>> cases;
  cases.push_back({"one hidden layer", drawn<T>(sizes({30, 70, 5}), chain(3))});
  cases.push_back({"deep", drawn<T>(sizes({20, 70, 45, 130, 40, 3}), chain(6))});
  cases.push_back({"only outputs", drawn<T>(sizes({9, 4}), chain(2))});
  cases.push_back({"linear outputs, cross-entropy",
                   drawn<T>(ending(sizes({12, 40, 6}), linear()), chain(3)), 2.0});
  cases.push_back({"clipped outputs, cross-entropy", drawn<T>(sizes({12, 40, 6}), chain(3)), 1.5});
  cases.push_back({"relu", drawn<T>(sizes({10, 36, 4}, relu()), chain(3))});
  cases.push_back({"half hard sigmoid, quadratic",
                   drawn<T>(sizes({10, 36, 4}, half_hard_sigmoid()), chain(3), quadratic)});
  cases.push_back({"tanh", drawn<T>(sizes({10, 36, 33, 4}, tanh_activation()), chain(4))});
  cases.push_back({"logistic", drawn<T>(sizes({10, 36, 4}, logistic(4, 0.5)), chain(3))});
  cases.push_back({"logistic, quadratic",
                   drawn<T>(sizes({10, 36, 33, 4}, logistic(4, 0.5)), chain(4), quadratic)});
  cases.push_back({"tanh, quadratic, cross-entropy",
                   drawn<T>(sizes({10, 36, 4}, tanh_activation()), chain(3), quadratic), 1.0});
  cases.push_back(
      {"softplus, quadratic", drawn<T>(sizes({10, 36, 4}, softplus(2)), chain(3), quadratic)});
  cases.push_back({"skips, input as target",
                   drawn<T>(sizes({14, 35, 40, 33, 5}),
                            {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {2, 0}, {4, 1}, {1, 3}, {0, 4}})});
  cases.push_back({"separate feedback", drawn<T>(sizes({14, 35, 40, 5}), chain(4),
                                                 Potential::legendre, Feedback::separate)});
  cases.push_back(
      {"separate feedback, tanh, quadratic", drawn<T>(sizes({14, 35, 40, 5}, tanh_activation()),
                                                      chain(4), quadratic, Feedback::separate)});
  return cases;
}

/// Networks whose bits are compared: of many layers, of smooth units, of a graph, and of a vector field.
template <class T>
std::vector<Case<T>> some_networks() {
  const std::vector<Case<T>> all = zoo<T>();
  return {all[1], all[4], all[9], all[12], all[13]};
}

/// Inputs in [0, 1] and one-hot targets.
template <class T>
struct Data {
  State<T> x, y;
};
template <class T>
Data<T> data_of(const HopfieldNetwork<T>& network, Index samples, unsigned seed = 3) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  Data<T> data{State<T>(network.topology().num_inputs(), samples),
               State<T>::Zero(network.topology().num_outputs(), samples)};
  for (Index j = 0; j < samples; ++j) {
    for (Index i = 0; i < data.x.rows(); ++i) data.x(i, j) = static_cast<T>(uniform(random));
    data.y(static_cast<Index>(random() % static_cast<unsigned>(data.y.rows())), j) = T(1);
  }
  return data;
}

}  // namespace equiprop::device_tests
