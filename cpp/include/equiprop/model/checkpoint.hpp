#pragma once
/// Saving and loading networks: one safetensors file, the network's structure in its metadata.
///
/// The tensors are the blocks W1, ..., B2, ..., b1, ... of the parameters, (source, target) in C order. The
/// metadata are the text `format` and, under `network`, a description in JSON: precision, potential, feedback,
/// layers, couplings. Python's save and load are these functions, so a model is saved by one language
/// and loaded by the other, bit for bit.

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "equiprop/base/export.hpp"
#include "equiprop/model/hopfield.hpp"

namespace equiprop {

/// A network in the precision it was saved in; std::get and std::visit tell which.
using SavedNetwork = std::variant<HopfieldNetwork<float>, HopfieldNetwork<double>>;

/// Everything about a network but its parameters, as JSON; equal networks give equal bytes.
template <class S>
EQUIPROP_EXPORT std::string describe(const HopfieldNetwork<S>& network);

/// The network that `describe` described, its parameters zero. Throws InvalidArgument if the text describes none, or
/// one whose number of parameters is not `num_parameters`, before anything of that size is allocated.
EQUIPROP_EXPORT SavedNetwork network_of(std::string_view description, Index num_parameters);

/// Writes a network to `path`, atomically: the old file stays until the new one is whole. Equal networks give
/// equal bytes.
///
///   save(network, "model.safetensors");
///
/// Throws InvalidArgument if a parameter is not finite or the path leads to a device or pipe, FileError if the file
/// cannot be written; nothing is lost.
template <class S>
EQUIPROP_EXPORT void save(const HopfieldNetwork<S>& network, const std::filesystem::path& path);

/// Reads a network that `save`, in C++ or Python, wrote in this precision; cast() gives the other.
///
///   const HopfieldNetwork<float> network = load<float>("model.safetensors");
///
/// Throws InvalidArgument if the file holds none, is damaged, its arrays do not fit its layers or are not
/// finite, or if it holds one of the other precision; FileError if it cannot be read. Memory of a network's
/// size is allocated once the file has been found to hold that many numbers.
template <class S>
EQUIPROP_EXPORT HopfieldNetwork<S> load(const std::filesystem::path& path);

/// The same, whatever the precision.
EQUIPROP_EXPORT SavedNetwork load_as_saved(const std::filesystem::path& path);

extern template std::string describe(const HopfieldNetwork<float>&);
extern template std::string describe(const HopfieldNetwork<double>&);
extern template void save(const HopfieldNetwork<float>&, const std::filesystem::path&);
extern template void save(const HopfieldNetwork<double>&, const std::filesystem::path&);
extern template HopfieldNetwork<float> load(const std::filesystem::path&);
extern template HopfieldNetwork<double> load(const std::filesystem::path&);

}  // namespace equiprop
