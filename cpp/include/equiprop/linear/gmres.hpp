#pragma once
/// Restarted generalised minimal residuals, for A that need not be symmetric; one system per sample.

#include "equiprop/linear/linear_operator.hpp"

namespace equiprop {

/// GMRES (Saad & Schultz 1986) on D A x = D b: x minimises |D (b - A x)|_2 over a Krylov space of up to
/// `restart` dimensions, then starts again from there. It holds restart + 1 states.
struct GMRES : StoppingRule {
  Index restart = 50;  ///< at least 1

  /// Solves A x = b from x = 0, (units, batch), one system a sample; residuals are |D (b - A x)|.
  template <std::floating_point S>
  EQUIPROP_EXPORT Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

}  // namespace equiprop
