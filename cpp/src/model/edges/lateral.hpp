#pragma once
/// Edges within a layer.

#include <functional>

#include "equiprop/model/edge.hpp"
#include "equiprop/model/lateral_weights.hpp"

namespace equiprop {

/// Returns true if both ends are one free layer.
template <Scalar S>
bool is_lateral(const EdgeEnds<S>& ends) {
  return ends.source.layer >= 0 && ends.source.layer == ends.target.layer;
}

/// Creates an edge that is linear in the signals of two layers.
template <Scalar S>
using MakeEdge = std::function<std::unique_ptr<Edge<S>>(const EdgeEnds<S>&)>;

/// Returns the edge of a coupling within a layer, with the energy -<u, W u> / 2. W is the projection of the weights, see
/// LateralWeights. `make` creates the edge that multiplies by W; it is bound to the projected weights.
template <Scalar S>
std::unique_ptr<Edge<S>> lateral_edge(const EdgeEnds<S>& ends, const LateralWeights& weights,
                                      const MakeEdge<S>& make);

}  // namespace equiprop
