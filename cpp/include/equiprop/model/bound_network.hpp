#pragma once
/// A graph of layers bound to its parameters, without an input.

#include <memory>
#include <vector>

#include "equiprop/base/export.hpp"
#include "equiprop/model/layer_plan.hpp"
#include "equiprop/model/topology.hpp"

namespace equiprop {

/// Edges, units and packed weights of a network with states of scalar S. It shares the memory of the network's
/// parameters.
template <Scalar S>
class EQUIPROP_EXPORT BoundNetwork {
 public:
  using W = WeightOf<S>;  ///< scalar of the parameters

  /// Binds every coupling to the parameters. The weights are not packed until `pack` is called.
  BoundNetwork(std::shared_ptr<const Topology> topology,
               std::shared_ptr<const Parameters<W>> parameters);

  const Topology& topology() const { return *topology_; }           ///< layers and couplings
  const Parameters<W>& parameters() const { return *parameters_; }  ///< parameters theta
  /// Returns the number of free layers.
  std::size_t num_free() const { return topology_->num_free(); }
  /// Returns the units of free layer k.
  const Units& units(std::size_t k) const { return topology_->units(k); }
  /// Returns the block of free layer k in a state.
  const Block& block(std::size_t k) const { return topology_->state()[k]; }
  /// Returns the edge of a coupling. The input is the source of each of its edges.
  const Edge<S>& edge(std::size_t coupling) const { return *edges_[coupling]; }
  /// The free layers at the source and the target of an edge. `source` must not be called for a coupling with the
  /// input.
  ///@{
  std::size_t source(std::size_t coupling) const;
  std::size_t target(std::size_t coupling) const;
  ///@}

  /// Returns the plan of the packed kernels, or nullptr: it exists if the scalar is real and every edge between free
  /// layers supports it. Its steps read the signals of `take_signals`, or the state itself if all signals are linear.
  const LayerPlan<RealOf<S>>* plan() const { return plan_.get(); }
  /// Packs the present weights of all edges and of the plan.
  void pack();
  /// Edge::bilinear and Edge::homogeneous of all edges between free layers.
  ///@{
  bool bilinear() const { return bilinear_; }
  bool homogeneous() const { return homogeneous_; }
  ///@}
  /// Returns true if the drive of layer k depends on its own state: the layer is the source of an edge that is not
  /// bilinear, or it has couplings within.
  bool drives_itself(std::size_t k) const { return drives_itself_[k]; }
  /// Returns true if that drive varies smoothly with the state of layer k. Maxima do not count: by them, the drive
  /// changes only where a winner changes.
  bool bends_itself(std::size_t k) const { return bends_itself_[k]; }
  /// Returns true if layer k has couplings within, or if any layer has.
  ///@{
  bool is_coupled_within(std::size_t k) const { return within_[k]; }
  bool is_coupled_within() const { return any_within_; }
  ///@}
  /// Returns an upper bound of the norm of the matrix by which layer k pulls on itself, for the weights of the last
  /// `pack`; 0 without couplings within.
  double norm_within(std::size_t k) const;

  /// Stores signal(s) of the units with a nonlinear signal and s of the others in `signals`, (units, batch). Does
  /// nothing if all signals are linear.
  void take_signals(const ConstStateRef<S>& s, State<S>& signals) const;
  /// Stores signal'(s) in `slopes` and signal'(s) v in `tangents` for the units with a nonlinear signal, given their
  /// signals, and v in `tangents` for the others. Does nothing if all signals are linear.
  void take_tangents(const State<S>& signals, const ConstStateRef<S>& v, State<S>& slopes,
                     State<S>& tangents) const;
  /// Returns the signal of layer k at s, given the signals of the nonlinear units.
  Signal<S> signal(std::size_t k, const ConstStateRef<S>& s, const State<S>& signals) const;

 private:
  EdgeEnd end_of(Index layer) const;

  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<const Parameters<W>> parameters_;
  std::vector<std::unique_ptr<Edge<S>>> edges_;
  std::vector<bool> drives_itself_, bends_itself_, within_;
  bool any_within_ = false, bilinear_ = true, homogeneous_ = true;
  std::unique_ptr<LayerPlan<RealOf<S>>> plan_;
};

/// Returns the rows of a block in a state.
template <class Matrix>
auto rows_of(Matrix&& a, const Block& block) {
  return a.middleRows(block.offset, block.rows);
}

/// Converts a real number to scalar S.
template <class S>
S real_scalar(double number) {
  return S(static_cast<RealOf<S>>(number));
}

extern template class BoundNetwork<float>;
extern template class BoundNetwork<double>;
extern template class BoundNetwork<Complex>;
extern template class BoundNetwork<Dual<double>>;

}  // namespace equiprop
