#pragma once
/// A mini-batch in host memory, computed by the threads of the host.

#include "equiprop/base/spare_states.hpp"
#include "equiprop/model/total_energy.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop {

/// The Batch of the host. It keeps all memory: if inputs, targets and parameters change in place
/// (ClampedHopfield::reclamp, Targets::retarget), later mini-batches of the same size allocate nothing, as far as
/// Relaxation keeps its memory.
template <Scalar S>
class EQUIPROP_EXPORT HostBatch {
 public:
  using Scalar = S;  ///< scalar of states

  /// Copies energy and cost, which share the memory that their copies share, and the weights of the cost. Throws
  /// InvalidArgument unless the cost acts on layers of the energy (check_cost).
  HostBatch(AnyEnergy<S> energy, AnyCost<S> cost);

  Index samples() const { return cost_.batch(); }                   ///< number of samples
  bool conservative() const { return energy_.conservative(); }      ///< see EnergyInterface
  const AnyEnergy<S>& energy() const { return energy_; }            ///< energy E
  const AnyCost<S>& cost() const { return cost_; }                  ///< cost C without weights
  const State<S>& state(Slot slot) const { return states_[slot]; }  ///< state in a slot

  /// Chooses what the estimated error of a sample is relative to; `none`: no phase is relaxed further, `refine` does nothing
  /// and allocates nothing, and no saddle is marked.
  void set_judging(Judging judging) { judging_ = judging; }
  /// Replaces the weights of the samples, (batch,); see AnyCost::weighted. Empty weights are 1.
  void set_sample_weights(const PerSample<RealOf<S>>& weights) {
    check_sample_weights(weights, samples());
    sample_weights_ = weights;
  }
  /// Returns the weights of the samples, or nothing if all are 1.
  const PerSample<RealOf<S>>& sample_weights() const { return sample_weights_; }
  /// Copies s (units, batch) into a slot. Throws InvalidArgument unless s has this shape.
  void write(Slot slot, const ConstStateRef<S>& s);
  /// Copies the state of a slot into s, (units, batch).
  void read(Slot slot, StateRef<S> s) const { s = states_[slot]; }
  /// Relaxes E into slot `to`, and further where the estimated error of the state exceeds most_state_error; `start` stores
  /// the start state of each piece of the batch. The report is valid until the next call.
  const Report& relax_free(const Solver& solver, const Start<S>& start, Slot to);
  /// Returns the report of the last relaxation into a slot; there must have been one.
  const Report& report(Slot slot) const { return phases_[slot]->relaxation->report(); }

  /// See Batch. Reports are valid until the next call.
  ///@{
  void aim(const NudgingRule<S>& rule, Slot from);
  const Report& relax(const Solver& solver, S beta, Slot from, Slot to);
  void refine(const NudgingRule<S>& rule, Slot first, Report& report);
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
  /// The relaxation that fills one slot. It is kept while beta and the solver do not change.
  struct Phase {
    S beta{};
    Solver solver;
    bool nudged = false;
    bool current = false;  ///< the slot still has the state of the last run
    std::optional<Relaxation<S>> relaxation;
  };

  State<S>& room(Slot slot);
  bool is_weighted() const { return sample_weights_.size() > 0; }
  const State<S>& weighted(Slot v);
  void add_contrast_of(Samples which, Slot first, std::span<const S> weights);
  bool contrast_by_weight(Slot first, std::span<const S> weights, ParameterSink<S>& sink);
  template <class Give>
  void add_by_input(StateRef<S> out, const Give& give) const;
  Relaxation<S>& phase(Slot to, const Solver& solver, bool nudged, S beta);
  void take_response(const NudgingRule<S>& rule, Slot first, Index j);
  void estimate_contrast(const NudgingRule<S>& rule, Slot first, Report& report);
  void take_pull(Slot at);
  double inherited(Index j) const;
  double amplification(const Report& phase, Index j) const;
  double least_residual(double size) const;
  bool tighten(const Report& report, Slot slot);
  std::vector<Index> suspects(const Report& report);
  void mark_saddles(const NudgingRule<S>& rule, Slot first, Report& report);
  void solve_all(const LinearSolver& solver, Slot at, Slot lambda);
  void solve_some(const LinearSolver& solver, Samples which, Slot at, Slot lambda);
  bool tighten_state(const Report& phase, Slot slot);
  void forget_requests();
  bool request(const Report& phase, Index j, double factor, double size);
  void take_sensitivity(Slot at, Slot lambda);
  void judge(Report& report) const;
  bool acceptable(const Report& report, double part) const;
  void estimate_adjoint(const Report& free, Slot at, Slot lambda);
  std::vector<Index> tighten_free(const Report& free, Slot at);
  void mark_indefinite(Slot at, Slot lambda);
  /// Returns true if the state in a slot is that of the last relaxation into it.
  bool relaxed(Slot slot) const {
    return slot < phases_.size() && phases_[slot] != nullptr && phases_[slot]->current;
  }
  template <class Give>
  bool deliver(ParameterSink<S>& sink, const Give& give);
  template <class AddShare>
  void mark_shares(Report& report, const AddShare& add_share) const;

  AnyEnergy<S> energy_;
  AnyCost<S> cost_;
  KeptStates<S> states_;                        // one state per slot
  std::vector<std::unique_ptr<Phase>> phases_;  // one per slot; nullptr if not relaxed yet
  Parameters<S> sums_;                          // for a sink that does not accept single sums
  PerSample<RealOf<S>> sample_weights_;         // (batch,), or empty
  State<S> weighted_;                           // a state times the weights of the samples
  // Scratch memory of estimates: (batch,), (units, 1) and (rows of the cost, batch).
  PerSample<double> response_, weight_, force_, size_, limits_, sensitivity_, free_part_;
  PerSample<double>
      aims_;  // residuals at which nudged phases stop, (batch,); empty: at the tolerance
  PerSample<bool> held_;
  State<S> column_, pull_;
  Report report_;
  Judging judging_ = Judging::samples;
};

/// Returns true if every number is finite; both parts of a dual number count.
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
