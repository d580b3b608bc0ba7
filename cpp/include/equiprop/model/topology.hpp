#pragma once
/// The graph of a network: layers and couplings, and properties derived from them.

#include <optional>
#include <string>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/model/coupling.hpp"
#include "equiprop/model/units.hpp"

namespace equiprop {

/// A layer of a network.
struct Layer {
  std::string name;                        ///< name, different from that of every other layer
  Shape shape;                             ///< number of units, or the shape of an image
  Activation activation = hard_sigmoid();  ///< activation of the units; unused in the input
};

/// The weights by which a coupling pulls on its source: `tied` uses the weights by which it pulls on its target, which
/// an energy requires; `separate` uses weights of its own, and the dynamics are then a vector field without an energy.
enum class Feedback { tied, separate };

/// The order of the numbers of an input image: `channels_last` is that of the units of the input layer; with
/// `channels_first`, number (c, y, x) is at (c height + y) width + x, and clamping converts it.
enum class ImageFormat { channels_last, channels_first };

/// A graph of layers. Layer 0 is the clamped input, the last layer the output. Each pair of different layers, including
/// the input, has at most one dense coupling, in either direction, and every layer is coupled to another one. Couplings
/// within a free layer are dense, at most one, or convolutions.
class EQUIPROP_EXPORT Topology {
 public:
  /// Creates the graph. Throws InvalidArgument unless names differ, sizes are positive, and the couplings form such a
  /// graph.
  Topology(std::vector<Layer> layers, std::vector<Coupling> couplings, Potential potential,
           Feedback feedback = Feedback::tied, ImageFormat format = ImageFormat::channels_last);

  /// The arguments of the constructor.
  ///@{
  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<Coupling>& couplings() const { return couplings_; }
  Potential potential() const { return potential_; }
  Feedback feedback() const { return feedback_; }
  ImageFormat format() const { return format_; }
  ///@}
  const Layout& state() const { return state_; }  ///< free layers in a state, in order
  /// Returns the blocks of the parameters: W1, W2, ..., then B1, B2, ... of the couplings between two free layers if
  /// feedback is separate, then b1, b2, .... The numbers are those of the couplings, of which an identity has no block.
  const Layout& parameters() const { return parameters_; }

  /// The numbers of units of the first and of the last layer.
  ///@{
  Index num_inputs() const { return layers_.front().shape.units(); }
  Index num_outputs() const { return layers_.back().shape.units(); }
  ///@}
  /// Returns true if the numbers of an input are in another order than the units of the input layer.
  bool converts_input() const {
    const Shape& shape = layers_.front().shape;
    return format_ == ImageFormat::channels_first && shape.channels > 1 && shape.positions() > 1;
  }
  /// The free layers: all layers except the input, numbered from 0.
  ///@{
  std::size_t num_free() const { return units_.size(); }
  const Units& units(std::size_t free_layer) const { return units_[free_layer]; }
  ///@}
  /// Returns the block of the weights of a coupling, (target, source); an empty one if it has none.
  const Block& weights(std::size_t coupling) const { return block(weights_of_[coupling]); }
  /// Returns fan in + fan out of a coupling, which determines the scale of its initial weights.
  double fans(std::size_t coupling) const { return fans_[coupling]; }
  /// Returns the block of the weights by which an inner coupling pulls on its source.
  const Block& feedback_weights(std::size_t coupling) const {
    return block(feedback_of_[coupling]);
  }
  /// Returns the layout of the weights of a coupling within a layer, or nothing for a coupling of two layers.
  std::optional<LateralWeights> lateral_weights(std::size_t coupling) const;
  /// Returns the block of the biases of a free layer, one for each channel.
  const Block& bias(std::size_t free_layer) const {
    return parameters_[parameters_.blocks().size() - num_free() + free_layer];
  }
  /// The couplings between free layers, and those with the input.
  ///@{
  const std::vector<std::size_t>& inner() const { return inner_; }
  const std::vector<std::size_t>& from_input() const { return from_input_; }
  ///@}
  /// Returns groups of free layers such that no two different layers of a group are coupled: the even and the odd
  /// layers of a chain.
  const std::vector<std::vector<std::size_t>>& blocks() const { return blocks_; }
  /// Returns true if the signal of every unit is a multiple of its state.
  bool has_linear_signals() const;
  /// Returns true if the energy is complex-differentiable.
  bool holomorphic() const;

 private:
  void check() const;
  void check_pair(const Coupling& coupling) const;
  void append_weights();
  std::size_t append(char letter, std::size_t number, Index rows, Index columns,
                     std::vector<Index> shape);
  const Block& block(std::size_t at) const { return at == none ? empty_ : parameters_[at]; }
  void color();

  std::vector<Layer> layers_;
  std::vector<Coupling> couplings_;
  Potential potential_;
  Feedback feedback_;
  ImageFormat format_;
  Layout state_, parameters_;
  std::vector<Units> units_;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);  // the block of no weights
  Block empty_;
  std::vector<std::size_t> inner_, from_input_, weights_of_, feedback_of_;
  std::vector<double> fans_;  // fan in + fan out of each coupling
  std::vector<std::vector<std::size_t>> blocks_;
};

/// Returns the couplings of a chain input - hidden - ... - output, each layer coupled to the next.
EQUIPROP_EXPORT std::vector<Coupling> chain(std::size_t num_layers);

}  // namespace equiprop
