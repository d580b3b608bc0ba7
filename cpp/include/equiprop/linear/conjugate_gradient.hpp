#pragma once
/// Preconditioned conjugate gradients for symmetric positive definite A, one system per sample.

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// Hestenes & Stiefel (1952) with the diagonal preconditioner D. A product p^T A p <= 0 ends a sample with
/// Status::indefinite: A is not positive definite, so the fixed point it was taken at is not stable. The sample keeps
/// its x, or D b if x is still 0, as truncated Newton methods do (Dembo & Steihaug 1983).
struct ConjugateGradient : StoppingRule {
  /// Solves A x = b from x = 0, (units, batch), one system a sample; residuals are |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
