#pragma once
/// Costs together with their targets, for Python.

#include "arrays.hpp"
#include "equiprop/model/layer_costs.hpp"

namespace equiprop::bindings {

/// Cost without targets: cross-entropy of this logit scale, or the squared error if it is 0.
struct CostKind {
  double logit_scale = 0;
};

template <class T>
using Vector = py::array_t<T, py::array::c_style>;

/// Copies weights of samples, (batch,).
template <class T>
PerSample<T> weights_of(const Vector<T>& given) {
  return Eigen::Map<const PerSample<T>>(given.data(), given.size());
}

/// Sets targets (outputs, batch) to one-hot columns: 1 in the row of the sample's label, 0 elsewhere. Throws
/// InvalidArgument if a label is not one of 0, ..., outputs - 1.
template <class T, class Labels>
void take_one_hot(const Labels& labels, Index outputs, State<T>& targets, std::string_view where) {
  require(labels.size() == 0 || (labels.minCoeff() >= 0 && labels.maxCoeff() < outputs), where,
          "Class labels are 0 to " + std::to_string(outputs - 1) + ".",
          labels.size() > 0 ? labels.minCoeff() : 0, " to ",
          labels.size() > 0 ? labels.maxCoeff() : 0);
  targets.setZero(outputs, labels.size());
  for (Index j = 0; j < labels.size(); ++j) targets(static_cast<Index>(labels(j)), j) = T(1);
}

template <class S, class Targets>
AnyCost<S> make_cost(CostKind kind, const Targets& y) {
  const State<S> targets = y.template cast<S>();
  if (kind.logit_scale == 0) return SquaredError<S>(targets);
  return CrossEntropy<S>(targets, kind.logit_scale);
}

/// A cost of one layer with its targets (units, batch); see LayerCost.
template <class T>
struct BoundLayer {
  CostKind kind;
  State<T> targets;
  Index begin = 0;
  double scale = 1;
};

/// Costs with their targets and with weights of the samples, which may be empty. `as` converts all to another scalar,
/// for example to dual numbers for the exact limit.
template <class T>
struct BoundCost {
  /// Creates the cost of the outputs.
  BoundCost(CostKind kind, const Array<T>& y)
      : layers{{kind, as_state<T>(y, -1, "cost")}}, rows(layers.front().targets.rows()) {}
  /// Creates the costs of layers among the last `count` units of a state.
  BoundCost(Index count, std::vector<BoundLayer<T>> costs) : layers(std::move(costs)), rows(count) {
    cost();  // throws unless they fit together
  }

  AnyCost<T> cost() const { return as<T>(); }
  template <class S>
  AnyCost<S> as() const {
    return unweighted<S>().weighted(weights.template cast<RealOf<S>>());
  }
  Index batch() const { return layers.front().targets.cols(); }
  /// Returns a copy with other weights. Throws InvalidArgument unless there is one finite weight >= 0 for each sample.
  BoundCost weighted(const Vector<T>& given) const {
    BoundCost other(*this);
    other.weights = weights_of<T>(given);
    check_sample_weights(other.weights, batch());
    return other;
  }

  std::vector<BoundLayer<T>> layers;
  Index rows;  ///< number of the last units of a state that the cost reads
  PerSample<T> weights;

 private:
  template <class S>
  AnyCost<S> unweighted() const {
    const BoundLayer<T>& first = layers.front();
    if (first.targets.rows() == rows && first.scale == 1)
      return make_cost<S>(first.kind, first.targets);
    std::vector<LayerCost<S>> costs;
    for (const auto& [kind, targets, begin, scale] : layers)
      costs.push_back({begin, make_cost<S>(kind, targets), scale});
    return LayerCosts<S>(rows, std::move(costs));
  }
};

}  // namespace equiprop::bindings
