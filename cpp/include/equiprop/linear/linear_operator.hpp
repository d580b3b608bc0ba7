#pragma once
/// Systems A x = b, one for each sample of a batch, where A is known only through its products.

#include <functional>

#include "equiprop/base/iterate.hpp"

namespace equiprop {

/// out = A v, one system per column: A may differ from sample to sample.
template <std::floating_point S>
using LinearOperator = std::function<void(const ConstStateRef<S>& v,  // (units, batch)
                                          StateRef<S> out)>;          // (units, batch)

/// out_j = max_i |a_ij|, NaN if any entry is NaN.
template <std::floating_point S>
EQUIPROP_EXPORT void largest_sizes(const ConstStateRef<S>& a, PerSample<double>& out);

/// A system and the diagonal D >= 0 that preconditions it. A unit whose D is 0 does not take part, and its x stays 0: D
/// also restricts A to the free units of a bounded network.
template <std::floating_point S>
struct EQUIPROP_EXPORT LinearSystem {
  const LinearOperator<S>& matrix;  ///< A
  const State<S>& diagonal;         ///< D, (units, batch)
  const State<S>& b;                ///< (units, batch)

  /// max_i |D b| of each sample: tolerances of linear solvers are relative to it.
  PerSample<double> scale() const;
};

extern template struct LinearSystem<float>;
extern template struct LinearSystem<double>;

}  // namespace equiprop
