#pragma once
/// Recurrent Backpropagation (Almeida 1987; Pineda 1987): solves the side network A lambda = dC/ds.

#include "equiprop/base/export.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace equiprop {

/// Calls explain_overflow for the sum weight <lambda, d2E/dtheta ds>.
template <SolvingBatch B>
void explain_product(B& batch, typename B::Scalar weight, Report& report) {
  explain_overflow(
      report, [&](Report& marked) { batch.mark_mixed(free_slot, adjoint_slot, weight, marked); });
}

/// Runs Recurrent Backpropagation on a batch whose free state is in free_slot: stores lambda in adjoint_slot and hands
/// dJ/dtheta = -<lambda, d2E/dtheta ds> to the sink. If a sample diverged or the sums overflow, a sink that changes
/// parameters receives nothing and the status of a sample is `diverged`.
template <SolvingBatch B>
void recurrent_backpropagation(B& batch, const LinearSolver& linear_solver,
                               ParameterSink<typename B::Scalar>& sink, Report& report) {
  using S = typename B::Scalar;
  report = batch.solve(linear_solver, free_slot, adjoint_slot);
  if (sink.needs_bound() && any_diverged(report)) return;
  const S weight = S(-1) / S(static_cast<RealOf<S>>(batch.samples()));
  if (!batch.mixed(free_slot, adjoint_slot, weight, sink)) explain_product(batch, weight, report);
}

/// Returns dJ/dtheta = -<lambda, d2E/dtheta ds> with A lambda = dC/ds, where A is the transposed d2E/ds2 at s_star
/// (units, batch), restricted to the free units (Scellier & Bengio 2019, sec. 4; the implicit function theorem).
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy,
                                                      const AnyCost<S>& cost,
                                                      const ConstStateRef<S>& s_star,
                                                      const LinearSolver& linear_solver,
                                                      Wanted wanted = Wanted::everything);

/// Hands dJ/dtheta to a sink; the derivatives of the returned gradient are empty. A sink that changes parameters
/// receives nothing if a sample diverged.
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy,
                                                      const AnyCost<S>& cost,
                                                      const ConstStateRef<S>& s_star,
                                                      const LinearSolver& linear_solver,
                                                      ParameterSink<S>& sink);

}  // namespace equiprop
