#pragma once
/// The description of a network as JSON text, without its numbers; model files and pickles hold it.

#include <string>
#include <string_view>

#include "equiprop/base/safetensors.hpp"
#include "equiprop/model/topology.hpp"

namespace equiprop {

/// The graph of a network and the precision of its parameters, as read from a description.
struct Description {
  TensorType type;    ///< precision of the parameters, f32 or f64
  Topology topology;  ///< graph of the network
};

/// Returns "float32" or "float64".
std::string name_of(TensorType type);
/// Returns the description of a network. Members are in alphabetical order, so equal networks have equal text.
std::string description_text(const Topology& topology, TensorType type);
/// Reads a description. Throws InvalidArgument, whose message starts with "network_of", if it is none.
Description read_description(std::string_view text);

}  // namespace equiprop
