#pragma once
/// Recurrent Backpropagation (Almeida 1987; Pineda 1987): solve the side network A lambda = dC/ds.

#include "equiprop/base/export.hpp"
#include "equiprop/linear/linear_solver.hpp"
#include "equiprop/second_phase/gradient.hpp"

namespace equiprop {

/// dJ/dtheta = -<lambda, d2E/dtheta ds>, A = d2E/ds2 at s_star restricted to the free units
/// (Scellier & Bengio 2019, sec. 4; the implicit function theorem).
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> recurrent_backpropagation(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost,
    const ConstStateRef<S>& s_star,  // (units, batch)
    const LinearSolver& linear_solver, Wanted wanted = Wanted::everything);

/// The same, and the step of descent that follows; see descend_by_equilibrium_propagation.
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> descend_by_recurrent_backpropagation(const AnyEnergy<S>& energy,
                                                                 const AnyCost<S>& cost,
                                                                 const ConstStateRef<S>& s_star,
                                                                 const LinearSolver& linear_solver,
                                                                 const Descending<S>& descending);

}  // namespace equiprop
