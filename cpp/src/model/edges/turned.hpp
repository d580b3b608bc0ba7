#pragma once
/// An edge seen from its other end.

#include "equiprop/base/error.hpp"
#include "equiprop/model/edge.hpp"

namespace equiprop {

/// An edge whose source and target are the target and the source of another edge, which is linear in both signals. The
/// energy is that of the other edge; the weights keep their shape.
template <Scalar S>
class TurnedEdge final : public Edge<S> {
 public:
  /// Keeps the other edge. Throws InvalidArgument unless it is bilinear.
  explicit TurnedEdge(std::unique_ptr<Edge<S>> edge) : edge_(std::move(edge)) {
    require(edge_->bilinear(), "clamp",
            "A coupling with the input as its target is linear in the signal of its source.",
            "one that is not");
  }

  void pack() override { edge_->pack(); }
  void pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const override {
    edge_->pull(turned(end), turned(u), out);
  }
  void tangent_pull(End end, Op op, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                    StateRef<S> out) const override {
    edge_->tangent_pull(turned(end), op, turned(u), turned(v), out);
  }
  void add_products(std::span<const EdgeSignals<S>> terms, ParameterSink<S>& sink) const override {
    std::vector<EdgeSignals<S>> others;
    for (const EdgeSignals<S>& u : terms) others.push_back(turned(u));
    edge_->add_products(others, sink);
  }
  void add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                            ParameterSink<S>& sink) const override {
    edge_->add_tangent_products(scale, turned(u), turned(v), sink);
  }

 private:
  static End turned(End end) { return end == End::source ? End::target : End::source; }
  static EdgeSignals<S> turned(const EdgeSignals<S>& u) { return {u.target, u.source}; }

  std::unique_ptr<Edge<S>> edge_;
};

}  // namespace equiprop
