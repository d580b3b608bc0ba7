#include "equiprop/model/layer_costs.hpp"

namespace equiprop {
namespace {

/// Returns the rows of a layer in a matrix of all rows that the sum reads.
template <class Matrix>
auto rows_of(Matrix& all, const CostedLayer& layer) {
  return all.middleRows(layer.rows.begin, layer.rows.size);
}

template <class S>
S factor(const LayerCost<S>& cost) {
  return S(static_cast<RealOf<S>>(cost.scale));
}

}  // namespace

template <class S>
LayerCosts<S>::LayerCosts(Index rows, std::vector<LayerCost<S>> costs)
    : rows_(rows), costs_(std::move(costs)) {
  for (const auto& [begin, cost, scale] : costs_)
    layers_.push_back({{begin, cost.num_rows()}, scale * cost.stiffness()});
  check();
}

template <class S>
void LayerCosts<S>::check() const {
  constexpr const char* where = "LayerCosts";
  require(!costs_.empty(), where, "At least one layer has a cost.", "none");
  std::vector<bool> taken(static_cast<std::size_t>(rows_), false);
  for (std::size_t k = 0; k < costs_.size(); ++k) {
    const auto& [begin, cost, scale] = costs_[k];
    require(scale > 0 && std::isfinite(scale), where, "A scale is positive and finite.", scale);
    require(cost.batch() == batch(), where, "All layers have one target for each sample.",
            cost.batch(), " and ", batch(), " targets");
    require(begin >= 0 && begin + cost.num_rows() <= rows_, where,
            "A layer lies in the rows that the sum reads.", cost.num_rows(), " units from row ",
            begin, " on of ", rows_);
    for (Index i = begin; i < begin + cost.num_rows(); ++i) {
      require(!taken[static_cast<std::size_t>(i)], where, "A layer has one cost.", "two on row ",
              i);
      taken[static_cast<std::size_t>(i)] = true;
    }
  }
}

template <class S>
double LayerCosts<S>::stiffness() const {
  double largest = 0;
  for (const CostedLayer& layer : layers_) largest = std::max(largest, layer.stiffness);
  return largest;
}

template <class S>
void LayerCosts<S>::value(const ConstStateRef<S>& s, PerSample<S>& out) const {
  PerSample<S> term(s.cols());
  fill(out, 0, s.cols());
  for (std::size_t k = 0; k < costs_.size(); ++k) {
    costs_[k].cost.value(rows_of(s, layers_[k]), term);
    out += factor(costs_[k]) * term;
  }
}

template <class S>
void LayerCosts<S>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
  out.setZero();
  for (std::size_t k = 0; k < costs_.size(); ++k) {
    costs_[k].cost.gradient(rows_of(s, layers_[k]), rows_of(out, layers_[k]));
    rows_of(out, layers_[k]) *= factor(costs_[k]);
  }
}

template <class S>
void LayerCosts<S>::hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                           StateRef<S> out) const {
  out.setZero();
  for (std::size_t k = 0; k < costs_.size(); ++k) {
    costs_[k].cost.hessian_vector_product(rows_of(s, layers_[k]), rows_of(v, layers_[k]),
                                          rows_of(out, layers_[k]));
    rows_of(out, layers_[k]) *= factor(costs_[k]);
  }
}

template <class S>
LayerCosts<S> LayerCosts<S>::select(Samples which) const {
  LayerCosts some(*this);
  for (LayerCost<S>& layer : some.costs_) layer.cost = layer.cost.select(which);
  return some;
}

template class LayerCosts<float>;
template class LayerCosts<double>;
template class LayerCosts<Complex>;
template class LayerCosts<Dual<double>>;

}  // namespace equiprop
