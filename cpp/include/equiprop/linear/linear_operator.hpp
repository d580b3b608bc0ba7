#pragma once
/// A x = b for every sample of a batch at once, where A is known only through its products.

#include <functional>

#include "equiprop/base/iterate.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// out = A v, one system per column: A may differ from sample to sample.
template <Scalar S>
using LinearOperator = std::function<void(const ConstStateRef<S>& v,  // (units, batch)
                                          StateRef<S> out)>;          // (units, batch)

/// A system and the diagonal D it is preconditioned by. D >= 0; where D is 0 the unit does not take
/// part and its x stays 0, so D also restricts A to the free units of a bounded network.
template <Scalar S>
struct LinearSystem {
  const LinearOperator<S>& matrix;
  const State<S>& diagonal;  // (units, batch)
  const State<S>& b;         // (units, batch)

  /// max_i |D b| of each sample: tolerances of linear solvers are relative to it.
  PerSample<double> scale() const {
    const State<S> scaled = diagonal.array() * b.array();
    PerSample<RealOf<S>> out(b.cols());
    max_difference<S>(scaled, State<S>::Zero(b.rows(), b.cols()), out);
    return out.template cast<double>();
  }
};

}  // namespace equiprop
