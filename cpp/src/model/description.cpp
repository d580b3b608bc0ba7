#include "model/description.hpp"

#include <array>
#include <optional>

#include "base/json.hpp"
#include "base/text.hpp"
#include "equiprop/model/activation_fields.hpp"
#include "equiprop/model/convolution.hpp"

namespace equiprop {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

// The words that a description uses, and their values.
constexpr std::array potentials{std::pair{"legendre"sv, Potential::legendre},
                                std::pair{"quadratic"sv, Potential::quadratic}};
constexpr std::array feedbacks{std::pair{"tied"sv, Feedback::tied},
                               std::pair{"separate"sv, Feedback::separate}};
constexpr std::array formats{std::pair{"channels_last"sv, ImageFormat::channels_last},
                             std::pair{"channels_first"sv, ImageFormat::channels_first}};
constexpr std::array precisions{std::pair{"float32"sv, TensorType::f32},
                                std::pair{"float64"sv, TensorType::f64}};

template <class Words, class Meaning>
std::string word(const Words& words, Meaning meaning) {
  for (const auto& [text, means] : words)
    if (means == meaning) return std::string(text);
  return {};
}

// ---------------------------------------------------------------------------- writing

std::string json_string(std::string_view text) {
  return json::quoted(text, json::Characters::ascii, "save");
}

/// Returns a bound as JSON: null if it is infinite, because JSON has no number for infinity.
std::string bound_text(double bound) {
  return std::isfinite(bound) ? json::number(bound) : "null"s;
}

/// Returns the member for a number of units, or for the shape (channels, height, width) of an image.
std::string shape_text(const Shape& shape) {
  if (shape.positions() == 1) return concatenated(", \"units\": ", shape.units());
  return concatenated(", \"shape\": [", shape.channels, ", ", shape.height, ", ", shape.width, "]");
}

std::string pair_text(std::string_view name, const Extent& pair) {
  return concatenated("\"", name, "\": [", pair.y, ", ", pair.x, "]");
}

/// Returns the members of a coupling of images; `more` are those of its kind.
std::string image_text(const Coupling& coupling, const Windows& w, const std::string& more) {
  return concatenated("{", pair_text("dilation", w.dilation), ", \"groups\": ", w.groups, ", ",
                      pair_text("kernel", w.kernel), ", \"kind\": \"", coupling.kind(),
                      "\", \"layers\": [", coupling.source(), ", ", coupling.target(), "], ",
                      pair_text("padding", w.padding), more, ", ", pair_text("stride", w.stride),
                      "}");
}

std::string coupling_text(const Coupling& coupling) {
  if (const auto* c = coupling.as<Convolution>())
    return image_text(coupling, c->windows, concatenated(", \"pool\": ", c->mean_pool));
  if (const auto* c = coupling.as<MaxPooled>())
    return image_text(coupling, c->windows, concatenated(", \"pool\": ", c->pool));
  if (const auto* c = coupling.as<SoftPooled>())
    return image_text(
        coupling, c->windows,
        concatenated(", \"pool\": ", c->pool, ", \"sharpness\": ", json::number(c->sharpness)));
  if (const auto* c = coupling.as<Identity>())
    return concatenated("{\"gain\": ", json::number(c->gain),
                        ", \"kind\": \"identity\", \"layers\": [", c->source, ", ", c->target,
                        "]}");
  require(coupling.as<Dense>() != nullptr, "save", "A model file holds couplings of the library.",
          coupling.kind());
  return concatenated("[", coupling.source(), ", ", coupling.target(), "]");
}

std::string layer_text(const Layer& layer) {
  const auto [kind, gain, shift, lower, upper] = fields_of(layer.activation);
  return concatenated("{\"activation\": [", json_string(kind), ", ", json::number(gain), ", ",
                      json::number(shift), ", ", bound_text(lower), ", ", bound_text(upper),
                      "], \"name\": ", json_string(layer.name), shape_text(layer.shape), "}");
}

/// Returns the member for the format of input images; it is left out if the input is none.
std::string format_text(const Topology& topology) {
  if (topology.layers().front().shape.positions() == 1) return "";
  return concatenated(", \"image_format\": ", json_string(word(formats, topology.format())));
}

// ---------------------------------------------------------------------------- reading

template <class Words>
auto read_word(json::Reader& reader, const Words& words, std::string_view rule) {
  const std::string found = reader.string(rule);
  for (const auto& [text, meaning] : words)
    if (text == found) return meaning;
  reader.refuse(rule, found);
}

Activation read_activation(json::Reader& reader) {
  constexpr auto rule =
      "An activation is a kind, gain, shift and two bounds, finite numbers or null."sv;
  ActivationFields fields;
  const auto bound = [&](double& value) {
    return [&] {
      if (!reader.null()) value = reader.number(rule);
    };
  };
  reader.tuple(
      rule, [&] { fields.kind = reader.string(rule); }, [&] { fields.gain = reader.number(rule); },
      [&] { fields.shift = reader.number(rule); }, bound(fields.lower), bound(fields.upper));
  return activation_of(fields);
}

Shape read_shape(json::Reader& reader) {
  constexpr auto rule = "The shape of a layer is its channels, rows and columns."sv;
  Shape shape;
  reader.tuple(
      rule, [&] { shape.channels = reader.count(rule); },
      [&] { shape.height = reader.count(rule); }, [&] { shape.width = reader.count(rule); });
  return shape;
}

Layer read_layer(json::Reader& reader) {
  constexpr auto rule = "A layer has a name, units or a shape, and an activation."sv;
  Layer layer;
  bool is_active = false;
  const auto member = [&](const std::string& name) {
    if (name == "name")
      layer.name = reader.string("The name of a layer is text.");
    else if (name == "units")
      layer.shape = reader.count("The units of a layer are a non-negative integer.");
    else if (name == "shape")
      layer.shape = read_shape(reader);
    else if (name == "activation") {
      layer.activation = read_activation(reader);
      is_active = true;
    } else
      reader.refuse(rule, name);
  };
  if (reader.object(rule, member) != 3 || !is_active) reader.refuse(rule, "fewer");
  return layer;
}

/// The members of a coupling of images or of an identity coupling.
struct CouplingMembers {
  std::string kind;
  Extent layers{0, 0};
  Windows windows;
  Index pool = 1;
  double sharpness = 0, gain = 0;
};

Extent read_pair(json::Reader& reader) {
  constexpr auto rule = "The numbers of a coupling of images are pairs of non-negative integers."sv;
  Extent pair;
  reader.tuple(
      rule, [&] { pair.y = reader.count(rule); }, [&] { pair.x = reader.count(rule); });
  return pair;
}

Coupling coupling_of(json::Reader& reader, const CouplingMembers& c) {
  if (c.kind == "identity") return Identity{c.layers.y, c.layers.x, c.gain};
  if (c.kind == "convolution") return Convolution{c.layers.y, c.layers.x, c.windows, c.pool};
  if (c.kind == "max_pooled") return MaxPooled{c.layers.y, c.layers.x, c.windows, c.pool};
  if (c.kind == "soft_pooled")
    return SoftPooled{c.layers.y, c.layers.x, c.windows, c.pool, c.sharpness};
  reader.refuse("A coupling is of a kind of the library.", c.kind);
}

Coupling read_described_coupling(json::Reader& reader) {
  constexpr auto rule =
      "A coupling of images has a kind, layers, kernel, stride, padding, dilation, groups and "
      "pool; "
      "an identity coupling has a kind, layers and a gain."sv;
  CouplingMembers c;
  bool is_sharp = false, has_gain = false;
  const auto member = [&](const std::string& name) {
    if (name == "kind")
      c.kind = reader.string(rule);
    else if (name == "layers")
      c.layers = read_pair(reader);
    else if (name == "kernel")
      c.windows.kernel = read_pair(reader);
    else if (name == "stride")
      c.windows.stride = read_pair(reader);
    else if (name == "padding")
      c.windows.padding = read_pair(reader);
    else if (name == "dilation")
      c.windows.dilation = read_pair(reader);
    else if (name == "groups")
      c.windows.groups = reader.count(rule);
    else if (name == "pool")
      c.pool = reader.count(rule);
    else if (name == "sharpness") {
      c.sharpness = reader.number(rule);
      is_sharp = true;
    } else if (name == "gain") {
      c.gain = reader.number(rule);
      has_gain = true;
    } else
      reader.refuse(rule, name);
  };
  const std::size_t members = reader.object(rule, member);
  if (is_sharp != (c.kind == "soft_pooled") || has_gain != (c.kind == "identity") ||
      members != (has_gain   ? 3u
                  : is_sharp ? 9u
                             : 8u))
    reader.refuse(rule, "other members");
  return coupling_of(reader, c);
}

Coupling read_coupling(json::Reader& reader) {
  constexpr auto rule =
      "A coupling is the positions of two layers, or a coupling of another kind."sv;
  if (reader.at_object()) return read_described_coupling(reader);
  Dense coupling;
  reader.tuple(
      rule, [&] { coupling.source = reader.count(rule); },
      [&] { coupling.target = reader.count(rule); });
  return coupling;
}

}  // namespace

std::string name_of(TensorType type) {
  return word(precisions, type);
}

std::string description_text(const Topology& topology, TensorType type) {
  std::vector<std::string> layers, couplings;
  for (const Layer& layer : topology.layers()) layers.push_back(layer_text(layer));
  for (const Coupling& coupling : topology.couplings())
    couplings.push_back(coupling_text(coupling));
  return concatenated("{\"couplings\": [", joined(couplings, ", "),
                      "], \"dtype\": ", json_string(word(precisions, type)),
                      ", \"feedback\": ", json_string(word(feedbacks, topology.feedback())),
                      format_text(topology), ", \"layers\": [", joined(layers, ", "),
                      "], \"potential\": ", json_string(word(potentials, topology.potential())),
                      "}");
}

Description read_description(std::string_view text) {
  constexpr auto rule = "A network has a dtype, potential, feedback, layers and couplings."sv;
  json::Reader reader(text, "network_of", "");
  std::vector<Layer> layers;
  std::vector<Coupling> couplings;
  std::optional<Potential> potential;
  std::optional<TensorType> type;
  Feedback feedback = Feedback::tied;  // default of a description without it
  ImageFormat image_format = ImageFormat::channels_last;
  reader.object(rule, [&](const std::string& name) {
    if (name == "layers")
      reader.list("The layers are a list.", [&] { layers.push_back(read_layer(reader)); });
    else if (name == "couplings")
      reader.list("The couplings are a list.", [&] { couplings.push_back(read_coupling(reader)); });
    else if (name == "potential")
      potential = read_word(reader, potentials, "The potential is 'legendre' or 'quadratic'.");
    else if (name == "feedback")
      feedback = read_word(reader, feedbacks, "The feedback is 'tied' or 'separate'.");
    else if (name == "image_format")
      image_format =
          read_word(reader, formats, "The image format is 'channels_first' or 'channels_last'.");
    else if (name == "dtype")
      type = read_word(reader, precisions, "The dtype is 'float32' or 'float64'.");
    else
      reader.refuse(rule, name);
  });
  reader.end();
  if (!potential || !type) reader.refuse(rule, "fewer");
  return {*type,
          Topology(std::move(layers), std::move(couplings), *potential, feedback, image_format)};
}

}  // namespace equiprop
