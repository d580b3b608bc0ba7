#pragma once
/// Equilibrium Propagation (Scellier & Bengio 2017): relax again, nudged, and compare.

#include "equiprop/base/export.hpp"
#include "equiprop/model/symmetrized.hpp"
#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/second_phase/host_batch.hpp"
#include "equiprop/second_phase/nudging.hpp"

namespace equiprop {

/// Relaxes one nudged phase for each node of a rule, from the state in free_slot into the slots from nudged_slot on. The
/// report becomes the worst of the phases, sample by sample.
template <Batch B>
void relax_nudged(B& batch, const NudgingRule<typename B::Scalar>& rule, const Solver& solver,
                  Report& report) {
  report.restart(batch.samples());
  report.status.setConstant(Status::converged);
  for (std::size_t k = 0; k < rule.size(); ++k)
    report.merge(batch.relax(solver, rule[k].beta, free_slot, nudged_slot + k));
}

/// weights = w_k / number of samples.
template <class S>
void take_weights(const NudgingRule<S>& rule, Index samples, std::vector<S>& weights) {
  weights.clear();
  for (const auto& node : rule) weights.push_back(node.weight / S(static_cast<RealOf<S>>(samples)));
}

/// Delivers sum_k weights_k dE/dtheta(s_k) of the nudged states to a sink. A vector field has no dE/dtheta: its rule is
/// <sigma, d2E/dtheta ds> at s*, sigma = sum_k weights_k (s_k - s*) (Scellier et al. 2018), which needs sum_k w_k = 0 and
/// is exact only where the Jacobian is symmetric, or Symmetrized. Returns false as Batch::contrast does.
template <Batch B>
bool give_contrast(B& batch, std::span<const typename B::Scalar> weights,
                   ParameterSink<typename B::Scalar>& sink) {
  using S = typename B::Scalar;
  if (batch.conservative()) return batch.contrast(nudged_slot, weights, sink);
  batch.displacement(adjoint_slot, nudged_slot, free_slot, weights);
  return batch.mixed(free_slot, adjoint_slot, S(1), sink);
}

/// Adds the derivative by the input that belongs to `give_contrast`, which has been called.
template <Batch B>
void add_input_contrast(B& batch, std::span<const typename B::Scalar> weights,
                        StateRef<typename B::Scalar> out) {
  using S = typename B::Scalar;
  if (batch.conservative())
    batch.input_contrast(nudged_slot, weights, out);
  else
    batch.mixed_input(free_slot, adjoint_slot, S(1), out);
}

/// True if any sample diverged.
inline bool any_diverged(const Report& report) {
  return (report.status == Status::diverged).any();
}

/// Sums over the batch can overflow although every state is finite: no such gradient has converged. A sample that has
/// diverged explains them, and so does one whose own share is not finite, which `mark` marks; the others keep their
/// status, which is that of each sample alone. Where no sample is at fault all become `diverged`.
template <class Mark>
void explain_overflow(Report& report, const Mark& mark) {
  if (any_diverged(report)) return;
  mark(report);
  if (!any_diverged(report)) report.status.setConstant(Status::diverged);
}

/// explain_overflow of what give_contrast delivers.
template <Batch B>
void explain_contrast(B& batch, std::span<const typename B::Scalar> weights, Report& report) {
  using S = typename B::Scalar;
  explain_overflow(report, [&](Report& marked) {
    if (batch.conservative())
      batch.mark_contrast(nudged_slot, weights, marked);
    else
      batch.mark_mixed(free_slot, adjoint_slot, S(1), marked);
  });
}

/// Equilibrium Propagation on a batch whose free state is in free_slot: dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}) goes
/// to the sink. `report` is that of relax_nudged. A sink that changes parameters receives nothing if a sample diverged or
/// the sums overflow; the status says so. `weights` is scratch memory.
template <Batch B>
void equilibrium_propagation(B& batch, const NudgingRule<typename B::Scalar>& rule,
                             const Solver& solver, ParameterSink<typename B::Scalar>& sink,
                             Report& report, std::vector<typename B::Scalar>& weights) {
  relax_nudged(batch, rule, solver, report);
  take_weights(rule, batch.samples(), weights);
  if (sink.needs_bound() && any_diverged(report)) return;
  const std::span<const typename B::Scalar> shares(weights);
  if (!give_contrast(batch, shares, sink)) explain_contrast(batch, shares, report);
}

/// Equilibrium Propagation on one energy and cost, again and again, in memory that is kept; see HostBatch.
template <class S>
class EQUIPROP_EXPORT EquilibriumPropagation {
 public:
  /// Energy and cost are held by value, which shares what they share; the solver is that of the nudged phases.
  EquilibriumPropagation(AnyEnergy<S> energy, AnyCost<S> cost, const NudgingRule<S>& nudging,
                         const Solver& solver);

  /// Adds the estimate at the free state s_star (units, batch) to those derivatives of `gradient` that have a size;
  /// its report becomes the worst of the nudged phases, sample by sample. See equilibrium_propagation.
  void add_to(Gradient<S>& gradient, const ConstStateRef<S>& s_star);

  /// Hands the estimate at s_star to a sink. A sink that changes parameters receives nothing if a sample diverged.
  const Report& give(const ConstStateRef<S>& s_star, ParameterSink<S>& sink);

 private:
  HostBatch<S> batch_;
  NudgingRule<S> nudging_;
  Solver solver_;
  std::vector<S> weights_;  // w_k over the number of samples
  Report report_;
};

/// dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}), each s^{beta_k} relaxed from the free state s_star (units, batch). The
/// report holds the worst of the nudged phases, sample by sample. For vector fields see give_contrast.
template <class S>
EQUIPROP_EXPORT Gradient<S> equilibrium_propagation(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
    const NudgingRule<S>& nudging, const Solver& solver, Wanted wanted = Wanted::everything);

/// Hands dJ/dtheta to a sink; the gradient that is returned has no derivatives. With DescendSGD or DescendAdam it is the
/// step of descent itself, and a model that can takes the sums over samples straight into the parameters. A sink that
/// changes parameters receives nothing if a sample diverged.
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy,
                                                    const AnyCost<S>& cost,
                                                    const ConstStateRef<S>& s_star,
                                                    const NudgingRule<S>& nudging,
                                                    const Solver& solver, ParameterSink<S>& sink);

/// Equilibrium Propagation with nodes in the complex plane, such as holomorphic(radius, points): the real part of the
/// sum.
EQUIPROP_EXPORT Gradient<double> holomorphic_equilibrium_propagation(
    const AnyEnergy<Complex>& energy, const AnyCost<Complex>& cost,
    const ConstStateRef<double>& s_star, const NudgingRule<Complex>& nudging, const Solver& solver,
    Wanted wanted = Wanted::everything);

/// The limit beta -> 0 of Equilibrium Propagation, by dual numbers: no truncation, no cancellation.
EQUIPROP_EXPORT Gradient<double> equilibrium_propagation_limit(
    const AnyEnergy<Dual<double>>& energy, const AnyCost<Dual<double>>& cost,
    const ConstStateRef<double>& s_star, const Solver& solver, Wanted wanted = Wanted::everything);

}  // namespace equiprop
