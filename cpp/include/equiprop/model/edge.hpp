#pragma once
/// Edges: a coupling bound to its weights and to its two layers; edges compute.

#include <memory>
#include <span>

#include "equiprop/base/parameter_sink.hpp"
#include "equiprop/model/shape.hpp"

namespace equiprop {

template <std::floating_point T>
class LayerPlan;

/// The scalar of a network's parameters under states of scalar S: dual and complex states use real weights.
template <Scalar S>
using WeightOf = RealOf<S>;

/// Stores the bias of each channel in every position of every sample: out is (positions * channels, batch).
template <Scalar S>
void set_bias(const ConstParametersRef<WeightOf<S>>& bias, StateRef<S> out) {
  for (Index begin = 0; begin < out.rows(); begin += bias.size())
    out.middleRows(begin, bias.size()).colwise() = bias.template cast<S>();
}

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
  Shape shape;       ///< shape of the layer
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
  /// True for an energy. With separate feedback, the weights within a layer need not be symmetric.
  bool conservative = true;
};

/// The signals of both layers of an edge, or directions along which these signals change.
template <Scalar S>
struct EdgeSignals {
  Signal<S> source;  ///< signal of the source layer
  Signal<S> target;  ///< signal of the target layer
};

/// One coupling with its weights. With u the signals of its layers, its energy is -phi(u_source, u_target), and phi is
/// linear in u_target. The pull on a layer is the derivative of phi with respect to the signal of that layer; with
/// separate feedback, the pull on the source has weights of its own. All arrays of signals are (units, batch).
///
/// An edge within a layer has this layer at both ends. The pull W u of the layer on itself is given once, at the
/// target, and its energy is -phi(u, u) with phi = <u_target, W u_source> / 2.
template <Scalar S>
class Edge {
 public:
  virtual ~Edge() = default;

  /// Reads the present weights; to be called before every other function and after each change of the weights.
  virtual void pack() {}
  /// Adds to out the pull on the layer at `end` at the signals u.
  virtual void pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const = 0;
  /// Adds to out the derivative of the pull on the layer at `end`, at the signals u along v. Op::transpose selects the
  /// transposed Jacobian, which differs if feedback is separate.
  virtual void tangent_pull(End end, Op op, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                            StateRef<S> out) const = 0;
  /// Computes how an input x (inputs, batch) drives the target layer: out = bias + the pull of x on the target. The
  /// bias has one number for each channel.
  virtual void drive(const ConstStateRef<S>& x, const ConstParametersRef<WeightOf<S>>& bias,
                     StateRef<S> out) const {
    set_bias<S>(bias, out);
    pull(End::target, {{S(1), x}, {S(0), x}}, out);
  }
  /// Hands the derivative of sum_k phi(source_k, target_k) with respect to the weights of the pull on the target to a
  /// sink.
  virtual void add_products(std::span<const EdgeSignals<S>> terms,
                            ParameterSink<S>& sink) const = 0;
  /// Hands the derivative of scale <v, pulls at u> with respect to the weights to a sink.
  virtual void add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                                    ParameterSink<S>& sink) const = 0;
  /// Returns true if phi is linear in the signal of the source too.
  virtual bool bilinear() const { return true; }
  /// Returns true if <u_source, pull on the source> = <u_target, pull on the target> = phi.
  virtual bool homogeneous() const { return true; }
  /// Returns an upper bound of the norm of the matrix by which a layer pulls on itself, for the weights of the last
  /// `pack`; 0 for an edge of two layers.
  virtual double norm_bound() const { return 0; }
  /// Adds the pulls of this edge, in both directions, to the plan of the packed kernels. Returns false if the kernels
  /// do not support this kind of edge; the network then relaxes with `pull`. The plan refers to this edge.
  virtual bool plan(LayerPlan<RealOf<S>>& /*plan*/) const { return false; }
};

/// An edge with phi = <u_target, W u_source>.
template <Scalar S>
class BilinearEdge : public Edge<S> {
 public:
  void pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const final {
    multiply(end, Op::none, end == End::target ? u.source : u.target, out);
  }
  void tangent_pull(End end, Op op, const EdgeSignals<S>&, const EdgeSignals<S>& v,
                    StateRef<S> out) const final {
    multiply(end, op, end == End::target ? v.source : v.target, out);
  }
  void add_products(std::span<const EdgeSignals<S>> terms, ParameterSink<S>& sink) const final {
    auto& products = this->products();
    for (const auto& [source, target] : terms)
      products.push_back({target.scale * source.scale, target.rows, source.rows});
    add_outer(forward_, products, sink);
  }
  void add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                            ParameterSink<S>& sink) const final {
    auto& products = this->products();
    const auto add = [&](const Signal<S>& target, const Signal<S>& source) {
      products.push_back({scale * target.scale * source.scale, target.rows, source.rows});
    };
    add(u.target, v.source);
    add(v.target, u.source);
    const std::span<const OuterProduct<S>> both(products);
    if (forward_.offset == backward_.offset) return add_outer(forward_, both, sink);
    add_outer(backward_, both.first(1), sink);
    add_outer(forward_, both.last(1), sink);
  }

 protected:
  /// Keeps the blocks of the weights of both directions.
  explicit BilinearEdge(const EdgeEnds<S>& ends)
      : forward_(ends.forward), backward_(ends.backward) {}

  /// Adds to out the product of W, or W^T for the end at the source, with the signal `other` of the other end.
  /// Op::transpose exchanges the weights of the two directions.
  virtual void multiply(End end, Op op, const Signal<S>& other, StateRef<S> out) const = 0;
  /// Hands the derivative of sum_k scale_k <a_k, W b_k> with respect to W (block `weights`) to a sink.
  virtual void add_outer(const Block& weights, std::span<const OuterProduct<S>> terms,
                         ParameterSink<S>& sink) const = 0;

 private:
  /// Returns empty memory of the thread for products, which keeps its capacity.
  static std::vector<OuterProduct<S>>& products() {
    thread_local std::vector<OuterProduct<S>> memory;
    memory.clear();
    return memory;
  }

  Block forward_, backward_;
};

}  // namespace equiprop
