#pragma once
/// The choice of a linear solver at run time.

#include <variant>

#include "equiprop/linear/conjugate_gradient.hpp"
#include "equiprop/linear/gmres.hpp"
#include "equiprop/linear/richardson.hpp"

namespace equiprop {

/// A linear solver with its options.
using LinearSolver = std::variant<ConjugateGradient, Richardson, Neumann, GMRES>;

/// Solves A x = b from x = 0, (units, batch), one system per sample; see LinearSystem for the diagonal D. The reported
/// residual is max_i |D (b - A x)| / max_i |D b|.
template <std::floating_point S>
EQUIPROP_EXPORT Report solve(const LinearSolver& solver, const LinearSystem<S>& system,
                             StateRef<S> x);

}  // namespace equiprop
