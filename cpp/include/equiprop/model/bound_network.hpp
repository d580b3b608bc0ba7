#pragma once
/// A graph of layers with its parameters: what a clamped network computes with, whatever its input.

#include <memory>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/model/layer_plan.hpp"
#include "equiprop/model/topology.hpp"

namespace equiprop {

/// Edges, units and packed weights of a network under states of scalar S. Its parameters are the network's own memory.
template <Scalar S>
class EQUIPROP_EXPORT BoundNetwork {
 public:
  using W = WeightOf<S>;  ///< of the parameters

  /// Binds every coupling to the parameters. Weights are packed by `pack`.
  BoundNetwork(std::shared_ptr<const Topology> topology,
               std::shared_ptr<const Parameters<W>> parameters);

  const Topology& topology() const { return *topology_; }           ///< the graph
  const Parameters<W>& parameters() const { return *parameters_; }  ///< theta
  /// Number of free layers.
  std::size_t num_free() const { return topology_->num_free(); }
  /// Units of free layer k.
  const Units& units(std::size_t k) const { return topology_->units(k); }
  /// Rows of free layer k in a state.
  const Block& block(std::size_t k) const { return topology_->state()[k]; }
  /// The edge of a coupling.
  const Edge<S>& edge(std::size_t coupling) const { return *edges_[coupling]; }
  /// Free layers that a coupling joins; the source of a coupling from the input is not one.
  ///@{
  std::size_t source(std::size_t coupling) const;
  std::size_t target(std::size_t coupling) const;
  ///@}

  /// The packed kernels' plan, or nullptr: it exists for real scalars, linear signals, and edges that have one.
  const LayerPlan<RealOf<S>>* plan() const { return plan_.get(); }
  /// Packs the weights as they are now.
  void pack();

  /// signals = signal(s) of the units whose signal is not linear; s is (units, batch).
  void take_signals(const ConstStateRef<S>& s, State<S>& signals) const;
  /// slopes = signal'(s) and tangents = signal'(s) v of these units, given their signals.
  void take_tangents(const State<S>& signals, const ConstStateRef<S>& v, State<S>& slopes,
                     State<S>& tangents) const;
  /// What layer k sends at s, given the signals of nonlinear units.
  Signal<S> signal(std::size_t k, const ConstStateRef<S>& s, const State<S>& signals) const;

 private:
  EdgeEnd end_of(Index layer) const;

  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<const Parameters<W>> parameters_;
  std::vector<std::unique_ptr<const Edge<S>>> edges_;
  std::unique_ptr<LayerPlan<RealOf<S>>> plan_;
};

/// Rows of a block of a state.
template <class Matrix>
auto rows_of(Matrix&& a, const Block& block) {
  return a.middleRows(block.offset, block.rows);
}

/// Resizes an array unless it has this size already.
template <class Matrix>
void resize_to(Matrix& a, Index rows, Index columns) {
  if (a.rows() != rows || a.cols() != columns) a.resize(rows, columns);
}

/// A number of scalar S.
template <class S>
S real_scalar(double number) {
  return S(static_cast<RealOf<S>>(number));
}

extern template class BoundNetwork<float>;
extern template class BoundNetwork<double>;
extern template class BoundNetwork<Complex>;
extern template class BoundNetwork<Dual<double>>;

}  // namespace equiprop
