#include "equiprop/model/topology.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

namespace equiprop {
namespace {

constexpr Index max_units = Index{1} << 31;
constexpr Index max_parameters = Index{1} << 38;

std::string numbered(char letter, std::size_t number) {
  std::string name(1, letter);
  return name += std::to_string(number);
}

void check_shape(const Layer& layer) {
  const auto [channels, height, width] = layer.shape;
  const bool sizes = channels >= 1 && height >= 1 && width >= 1 && channels <= max_units &&
                     height <= max_units && width <= max_units;
  const bool image = height != 1 || width != 1;
  if (sizes && height <= max_units / channels && width <= max_units / (channels * height)) return;
  require(image, "Topology", "A layer has between 1 and 2^31 units.", channels, " in layer '",
          layer.name, "'");
  require(false, "Topology", "A layer has between 1 and 2^31 units.", channels, " x ", height,
          " x ", width, " in layer '", layer.name, "'");
}

}  // namespace

Topology::Topology(std::vector<Layer> layers, std::vector<Coupling> couplings, Potential potential,
                   Feedback feedback, ImageFormat format)
    : layers_(std::move(layers)),
      couplings_(std::move(couplings)),
      potential_(potential),
      feedback_(feedback),
      format_(format) {
  check();
  for (std::size_t k = 1; k < layers_.size(); ++k) {
    state_.append(layers_[k].name, layers_[k].shape.units());
    units_.emplace_back(layers_[k].activation, potential_);
  }
  append_weights();
  for (std::size_t k = 1; k < layers_.size(); ++k) {
    const Index channels = layers_[k].shape.channels;
    append('b', k, channels, 1, {channels});
  }
  color();
}

/// Adds a block of parameters unless it is empty, and returns its number.
std::size_t Topology::append(char letter, std::size_t number, Index rows, Index columns,
                             std::vector<Index> shape) {
  if (rows == 0) return none;
  parameters_.append(numbered(letter, number), rows, columns, std::move(shape));
  // Checked after each block, before the sum can overflow.
  require(parameters_.size() <= max_parameters, "Topology",
          "A network has at most 2^38 parameters.", parameters_.size());
  return parameters_.blocks().size() - 1;
}

/// Adds the blocks of all weights, and divides the couplings into those from the input and the others.
void Topology::append_weights() {
  for (std::size_t e = 0; e < couplings_.size(); ++e) {
    Coupling& coupling = couplings_[e];
    if (coupling.target() == 0 && !coupling.directed()) coupling = coupling.reversed();
    const WeightShape weights =
        coupling.weights_of(layers_[static_cast<std::size_t>(coupling.source())].shape,
                            layers_[static_cast<std::size_t>(coupling.target())].shape);
    weights_of_.push_back(append('W', e + 1, weights.rows, weights.columns, weights.shape));
    fans_.push_back(weights.fan_in + weights.fan_out);
    (std::min(coupling.source(), coupling.target()) == 0 ? from_input_ : inner_).push_back(e);
  }
  feedback_of_ = weights_of_;
  if (feedback_ == Feedback::separate)
    for (const auto e : inner_) {
      const Block forward = weights(e);
      if (!lateral_weights(e))
        feedback_of_[e] = append('B', e + 1, forward.rows, forward.columns, forward.shape);
    }
}

std::optional<LateralWeights> Topology::lateral_weights(std::size_t coupling) const {
  const Coupling& within = couplings_[coupling];
  if (within.source() != within.target()) return {};
  return within.lateral_weights(layers_[static_cast<std::size_t>(within.source())].shape);
}

void Topology::check() const {
  require(layers_.size() >= 2, "Topology", "A network has an input layer and at least one more.",
          layers_.size(), " layers");
  std::set<std::string> names;
  for (const auto& layer : layers_) {
    check_shape(layer);
    require(names.insert(layer.name).second, "Topology", "Layer names are different.", "'",
            layer.name, "' twice");
  }
  const auto count = static_cast<Index>(layers_.size());
  std::set<std::pair<Index, Index>> seen;
  std::set<Index> coupled;
  for (const Coupling& coupling : couplings_) {
    const Index source = coupling.source(), target = coupling.target();
    require(source >= 0 && source < count && target >= 0 && target < count, "Topology",
            "A coupling joins two layers of the network.", source, " -> ", target, " among ", count,
            " layers");
    check_pair(coupling);
    const std::string &first = layers_[static_cast<std::size_t>(source)].name,
                      &second = layers_[static_cast<std::size_t>(target)].name;
    const auto pair = std::minmax(source, target);
    require(coupling.as<Dense>() == nullptr || seen.insert(pair).second, "Topology",
            "At most one dense coupling joins a pair of layers, in either direction: the sum of "
            "two is one.",
            source, " -> ", target, ", a second one of layers '", first, "' and '", second, "'");
    if (source != target) coupled.insert({source, target});
  }
  for (Index k = 0; k < count; ++k)
    require(coupled.count(k) == 1, "Topology", "Every layer is coupled to another.", "layer '",
            layers_[static_cast<std::size_t>(k)].name, "' alone");
}

/// Throws InvalidArgument unless the kind of a coupling may join these two layers of the network.
void Topology::check_pair(const Coupling& coupling) const {
  const Index source = coupling.source(), target = coupling.target();
  const Layer& layer = layers_[static_cast<std::size_t>(source)];
  require(source != target || source > 0, "Topology",
          "The input is clamped, so that no coupling within it acts.", source, " -> ", target,
          ", within layer '", layer.name, "'");
  require(source != target || coupling.lateral_weights(layer.shape).has_value(), "Topology",
          "A coupling within a layer is dense, or a convolution without pooling.", coupling.kind(),
          " ", source, " -> ", target, ", within layer '", layer.name, "'");
}

/// Colours the free layers greedily, in layer order. A chain gets two colours, and so does a chain with additional
/// couplings that skip an even number of layers.
void Topology::color() {
  std::vector<std::vector<std::size_t>> earlier(num_free());  // coupled layers before each layer
  for (const auto e : inner_) {
    const Index source = couplings_[e].source(), target = couplings_[e].target();
    if (source == target) continue;
    const auto [first, second] = std::minmax(source, target);
    earlier[static_cast<std::size_t>(second) - 1].push_back(static_cast<std::size_t>(first) - 1);
  }
  std::vector<std::size_t> color(num_free());
  for (std::size_t k = 0; k < num_free(); ++k) {
    std::set<std::size_t> taken;
    for (const auto layer : earlier[k]) taken.insert(color[layer]);
    while (taken.count(color[k]) == 1) ++color[k];
    if (color[k] >= blocks_.size()) blocks_.resize(color[k] + 1);
    blocks_[color[k]].push_back(k);
  }
}

bool Topology::has_linear_signals() const {
  return std::all_of(units_.begin(), units_.end(),
                     [](const Units& units) { return units.signal_is_linear(); });
}

bool Topology::holomorphic() const {
  return std::all_of(units_.begin(), units_.end(),
                     [](const Units& units) { return units.holomorphic(); }) &&
         std::all_of(couplings_.begin(), couplings_.end(),
                     [](const Coupling& coupling) { return coupling.holomorphic(); });
}

std::vector<Coupling> chain(std::size_t num_layers) {
  std::vector<Coupling> couplings;
  for (std::size_t k = 1; k < num_layers; ++k)
    couplings.push_back(Dense{static_cast<Index>(k) - 1, static_cast<Index>(k)});
  return couplings;
}

}  // namespace equiprop
