#pragma once
/// Equilibrium Propagation (Scellier & Bengio 2017): relaxes again with nudged outputs and compares the states.

#include "equiprop/base/export.hpp"
#include "equiprop/model/symmetrized.hpp"
#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/second_phase/host_batch.hpp"
#include "equiprop/second_phase/nudging.hpp"

namespace equiprop {

/// Relaxes one nudged phase for each node of a rule, from the state in free_slot into the slots from nudged_slot on, and
/// further where the gradient needs it. `report` becomes the worst of the phases for each sample, with the estimated
/// error of the gradient; see Batch::refine.
template <Batch B>
void relax_nudged(B& batch, const NudgingRule<typename B::Scalar>& rule, const Solver& solver,
                  Report& report) {
  report.restart(batch.samples());
  report.status.setConstant(Status::converged);
  batch.aim(rule, free_slot);
  if constexpr (ParallelBatch<B>)
    batch.relax_all(rule, solver, free_slot, nudged_slot, report);
  else
    for (std::size_t k = 0; k < rule.size(); ++k)
      report.merge(batch.relax(solver, rule[k].beta, free_slot, nudged_slot + k));
  batch.refine(rule, nudged_slot, report);
}

/// weights = w_k / number of samples, one per node of the rule.
template <class S>
void take_weights(const NudgingRule<S>& rule, Index samples, std::vector<S>& weights) {
  weights.clear();
  for (const auto& node : rule) weights.push_back(node.weight / S(static_cast<RealOf<S>>(samples)));
}

/// Delivers sum_k weights_k dE/dtheta(s_k) of the nudged states to a sink. A vector field has no dE/dtheta and delivers
/// <sigma, d2E/dtheta ds> at s* instead, sigma = sum_k weights_k (s_k - s*) (Scellier et al. 2018); this requires sum_k
/// w_k = 0 and is exact only if the Jacobian is symmetric or the model is Symmetrized. Returns false under the same
/// condition as Batch::contrast.
template <Batch B>
bool give_contrast(B& batch, std::span<const typename B::Scalar> weights,
                   ParameterSink<typename B::Scalar>& sink) {
  using S = typename B::Scalar;
  if (batch.conservative()) return batch.contrast(nudged_slot, weights, sink);
  batch.displacement(adjoint_slot, nudged_slot, free_slot, weights);
  return batch.mixed(free_slot, adjoint_slot, S(1), sink);
}

/// Adds the derivative with respect to the input that belongs to `give_contrast`, which must have been called before.
template <Batch B>
void add_input_contrast(B& batch, std::span<const typename B::Scalar> weights,
                        StateRef<typename B::Scalar> out) {
  using S = typename B::Scalar;
  if (batch.conservative())
    batch.input_contrast(nudged_slot, weights, out);
  else
    batch.mixed_input(free_slot, adjoint_slot, S(1), out);
}

/// Returns true if any sample diverged.
inline bool any_diverged(const Report& report) {
  return (report.status == Status::diverged).any();
}

/// Sets statuses after a sum over the batch overflowed although every state is finite. If no sample has diverged yet,
/// `mark` marks the samples whose own term is not finite as diverged; the other samples keep their status. If no single
/// sample causes the overflow, all samples become diverged.
template <class Mark>
void explain_overflow(Report& report, const Mark& mark) {
  if (any_diverged(report)) return;
  mark(report);
  if (!any_diverged(report)) report.status.setConstant(Status::diverged);
}

/// Calls explain_overflow for the sum that give_contrast delivers.
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

/// Runs Equilibrium Propagation on a batch whose free state is in free_slot and hands dJ/dtheta ~ sum_k w_k
/// dE/dtheta(s^{beta_k}) to the sink. `report` is that of relax_nudged. If a sample diverged or the sums overflow, a
/// sink that changes parameters receives nothing and the status of a sample is `diverged`. `weights` is scratch memory.
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

/// Equilibrium Propagation on one energy and cost, for repeated use: it keeps its memory (see HostBatch).
template <class S>
class EQUIPROP_EXPORT EquilibriumPropagation {
 public:
  /// Copies energy and cost, which share the memory that their copies share. `solver` is that of the nudged phases. If
  /// `refine` is false, the error of the gradient is not estimated; see HostBatch::set_judging.
  EquilibriumPropagation(AnyEnergy<S> energy, AnyCost<S> cost, const NudgingRule<S>& nudging,
                         const Solver& solver, bool refine = true);

  /// Replaces the weights of the samples; see HostBatch::set_sample_weights. Those of the cost are the first ones.
  void set_sample_weights(const PerSample<RealOf<S>>& weights) {
    batch_.set_sample_weights(weights);
  }

  /// Adds the estimate at the free state s_star (units, batch) to the derivatives of `gradient` that are not empty. Its
  /// report becomes the worst of the nudged phases for each sample. See equilibrium_propagation.
  void add_to(Gradient<S>& gradient, const ConstStateRef<S>& s_star);

  /// Hands the estimate at s_star to a sink and returns the report. A sink that changes parameters receives nothing if
  /// a sample diverged.
  const Report& give(const ConstStateRef<S>& s_star, ParameterSink<S>& sink);

 private:
  HostBatch<S> batch_;
  NudgingRule<S> nudging_;
  Solver solver_;
  std::vector<S> weights_;  // w_k / number of samples
  Report report_;
};

/// Returns dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}), where each s^{beta_k} is relaxed from the free state s_star
/// (units, batch). The report holds the worst of the nudged phases for each sample. For vector fields see
/// give_contrast.
template <class S>
EQUIPROP_EXPORT Gradient<S> equilibrium_propagation(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
    const NudgingRule<S>& nudging, const Solver& solver, Wanted wanted = Wanted::everything);

/// Hands dJ/dtheta to a sink; the derivatives of the returned gradient are empty. With DescendSGD or DescendAdam this
/// takes the step of descent; models that support it add the sums over samples directly to the parameters. A sink that
/// changes parameters receives nothing if a sample diverged.
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy,
                                                    const AnyCost<S>& cost,
                                                    const ConstStateRef<S>& s_star,
                                                    const NudgingRule<S>& nudging,
                                                    const Solver& solver, ParameterSink<S>& sink);

/// Returns the estimate of Equilibrium Propagation with complex nodes, such as holomorphic(radius, points): the real
/// part of the sum.
EQUIPROP_EXPORT Gradient<double> holomorphic_equilibrium_propagation(
    const AnyEnergy<Complex>& energy, const AnyCost<Complex>& cost,
    const ConstStateRef<double>& s_star, const NudgingRule<Complex>& nudging, const Solver& solver,
    Wanted wanted = Wanted::everything);

/// Returns the limit beta -> 0 of Equilibrium Propagation, by dual numbers: without truncation error and without
/// cancellation.
EQUIPROP_EXPORT Gradient<double> equilibrium_propagation_limit(
    const AnyEnergy<Dual<double>>& energy, const AnyCost<Dual<double>>& cost,
    const ConstStateRef<double>& s_star, const Solver& solver, Wanted wanted = Wanted::everything);

}  // namespace equiprop
