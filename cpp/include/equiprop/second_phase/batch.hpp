#pragma once
/// The interface of a clamped mini-batch that second phases use. A device provides its own class.

#include <concepts>
#include <span>

#include "equiprop/linear/linear_solver.hpp"
#include "equiprop/model/any_model.hpp"
#include "equiprop/second_phase/nudging.hpp"
#include "equiprop/solver/relax.hpp"

namespace equiprop {

/// Number of a state (units, batch) that a batch stores. States stay in the batch's memory unless they are read.
using Slot = std::size_t;

/// Requirements of a clamped mini-batch: an energy E and a cost C with targets. "Delivers" means: hands a sum over the
/// samples to a sink; returns false, and hands nothing over, if the sink changes parameters and the sum is not finite.
template <class B>
concept Batch = requires(B batch, const B fixed, const Solver solver, typename B::Scalar number,
                         Slot slot, State<typename B::Scalar> out, Report report,
                         const NudgingRule<typename B::Scalar> rule,
                         std::span<const typename B::Scalar> weights,
                         ParameterSink<typename B::Scalar>& sink) {
  { fixed.samples() } -> std::convertible_to<Index>;      // of the mini-batch
  { fixed.conservative() } -> std::convertible_to<bool>;  // see EnergyInterface
  // Computes from dC/ds at the state in a slot the residuals at which the phases of a rule stop, until `refine` is called.
  batch.aim(rule, slot);
  // Relaxes E + beta C from the state in one slot into another.
  { batch.relax(solver, number, slot, slot) } -> std::convertible_to<const Report&>;
  // Estimates the error of each sample's term of the gradient from the states that `relax` left in the slots from this
  // one on, in the report; relaxes samples further whose error matters (see Judging), and merges the reports of the
  // phases; marks samples whose error remains above most_gradient_error as inaccurate, and saddles as indefinite.
  batch.refine(rule, slot, report);
  // slot = sum_k weights_k (s_k - s), s_k in the slots from the second one on, s in the third.
  batch.displacement(slot, slot, slot, weights);
  // Delivers sum_k weights_k dE/dtheta(s_k), s_k in the slots from this one on.
  { batch.contrast(slot, weights, sink) } -> std::same_as<bool>;
  // Delivers weight <v, d2E/dtheta ds> at the state in the first slot, v in the second.
  { batch.mixed(slot, slot, number, sink) } -> std::same_as<bool>;
  // Marks the samples whose own term of either sum is not finite as diverged.
  batch.mark_contrast(slot, weights, report);
  batch.mark_mixed(slot, slot, number, report);
  // The derivatives with respect to the input: out (inputs, batch) += ...
  batch.input_contrast(slot, weights, out);
  batch.mixed_input(slot, slot, number, out);
  // J = sum_j w_j C_j / samples at the state in a slot; w_j are the weights of the samples, 1 by default. The weights
  // also scale the terms of the samples in all sums that are delivered, and nothing else.
  { batch.objective(slot) } -> std::same_as<typename B::Scalar>;
  batch.write(slot, out);  // slot = out
  batch.read(slot, out);   // out = slot
};

/// Requirements of a batch that supports RBP: `solve` solves A lambda = dC/ds at the state in the first slot and stores
/// lambda in the second slot; A is the transposed Hessian, restricted to the units that no bound holds. It marks samples
/// as `refine` does; if the batch itself relaxed the free state, it may relax samples of it further.
template <class B>
concept SolvingBatch = Batch<B> && requires(B batch, const LinearSolver solver, Slot slot) {
  { batch.solve(solver, slot, slot) } -> std::convertible_to<const Report&>;
};

/// Requirements of a batch that relaxes the nudged phases of a rule side by side, from the first slot into the slots from
/// the second one on, and merges their reports into one.
template <class B>
concept ParallelBatch = Batch<B> && requires(B batch, const Solver solver, Slot slot, Report report,
                                             const NudgingRule<typename B::Scalar> rule) {
  batch.relax_all(rule, solver, slot, slot, report);
};

/// Largest estimated error that counts as accurate: of a sample's term of the gradient, relative to that term, or of the
/// gradient of a batch.
inline constexpr double most_gradient_error = 0.05;
/// Largest estimated error of a free state, relative to its largest number, from which a second phase may start: from a
/// state that is further away it can reach another fixed point, and near a fold there may be none where it stopped.
inline constexpr double most_state_error = 0.003;

/// The number that the estimated error of a sample's term of the gradient is divided by.
enum class Judging {
  none,     ///< nothing is estimated
  samples,  ///< the term itself, so that no sample depends on the others of its batch
  batch,  ///< the root mean square of the terms of the batch: it counts what an error does to their sum
};

/// Slots that second phases use.
///@{
inline constexpr Slot free_slot = 0;  ///< free state s*
/// Lambda of Recurrent Backpropagation, or the displacement in Equilibrium Propagation on a vector field.
inline constexpr Slot adjoint_slot = 1;
inline constexpr Slot nudged_slot = 2;  ///< first nudged state
///@}

}  // namespace equiprop
