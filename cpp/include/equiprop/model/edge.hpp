#pragma once
/// Edges: a coupling bound to its weights and to its two layers; edges compute.

#include <memory>
#include <span>

#include "equiprop/base/parameter_sink.hpp"

namespace equiprop {

template <std::floating_point T>
class LayerPlan;

/// The scalar of a network's parameters under states of scalar S: dual and complex states use real weights.
template <Scalar S>
using WeightOf = RealOf<S>;

/// The two ends of a coupling.
enum class End { source, target };

/// The signal that a layer sends along its couplings: scale * rows, (units, batch). For a linear signal `rows` is a
/// view of the state and `scale` the gain, so nothing is copied.
template <Scalar S>
struct Signal {
  S scale;                ///< common factor
  ConstStateRef<S> rows;  ///< view of the signals or of the state, (units, batch)
};

/// One end of an edge: a layer.
struct EdgeEnd {
  Index layer = -1;  ///< number of a free layer, or -1 for the clamped input
  Index begin = 0;   ///< first row of the layer in a state
  Index units = 0;   ///< number of units
  double gain = 1;   ///< gain of the layer's signal if it is linear
};

/// All data that an edge is bound to.
template <Scalar S>
struct EdgeEnds {
  const WeightOf<S>* parameters;  ///< theta; its memory must outlive the edge
  Block forward;                  ///< weights by which the source pulls on the target
  /// Weights by which the target pulls on the source; they are `forward` itself unless feedback is separate.
  Block backward;
  EdgeEnd source;  ///< source layer
  EdgeEnd target;  ///< target layer
};

/// The products of one coupling. With u the signals of its layers, its energy is -<u_target, W u_source>. The pull on a
/// layer is minus the derivative of that energy with respect to the layer's signal.
template <Scalar S>
class Edge {
 public:
  virtual ~Edge() = default;

  /// Adds to out (units, batch) the pull on the layer at `end`, given the signal `other` of the layer at the other end.
  /// Op::transpose selects the weights of the transposed Jacobian: with separate feedback, those of the other
  /// direction.
  virtual void pull(End end, Op op, const Signal<S>& other, StateRef<S> out) const = 0;
  /// Computes how an input x (inputs, batch) drives the target layer: out = bias + the pull of x on the target.
  virtual void drive(const ConstStateRef<S>& x, const ConstParametersRef<WeightOf<S>>& bias,
                     StateRef<S> out) const {
    out.colwise() = bias.template cast<S>();
    pull(End::target, Op::none, {S(1), x}, out);
  }
  /// Hands the derivative of sum_k scale_k <a_k, W b_k> with respect to the weights W (block `weights`) to a sink; a_k
  /// are signals of the target and b_k signals of the source.
  virtual void add_products(const Block& weights, std::span<const OuterProduct<S>> terms,
                            ParameterSink<S>& sink) const = 0;
  /// Adds the pulls of this edge, in both directions, to the plan of the packed kernels. Returns false if the kernels
  /// do not support this kind of edge; the network then relaxes with `pull`.
  virtual bool plan(LayerPlan<RealOf<S>>& /*plan*/) const { return false; }
};

}  // namespace equiprop
