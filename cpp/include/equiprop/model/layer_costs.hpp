#pragma once
/// Costs of several layers: local or auxiliary losses on hidden layers, with that of the outputs or instead of it.

#include <vector>

#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// A cost of the units of one layer, and its factor in the sum.
template <class S>
struct LayerCost {
  Index begin;       ///< first row of the layer, counted from the first row that the sum reads
  AnyCost<S> cost;   ///< cost C_k(s_k, y_k) of its units; weights of samples are ignored
  double scale = 1;  ///< factor, positive
};

/// The sum C = sum_k scale_k C_k(s_k, y_k) over layers k, a function of the last `num_rows()` units of a state.
template <class S>
class EQUIPROP_EXPORT LayerCosts {
 public:
  using Scalar = S;  ///< scalar of states and targets

  /// Creates the sum. Throws InvalidArgument unless there is a cost, all have one batch size, their scales are positive
  /// and finite, and their layers are different rows of the last `rows` units.
  LayerCosts(Index rows, std::vector<LayerCost<S>> costs);

  /// Functions of the concepts Cost and ActsOnLayers.
  ///@{
  Index num_rows() const { return rows_; }
  Index batch() const { return costs_.front().cost.batch(); }
  double stiffness() const;
  std::span<const CostedLayer> layers() const { return layers_; }
  void value(const ConstStateRef<S>& s, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  LayerCosts select(Samples which) const;
  ///@}

 private:
  void check() const;

  Index rows_;
  std::vector<LayerCost<S>> costs_;
  std::vector<CostedLayer> layers_;
};

extern template class LayerCosts<float>;
extern template class LayerCosts<double>;
extern template class LayerCosts<Complex>;
extern template class LayerCosts<Dual<double>>;

}  // namespace equiprop
