#pragma once
/// The graph of a network: layers, couplings, and what follows from them.

#include <string>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/model/coupling.hpp"
#include "equiprop/model/units.hpp"

namespace equiprop {

/// What a network is made of, beside couplings.
struct Layer {
  std::string name;                        ///< unlike that of any other layer
  Index units = 0;                         ///< at least 1
  Activation activation = hard_sigmoid();  ///< unused in the input
};

/// Whether a coupling pulls both of its layers by the same weights, as the slope of an energy must, or
/// its source by weights of their own; the dynamics are then a vector field that has no energy.
enum class Feedback { tied, separate };

/// Layer 0 is the clamped input, the last one the output. The couplings form a graph of layers: any pair of different
/// layers, the input among them, is coupled at most once, in either direction, and every layer is coupled. Couplings
/// within a layer do not exist.
class EQUIPROP_EXPORT Topology {
 public:
  /// Throws InvalidArgument unless names differ, sizes are positive, and the couplings form such a graph.
  Topology(std::vector<Layer> layers, std::vector<Coupling> couplings, Potential potential,
           Feedback feedback = Feedback::tied);

  /// What it was made of.
  ///@{
  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Coupling>& couplings() const { return couplings_; }
  Potential potential() const { return potential_; }
  Feedback feedback() const { return feedback_; }
  ///@}
  const Layout& state() const { return state_; }  ///< free layers, in order
  /// W1, W2, ..., then B1, B2, ... of the inner couplings if they are separate, then b1, b2, ...
  const Layout& parameters() const { return parameters_; }

  /// Units of the first and of the last layer.
  ///@{
  Index num_inputs() const { return layers_.front().units; }
  Index num_outputs() const { return layers_.back().units; }
  ///@}
  /// All layers but the input are free, and numbered from 0.
  ///@{
  std::size_t num_free() const { return units_.size(); }
  const Units& units(std::size_t free_layer) const { return units_[free_layer]; }
  ///@}
  /// Where the parameters have the weights of a coupling, (target, source).
  const Block& weights(std::size_t coupling) const { return parameters_[coupling]; }
  /// Fan in + fan out of a coupling, which the scale of its initial weights depends on.
  double fans(std::size_t coupling) const { return fans_[coupling]; }
  /// The weights an inner coupling pulls its source by.
  const Block& feedback_weights(std::size_t coupling) const {
    return parameters_[feedback_of_[coupling]];
  }
  /// Where they have the biases of a free layer.
  const Block& bias(std::size_t free_layer) const {
    return parameters_[parameters_.blocks().size() - num_free() + free_layer];
  }
  /// Couplings between free layers, and the others, which carry the input.
  ///@{
  const std::vector<std::size_t>& inner() const { return inner_; }
  const std::vector<std::size_t>& from_input() const { return from_input_; }
  ///@}
  /// Free layers grouped so that no two of a group are coupled: the even and odd ones of a chain.
  const std::vector<std::vector<std::size_t>>& blocks() const { return blocks_; }
  /// Block updates are exact minimisations: every leak is inverted in closed form.
  bool has_block_update() const;
  /// Whether the energy is complex-differentiable.
  bool holomorphic() const;

 private:
  void check() const;
  void color();

  std::vector<Layer> layers_;
  std::vector<Coupling> couplings_;
  Potential potential_;
  Feedback feedback_;
  Layout state_, parameters_;
  std::vector<Units> units_;
  std::vector<std::size_t> inner_, from_input_, feedback_of_;
  std::vector<double> fans_;  // of each coupling
  std::vector<std::vector<std::size_t>> blocks_;
};

/// input - hidden - ... - output, each coupled to the next.
EQUIPROP_EXPORT std::vector<Coupling> chain(std::size_t num_layers);

}  // namespace equiprop
