#pragma once
/// Richardson iteration: x <- x + step_size D (b - A x).
///
/// If A is the Hessian at a fixed point and b = dC/ds there, this is the side network of Almeida (1987) and Pineda
/// (1987), integrated by Euler steps; b - A x is its error derivative (Scellier & Bengio 2019, eq. 5).

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// Richardson iteration with a fixed step.
struct Richardson : StoppingRule {
  double step_size = 0.5;  ///< step length; stable below 2 / (largest eigenvalue of D A)

  /// Solves A x = b from x = 0, (units, batch), one system per sample. Residuals are max |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

/// The Neumann series x = sum_k (I - D A)^k D b (Liao et al. 2018, Neumann-RBP). Its partial sums are computed as the
/// iterates of Richardson with step size 1.
struct Neumann : StoppingRule {
  /// Solves A x = b from x = 0, (units, batch), one system per sample. Residuals are max |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
