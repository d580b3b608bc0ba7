#pragma once
/// A cost together with its targets, for Python.

#include "arrays.hpp"
#include "equiprop/model/any_model.hpp"

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

/// A cost with its targets and with weights of the samples, which may be empty. `as` converts all to another scalar,
/// for example to dual numbers for the exact limit.
template <class T>
struct BoundCost {
  BoundCost(CostKind kind_, const Array<T>& y) : kind(kind_), targets(as_state<T>(y, -1, "cost")) {}

  AnyCost<T> cost() const { return as<T>(); }
  template <class S>
  AnyCost<S> as() const {
    return make_cost<S>(kind, targets).weighted(weights.template cast<RealOf<S>>());
  }
  /// Returns a copy with other weights. Throws InvalidArgument unless there is one finite weight >= 0 for each sample.
  BoundCost weighted(const Vector<T>& given) const {
    BoundCost other(*this);
    other.weights = weights_of<T>(given);
    check_sample_weights(other.weights, targets.cols());
    return other;
  }

  CostKind kind;
  State<T> targets;
  PerSample<T> weights;
};

}  // namespace equiprop::bindings
