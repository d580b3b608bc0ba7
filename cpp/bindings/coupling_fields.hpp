#pragma once
/// Couplings as tuples, in which Python writes and reads them.

#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "equiprop/model/convolution.hpp"
#include "equiprop/model/topology.hpp"

namespace equiprop::bindings {

using Pair = std::pair<Index, Index>;  ///< a vertical and a horizontal number
/// Kernel, stride, padding, dilation, groups, pooling window and sharpness of a coupling of images.
using ImageFields = std::tuple<Pair, Pair, Pair, Pair, Index, Index, double>;
/// Geometry of a coupling of images, gain of an identity, or nothing.
using KindFields = std::variant<std::monostate, double, ImageFields>;
/// Kind, source and target of a coupling, and the fields of its kind.
using CouplingFields = std::tuple<std::string, Index, Index, KindFields>;

/// Returns the geometry of a coupling of images.
inline ImageFields fields_of(const Windows& w, Index pool, double sharpness = 0) {
  const auto pair = [](const Extent& e) { return Pair(e.y, e.x); };
  return {pair(w.kernel), pair(w.stride), pair(w.padding), pair(w.dilation),
          w.groups,       pool,           sharpness};
}

/// Returns a coupling as a tuple.
inline CouplingFields fields_of(const Coupling& coupling) {
  KindFields fields;
  if (const auto* c = coupling.as<Convolution>()) fields = fields_of(c->windows, c->mean_pool);
  if (const auto* c = coupling.as<MaxPooled>()) fields = fields_of(c->windows, c->pool);
  if (const auto* c = coupling.as<SoftPooled>())
    fields = fields_of(c->windows, c->pool, c->sharpness);
  if (const auto* c = coupling.as<Identity>()) fields = c->gain;
  return {std::string(coupling.kind()), coupling.source(), coupling.target(), fields};
}

/// Returns the coupling of a tuple.
inline Coupling coupling_of(const CouplingFields& coupling) {
  const auto& [kind, source, target, fields] = coupling;
  if (const auto* gain = std::get_if<double>(&fields)) return Identity{source, target, *gain};
  const auto* image = std::get_if<ImageFields>(&fields);
  if (image == nullptr) return Dense{source, target};
  const auto& [kernel, stride, padding, dilation, groups, pool, sharpness] = *image;
  const auto extent = [](const Pair& pair) { return Extent{pair.first, pair.second}; };
  const Windows windows{extent(kernel), extent(stride), extent(padding), extent(dilation), groups};
  if (kind == "max_pooled") return MaxPooled{source, target, windows, pool};
  if (kind == "soft_pooled") return SoftPooled{source, target, windows, pool, sharpness};
  return Convolution{source, target, windows, pool};
}

/// Returns all couplings of a network as tuples.
inline std::vector<CouplingFields> couplings(const Topology& topology) {
  std::vector<CouplingFields> couplings;
  for (const Coupling& coupling : topology.couplings()) couplings.push_back(fields_of(coupling));
  return couplings;
}

}  // namespace equiprop::bindings
