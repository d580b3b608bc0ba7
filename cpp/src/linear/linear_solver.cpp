#include "equiprop/linear/linear_solver.hpp"

namespace equiprop {

template <std::floating_point S>
Report solve(const LinearSolver& solver, const LinearSystem<S>& system, StateRef<S> x) {
  Report report = std::visit([&](const auto& chosen) { return chosen.solve(system, x); }, solver);
  const PerSample<double> scale = system.scale();
  report.residual = (scale > 0).select(report.residual / scale, report.residual);
  return report;
}

template Report solve(const LinearSolver&, const LinearSystem<float>&, StateRef<float>);
template Report solve(const LinearSolver&, const LinearSystem<double>&, StateRef<double>);

}  // namespace equiprop
