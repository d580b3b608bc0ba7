#pragma once
/// Preconditioned conjugate gradients for symmetric positive definite A, one linear system per sample.

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// Conjugate gradients (Hestenes & Stiefel 1952) with the diagonal preconditioner D. If p^T A p <= 0, the sample stops
/// with Status::indefinite: A is not positive definite, so the fixed point that A belongs to is not stable. The sample
/// keeps its x, or gets D b if x is still 0, as in truncated Newton methods (Dembo & Steihaug 1983).
struct ConjugateGradient : StoppingRule {
  /// Solves A x = b from x = 0, (units, batch), one system per sample. Residuals are max |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
