#pragma once
/// Edges: a coupling bound to its weights and to the two layers it joins, ready to compute.

#include <memory>
#include <span>

#include "equiprop/base/parameter_sink.hpp"

namespace equiprop {

template <std::floating_point T>
class LayerPlan;

/// The type of a network's parameters under states of scalar S: real weights serve dual and complex states too.
template <Scalar S>
using WeightOf = RealOf<S>;

/// One of the two layers that a coupling joins.
enum class End { source, target };

/// The signal that a layer sends along its couplings: scale * rows, (units, batch). A linear signal is a view of the
/// state with its gain as the scale, so it needs no copy.
template <Scalar S>
struct Signal {
  S scale;                ///< of all
  ConstStateRef<S> rows;  ///< (units, batch)
};

/// A layer as an edge sees it.
struct EdgeEnd {
  Index layer = -1;  ///< number of a free layer, -1 for the clamped input
  Index begin = 0;   ///< its first row in a state
  Index units = 0;   ///< its rows
  double gain = 1;   ///< of its signal, where that is linear
};

/// All that an edge is bound to.
template <Scalar S>
struct EdgeEnds {
  const WeightOf<S>* parameters;  ///< theta; its memory must outlive the edge
  Block forward;                  ///< weights by which the source pulls on the target
  /// weights by which the target pulls on the source; `forward` itself unless feedback is separate
  Block backward;
  EdgeEnd source;  ///< one layer
  EdgeEnd target;  ///< the other one
};

/// The products of one coupling. With u its layers' signals, its energy is -<u_target, W u_source>; the pull on a layer
/// is minus the derivative of that energy with respect to the signal of the layer.
template <Scalar S>
class Edge {
 public:
  virtual ~Edge() = default;

  /// out += the pull on the layer at `end`, (units, batch), of the signal `other` of the layer at the other end.
  /// Op::transpose takes the weights of the transposed Jacobian: with separate feedback, those of the other direction.
  virtual void pull(End end, Op op, const Signal<S>& other, StateRef<S> out) const = 0;
  /// out = bias + the pull on the target of the signal `x` (units, batch) of the source: how an input drives a layer.
  virtual void drive(const ConstStateRef<S>& x, const ConstParametersRef<WeightOf<S>>& bias,
                     StateRef<S> out) const {
    out.colwise() = bias.template cast<S>();
    pull(End::target, Op::none, {S(1), x}, out);
  }
  /// Hands the derivative by the weights `weights` of sum_k scale_k <a_k, W b_k> to a sink, with a_k signals of the
  /// target and b_k of the source.
  virtual void add_products(const Block& weights, std::span<const OuterProduct<S>> terms,
                            ParameterSink<S>& sink) const = 0;
  /// Adds the edge's passes, in both directions, to the plan of the packed kernels. Returns false if the kernels have
  /// none for it: the network then relaxes by `pull`.
  virtual bool plan(LayerPlan<RealOf<S>>& /*plan*/) const { return false; }
};

}  // namespace equiprop
