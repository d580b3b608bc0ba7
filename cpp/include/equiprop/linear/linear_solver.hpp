#pragma once
/// Any of the linear solvers, chosen at run time.

#include <variant>

#include "equiprop/linear/conjugate_gradient.hpp"
#include "equiprop/linear/gmres.hpp"
#include "equiprop/linear/richardson.hpp"

namespace [[gnu::visibility("default")]] equiprop {

using LinearSolver = std::variant<ConjugateGradient, Richardson, Neumann, GMRES>;

/// Solves A x = b from x = 0; see LinearSystem for what the diagonal means. The reported residual is
/// max_i |D (b - A x)| / max_i |D b|.
template <Scalar S>
Report solve(const LinearSolver& solver, const LinearSystem<S>& system, StateRef<S> x) {
  Report report = std::visit([&](const auto& chosen) { return chosen.solve(system, x); }, solver);
  const PerSample<double> scale = system.scale();
  report.residual = (scale > 0).select(report.residual / scale, report.residual);
  return report;
}

}  // namespace equiprop
