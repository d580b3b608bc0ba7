#pragma once
/// The graph of a network: layers, couplings, and what follows from them.

#include <string>
#include <vector>

#include "equiprop/base/layout.hpp"
#include "equiprop/model/coupling.hpp"
#include "equiprop/model/units.hpp"

namespace [[gnu::visibility("default")]] equiprop {

struct Layer {
  std::string name;
  Index units = 0;
  Activation activation = hard_sigmoid();
};

/// Whether a coupling pulls both of its layers by the same weights, as the slope of an energy must, or
/// its source by weights of their own; the dynamics are then a vector field that has no energy.
enum class Feedback { tied, separate };

/// Layer 0 is the clamped input, the last one the output; the couplings may form any graph.
class Topology {
 public:
  Topology(std::vector<Layer> layers, std::vector<Dense> couplings, Potential potential,
           Feedback feedback = Feedback::tied);

  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Dense>& couplings() const { return couplings_; }
  Potential potential() const { return potential_; }
  Feedback feedback() const { return feedback_; }
  const Layout& state() const { return state_; }  ///< free layers, in order
  /// W1, W2, ..., then B1, B2, ... of the inner couplings if they are separate, then b1, b2, ...
  const Layout& parameters() const { return parameters_; }

  Index num_inputs() const { return layers_.front().units; }
  Index num_outputs() const { return layers_.back().units; }
  std::size_t num_free() const { return units_.size(); }
  const Units& units(std::size_t free_layer) const { return units_[free_layer]; }
  const Block& weights(std::size_t coupling) const { return parameters_[coupling]; }
  /// The weights an inner coupling pulls its source by.
  const Block& feedback_weights(std::size_t coupling) const {
    return parameters_[feedback_of_[coupling]];
  }
  const Block& bias(std::size_t free_layer) const {
    return parameters_[parameters_.blocks().size() - num_free() + free_layer];
  }
  /// Couplings between free layers; the others carry the input.
  const std::vector<std::size_t>& inner() const { return inner_; }
  const std::vector<std::size_t>& from_input() const { return from_input_; }
  /// Free layers grouped so that no two of a group are coupled: the even and odd ones of a chain.
  const std::vector<std::vector<std::size_t>>& blocks() const { return blocks_; }
  /// Block updates are exact minimisations: every leak is inverted in closed form.
  bool has_block_update() const;
  bool holomorphic() const;

 private:
  void check() const;
  void color();

  std::vector<Layer> layers_;
  std::vector<Dense> couplings_;
  Potential potential_;
  Feedback feedback_;
  Layout state_, parameters_;
  std::vector<Units> units_;
  std::vector<std::size_t> inner_, from_input_, feedback_of_;
  std::vector<std::vector<std::size_t>> blocks_;
};

/// input - hidden - ... - output, each coupled to the next.
std::vector<Dense> chain(std::size_t num_layers);

}  // namespace equiprop
