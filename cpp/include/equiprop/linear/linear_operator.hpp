#pragma once
/// Linear systems A x = b, one per sample of a batch, where A is available only through products A v.

#include <functional>

#include "equiprop/base/iterate.hpp"

namespace equiprop {

/// Function that computes out = A v, one column per system; A may differ between samples.
template <std::floating_point S>
using LinearOperator = std::function<void(const ConstStateRef<S>& v,  // (units, batch)
                                          StateRef<S> out)>;          // (units, batch)

/// Stores max_i |a_ij| in out_j, (batch,); NaN if any entry of the column is NaN.
template <std::floating_point S>
EQUIPROP_EXPORT void largest_sizes(const ConstStateRef<S>& a, PerSample<double>& out);

/// A linear system and the diagonal D >= 0 that preconditions it. A unit with D = 0 is excluded and keeps x = 0, so D
/// also restricts A to the free units of a bounded network.
template <std::floating_point S>
struct EQUIPROP_EXPORT LinearSystem {
  const LinearOperator<S>& matrix;  ///< the matrix A, as a function
  const State<S>& diagonal;         ///< diagonal D of the preconditioner, (units, batch)
  const State<S>& b;                ///< right-hand side b, (units, batch)

  /// Returns max_i |D b| of each sample, (batch,); the tolerances of linear solvers are relative to it.
  PerSample<double> scale() const;
};

extern template struct LinearSystem<float>;
extern template struct LinearSystem<double>;

}  // namespace equiprop
