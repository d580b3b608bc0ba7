#pragma once
/// Richardson iteration: x <- x + step_size D (b - A x).
///
/// With A the Hessian at a fixed point and b the error there, this is the side network of Almeida
/// (1987) and Pineda (1987) integrated by Euler, and b - A x its error derivative (Scellier &
/// Bengio 2019, eq. 5).

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// Richardson iteration with a fixed step.
struct Richardson : StoppingRule {
  double step_size = 0.5;  ///< stable below 2 / (largest eigenvalue of D A)

  /// Solves A x = b from x = 0, (units, batch), one system a sample; residuals are |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

/// The Neumann series x = sum_k (I - D A)^k D b. Its partial sums are Richardson's iterates with
/// step size 1, and that is how they are computed (Liao et al. 2018, Neumann-RBP).
struct Neumann : StoppingRule {
  /// Solves A x = b from x = 0, (units, batch), one system a sample; residuals are |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
