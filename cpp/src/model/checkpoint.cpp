#include "equiprop/model/checkpoint.hpp"

#include <optional>

#include "base/json.hpp"
#include "base/text.hpp"
#include "equiprop/base/safetensors.hpp"
#include "model/description.hpp"

namespace equiprop {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr auto format = "equiprop.HopfieldNetwork.2"sv;
constexpr auto first_format = "equiprop.HopfieldNetwork.1"sv;  // has no fields
const std::string offset_name = "scaling.offset", factor_name = "scaling.factor";

template <class S>
constexpr TensorType precision = std::same_as<S, float> ? TensorType::f32 : TensorType::f64;

template <class S>
HopfieldNetwork<S> unset(const Topology& topology) {
  return HopfieldNetwork<S>(topology);
}

// ---------------------------------------------------------------------------- files

/// Returns the tensor of an offset or a factor; that for all inputs has no dimensions.
TensorView numbers_of(const Scaling::Vector& numbers) {
  std::vector<Index> shape;
  if (numbers.size() != 1) shape.push_back(numbers.size());
  return {TensorType::f64, shape,
          std::as_bytes(std::span(numbers.data(), static_cast<std::size_t>(numbers.size())))};
}

/// An open file of a saved network, whose description has been checked against its tensors.
struct Saved {
  SafetensorsFile file;
  Description description;
};

/// Returns true for the name of a tensor of a field, such as "scaling.offset"; names of blocks have no dot.
bool belongs_to_field(std::string_view name) {
  return name.find('.') != name.npos;
}

void check_format(const SafetensorsFile& file) {
  const auto& metadata = file.metadata();
  const auto found = metadata.find("format");
  const bool known = found != metadata.end() &&
                     (found->second == format || found->second == first_format) &&
                     metadata.contains("network");
  require(known, "load", concatenated("The file holds a network saved by equiprop (", format, ")."),
          found == metadata.end() ? "none"s : in_quotes(found->second), file.origin());
}

/// Throws InvalidArgument unless the fields that a reader must know are in the file and known to this version.
void check_required(const SafetensorsFile& file) {
  const auto found = file.metadata().find("requires");
  if (found == file.metadata().end()) return;
  json::Reader reader(found->second, "load", file.origin());
  constexpr auto rule = "The fields that a model file requires are a list of names."sv;
  reader.list(rule, [&] {
    const std::string name = reader.string(rule);
    require(name == "scaling" && file.tensors().contains(offset_name), "load",
            "A model file has each field that it requires, and this version of equiprop knows it.",
            in_quotes(name), file.origin());
  });
  reader.end();
}

Description checked_description(const SafetensorsFile& file) {
  try {
    return read_description(file.metadata().at("network"));
  } catch (const InvalidArgument& error) {
    require(false, "load", "The metadata describe a network.", '"', printable(error.what(), 250),
            '"', file.origin());
    throw;
  }
}

void check_tensors(const SafetensorsFile& file, const Description& description) {
  const auto& blocks = description.topology.parameters().blocks();
  constexpr auto rule = "The arrays of a saved network fit its layers."sv;
  std::size_t count = 0;
  for (const auto& [name, entry] : file.tensors()) count += belongs_to_field(name) ? 0u : 1u;
  require(count == blocks.size(), "load", rule, count, " arrays for ", blocks.size(), " blocks",
          file.origin());
  for (std::size_t k = 0; k < blocks.size(); ++k) {
    const auto found = file.tensors().find(blocks[k].name);
    require(found != file.tensors().end() && found->second.type == description.type &&
                found->second.shape == blocks[k].shape,
            "load", rule, found == file.tensors().end() ? "no " : "another type or shape of ",
            blocks[k].name, file.origin());
  }
}

/// Returns the numbers of a tensor of a scaling, if it has one for all inputs or for each.
Scaling::Vector read_numbers(const SafetensorsFile& file, const std::string& name, Index inputs) {
  const auto found = file.tensors().find(name);
  const bool fits = found != file.tensors().end() && found->second.type == TensorType::f64 &&
                    (found->second.shape.empty() || found->second.shape == std::vector{inputs});
  require(fits, "load",
          "The offset and the factor of a scaling are float64, one for all inputs or for each.",
          found == file.tensors().end() ? "no " : "another type or shape of ", name, file.origin());
  Scaling::Vector numbers(found->second.shape.empty() ? 1 : inputs);
  file.read(found->second, reinterpret_cast<std::byte*>(numbers.data()));
  return numbers;
}

std::optional<Scaling> read_scaling(const SafetensorsFile& file, Index inputs) {
  if (!file.tensors().contains(offset_name) && !file.tensors().contains(factor_name)) return {};
  Scaling::Vector offset = read_numbers(file, offset_name, inputs);
  Scaling::Vector factor = read_numbers(file, factor_name, inputs);
  require(Scaling::valid(offset, factor), "load",
          "A scaling has as many finite offsets as positive factors.",
          offset.size() == factor.size() ? "other numbers" : "different numbers of them",
          file.origin());
  return Scaling(std::move(offset), std::move(factor));
}

Saved open(const std::filesystem::path& path) {
  SafetensorsFile file(path, "load");
  check_format(file);
  check_required(file);
  Description description = checked_description(file);
  check_tensors(file, description);
  return {std::move(file), std::move(description)};
}

template <class S>
HopfieldNetwork<S> read(const Saved& saved) {
  HopfieldNetwork<S> network = unset<S>(saved.description.topology);
  for (const auto& block : network.topology().parameters().blocks())
    saved.file.read(saved.file.tensors().at(block.name),
                    reinterpret_cast<std::byte*>(network.parameters().data() + block.offset));
  require(network.parameters().allFinite(), "load", "Parameters are finite.", "NaN or infinity",
          saved.file.origin());
  network.set_scaling(read_scaling(saved.file, network.topology().num_inputs()));
  return network;
}

}  // namespace

template <class S>
std::string describe(const HopfieldNetwork<S>& network) {
  return description_text(network.topology(), precision<S>);
}

SavedNetwork network_of(std::string_view description, Index num_parameters) {
  const auto [type, topology] = read_description(description);
  require(topology.parameters().size() == num_parameters, "network_of",
          "The parameters fit the layers.", num_parameters, " for a network of ",
          topology.parameters().size());
  if (type == TensorType::f32) return unset<float>(topology);
  return unset<double>(topology);
}

template <class S>
void save(const HopfieldNetwork<S>& network, const std::filesystem::path& path) {
  require(network.parameters().allFinite(), "save", "Parameters are finite.", "NaN or infinity");
  const Topology& topology = network.topology();
  const auto parameters = std::as_bytes(std::span(
      network.parameters().data(), static_cast<std::size_t>(network.parameters().size())));
  std::map<std::string, TensorView> tensors;
  for (std::size_t k = 0; k < topology.parameters().blocks().size(); ++k) {
    const Block& block = topology.parameters()[k];
    tensors[block.name] = {precision<S>, block.shape,
                           parameters.subspan(sizeof(S) * static_cast<std::size_t>(block.offset),
                                              sizeof(S) * static_cast<std::size_t>(block.size()))};
  }
  std::map<std::string, std::string> metadata{{"format", std::string(format)},
                                              {"network", describe(network)}};
  if (network.scaling()) {
    tensors[offset_name] = numbers_of(network.scaling()->offset());
    tensors[factor_name] = numbers_of(network.scaling()->factor());
    metadata["requires"] = "[\"scaling\"]";
  }
  write_safetensors(path, tensors, metadata, "save");
}

template <class S>
HopfieldNetwork<S> load(const std::filesystem::path& path) {
  const Saved saved = open(path);
  const std::string other = precision<S> == TensorType::f32 ? "double" : "float";
  require(saved.description.type == precision<S>, "load",
          concatenated("A network is loaded in the precision it was saved in; use load<", other,
                       ">, and cast() if another is needed."),
          name_of(saved.description.type), saved.file.origin());
  return read<S>(saved);
}

SavedNetwork load_as_saved(const std::filesystem::path& path) {
  const Saved saved = open(path);
  if (saved.description.type == TensorType::f32) return read<float>(saved);
  return read<double>(saved);
}

template std::string describe(const HopfieldNetwork<float>&);
template std::string describe(const HopfieldNetwork<double>&);
template void save(const HopfieldNetwork<float>&, const std::filesystem::path&);
template void save(const HopfieldNetwork<double>&, const std::filesystem::path&);
template HopfieldNetwork<float> load(const std::filesystem::path&);
template HopfieldNetwork<double> load(const std::filesystem::path&);

}  // namespace equiprop
