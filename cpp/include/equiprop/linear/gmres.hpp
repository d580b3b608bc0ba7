#pragma once
/// Restarted GMRES (generalised minimal residuals) for A that may be nonsymmetric, one linear system per sample.

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// GMRES (Saad & Schultz 1986) on D A x = D b: minimises |D (b - A x)|_2 over a Krylov space of up to `restart`
/// dimensions, then restarts from that x. It stores restart + 1 states.
struct GMRES : StoppingRule {
  Index restart = 50;  ///< largest dimension of the Krylov space, at least 1

  /// Solves A x = b from x = 0, (units, batch), one system per sample. Residuals are max |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
