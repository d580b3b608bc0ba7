#pragma once
/// Saving and loading of networks, as one safetensors file with the structure of the network in its metadata.
///
/// The tensors are the blocks W1, ..., B2, ..., b1, ... of the parameters; weights are (source, target) in C order. The
/// metadata are `format` and, under `network`, a description in JSON: precision, potential, feedback, layers,
/// couplings. Python's save and load call these functions, so a file of one language can be loaded in the other, bit
/// for bit.
///
/// Format 2 can be extended by fields. Tensors of a field have its name and a dot in front: `scaling.offset` and
/// `scaling.factor`, float64 of shape () or (inputs), are the Scaling. `requires` in the metadata lists, in JSON, the
/// fields without which the network cannot be used; a file that requires an unknown field is refused, and other unknown
/// fields are ignored. Files of format 1, which have no fields, are read too.

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "equiprop/base/export.hpp"
#include "equiprop/model/hopfield.hpp"

namespace equiprop {

/// A network in the precision in which it was saved; use std::visit or std::get.
using SavedNetwork = std::variant<HopfieldNetwork<float>, HopfieldNetwork<double>>;

/// Returns the structure of a network without its parameters, as JSON. Equal structures give equal bytes.
template <class S>
EQUIPROP_EXPORT std::string describe(const HopfieldNetwork<S>& network);

/// Returns the network of a description from `describe`, with all parameters zero. Throws InvalidArgument if the text
/// is invalid or the network has not `num_parameters` parameters; this is checked before memory is allocated.
EQUIPROP_EXPORT SavedNetwork network_of(std::string_view description, Index num_parameters);

/// Writes a network to `path`. The write is atomic: an old file is replaced only by the complete new one. Equal
/// networks give equal bytes.
///
///   save(network, "model.safetensors");
///
/// Throws InvalidArgument if a parameter is not finite or the path leads to a device or pipe, FileError if the file
/// cannot be written; an old file is then unchanged.
template <class S>
EQUIPROP_EXPORT void save(const HopfieldNetwork<S>& network, const std::filesystem::path& path);

/// Reads a network that `save` wrote in this precision, in C++ or Python. HopfieldNetwork::cast converts it to the
/// other precision.
///
///   const HopfieldNetwork<float> network = load<float>("model.safetensors");
///
/// Throws InvalidArgument if the file holds no network, is damaged, requires a field that this version does not know,
/// holds a network of the other precision, or if its arrays do not fit its layers or are not finite; FileError if it cannot be read. Memory for the network is allocated only
/// after the size of the file has been checked.
template <class S>
EQUIPROP_EXPORT HopfieldNetwork<S> load(const std::filesystem::path& path);

/// Reads a network that `save` wrote, in the precision in which it was saved. Throws like `load`.
EQUIPROP_EXPORT SavedNetwork load_as_saved(const std::filesystem::path& path);

extern template std::string describe(const HopfieldNetwork<float>&);
extern template std::string describe(const HopfieldNetwork<double>&);
extern template void save(const HopfieldNetwork<float>&, const std::filesystem::path&);
extern template void save(const HopfieldNetwork<double>&, const std::filesystem::path&);
extern template HopfieldNetwork<float> load(const std::filesystem::path&);
extern template HopfieldNetwork<double> load(const std::filesystem::path&);

}  // namespace equiprop
