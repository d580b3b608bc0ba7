#pragma once
/// A mini-batch in the memory of this machine, computed by its threads.

#include "equiprop/base/spare_states.hpp"
#include "equiprop/model/total_energy.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop {

/// Satisfies Batch. It keeps all memory: where inputs, targets and parameters change in place
/// (ClampedHopfield::reclamp, Targets::retarget), later mini-batches of the same size allocate nothing, for what
/// Relaxation keeps memory for.
template <Scalar S>
class EQUIPROP_EXPORT HostBatch {
 public:
  using Scalar = S;  ///< of states

  /// Energy and cost are held by value, which shares what they share. Throws InvalidArgument unless the cost has one
  /// row for each output.
  HostBatch(AnyEnergy<S> energy, AnyCost<S> cost);

  Index samples() const { return cost_.batch(); }                   ///< of the mini-batch
  bool conservative() const { return energy_.conservative(); }      ///< see EnergyInterface
  const AnyEnergy<S>& energy() const { return energy_; }            ///< E
  const AnyCost<S>& cost() const { return cost_; }                  ///< C, with its targets
  const State<S>& state(Slot slot) const { return states_[slot]; }  ///< kept in a slot

  /// slot = s, (units, batch). Throws InvalidArgument unless s has this shape.
  void write(Slot slot, const ConstStateRef<S>& s);
  /// s = slot, (units, batch)
  void read(Slot slot, StateRef<S> s) const { s = states_[slot]; }
  /// Relaxes E from where `start` begins each piece of the batch; the report lasts until the next call.
  const Report& relax_free(const Solver& solver, const Start<S>& start, Slot to);

  /// See Batch. Reports last until the next call.
  ///@{
  const Report& relax(const Solver& solver, S beta, Slot from, Slot to);
  const Report& solve(const LinearSolver& solver, Slot at,
                      Slot lambda) requires std::floating_point<S>;
  void displacement(Slot to, Slot first, Slot from, std::span<const S> weights);
  bool contrast(Slot first, std::span<const S> weights, ParameterSink<S>& sink);
  bool mixed(Slot at, Slot v, S weight, ParameterSink<S>& sink);
  void mark_contrast(Slot first, std::span<const S> weights, Report& report) const;
  void mark_mixed(Slot at, Slot v, S weight, Report& report) const;
  void input_contrast(Slot first, std::span<const S> weights, StateRef<S> out) const;
  void mixed_input(Slot at, Slot v, S weight, StateRef<S> out) const;
  S objective(Slot slot) const;
  ///@}

 private:
  /// The relaxation of one slot, kept while beta and the solver stay.
  struct Phase {
    S beta{};
    Solver solver;
    bool nudged = false;
    std::optional<Relaxation<S>> relaxation;
  };

  State<S>& room(Slot slot);
  Relaxation<S>& phase(Slot to, const Solver& solver, bool nudged, S beta);
  template <class Give>
  bool deliver(ParameterSink<S>& sink, const Give& give);
  template <class AddShare>
  void mark_shares(Report& report, const AddShare& add_share) const;

  AnyEnergy<S> energy_;
  AnyCost<S> cost_;
  KeptStates<S> states_;                        // by slot
  std::vector<std::unique_ptr<Phase>> phases_;  // by slot; nullptr where none has been relaxed
  Parameters<S> sums_;                          // where a sink cannot take them one by one
  Report report_;
};

/// True if every number is finite, both parts of dual ones included.
template <Scalar S>
bool all_parts_finite(const Parameters<S>& numbers) {
  if constexpr (std::same_as<S, Dual<double>>)
    return std::all_of(numbers.begin(), numbers.end(),
                       [](const S& v) { return std::isfinite(magnitude(v)); });
  else
    return all_finite(numbers);
}

extern template class HostBatch<float>;
extern template class HostBatch<double>;
extern template class HostBatch<Complex>;
extern template class HostBatch<Dual<double>>;

}  // namespace equiprop
