#pragma once
/// A cost with its targets, as Python holds it.

#include "arrays.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop::bindings {

enum class CostKind { squared_error, cross_entropy };

template <class S, class Targets>
AnyCost<S> make_cost(CostKind kind, const Targets& y) {
  const State<S> targets = y.template cast<S>();
  if (kind == CostKind::squared_error) return SquaredError<S>(targets);
  return CrossEntropy<S>(targets);
}

/// A cost and its targets; the dual version of it is made when an exact limit asks for one.
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
