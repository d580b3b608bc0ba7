#pragma once
/// A cost together with its targets, for Python.

#include "arrays.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop::bindings {

/// Cost without targets: cross-entropy of this logit scale, or the squared error if it is 0.
struct CostKind {
  double logit_scale = 0;
};

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

/// A cost with its targets. `as` converts both to another scalar, for example to dual numbers for the exact limit.
template <class T>
struct BoundCost {
  BoundCost(CostKind kind_, const Array<T>& y) : kind(kind_), targets(as_state<T>(y, -1, "cost")) {}

  AnyCost<T> cost() const { return make_cost<T>(kind, targets); }
  template <class S>
  AnyCost<S> as() const {
    return make_cost<S>(kind, targets);
  }

  CostKind kind;
  State<T> targets;
};

}  // namespace equiprop::bindings
