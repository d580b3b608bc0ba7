#pragma once
/// Relaxation to the fixed point of an energy, for the free phase and the nudged phases of Equilibrium Propagation.

#include <variant>

#include "equiprop/base/export.hpp"
#include "equiprop/base/iterate.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/model/any_model.hpp"
#include "equiprop/solver/anderson.hpp"

namespace equiprop {

/// Throws InvalidArgument unless `anderson` is 0 or a number of steps that Anderson can remember.
inline void check_anderson(std::string_view where, Index anderson) {
  require(anderson >= 0 && anderson <= most_remembered, where, "anderson is 0 (off) to 20.",
          anderson);
}

/// Gradient flow ds/dt = -dE/ds by explicit Euler steps, clipped to the bounds of the units:
/// s <- project(s - step_size dE/ds). Stable if step_size < 2 / (largest eigenvalue of the Hessian).
struct Euler : StoppingRule {
  double step_size = 0.5;  ///< step length, positive
  Index anderson = 0;      ///< steps that Anderson acceleration remembers, 0 for none

  friend bool operator==(const Euler&, const Euler&) = default;  ///< true if all options are equal
  /// Throws InvalidArgument if an option is out of range.
  void check() const {
    StoppingRule::check("Euler");
    check_anderson("Euler", anderson);
    require(step_size > 0 && std::isfinite(step_size), "Euler",
            "The step size is a positive number.", step_size);
  }
  /// Returns |g(s) - s| per unit of residual, with g(s) the state after a step.
  double rate() const { return step_size; }
  /// Stores the state after a step from s in next; both are (units, batch).
  template <class S>
  void step(const AnyEnergy<S>& energy, const ConstStateRef<S>& s, State<S>& next) const {
    energy.gradient(s, next);
    next = s - S(static_cast<RealOf<S>>(step_size)) * next;
    energy.project(next);
  }
};

/// Damped fixed-point iteration s <- (1 - damping) T(s) + damping s, for all units at the same time.
struct FixedPointIteration : StoppingRule {
  double damping = 0;  ///< fraction of the old state that is kept, in [0, 1)
  Index anderson = 0;  ///< steps that Anderson acceleration remembers, 0 for none

  friend bool operator==(const FixedPointIteration&,
                         const FixedPointIteration&) = default;  ///< true if all options are equal
  /// Throws InvalidArgument if an option is out of range.
  void check() const {
    StoppingRule::check("FixedPointIteration");
    check_anderson("FixedPointIteration", anderson);
    require(damping >= 0 && damping < 1, "FixedPointIteration", "The damping is in [0, 1).",
            damping);
  }
  /// Returns |g(s) - s| per unit of residual, with g(s) the state after a step.
  double rate() const { return 1 - damping; }
  /// Stores the state after a step from s in next; both are (units, batch).
  template <class S>
  void step(const AnyEnergy<S>& energy, const ConstStateRef<S>& s, State<S>& next) const {
    const S kept(static_cast<RealOf<S>>(damping));
    energy.fixed_point_map(s, {}, next);
    if (damping != 0) next = (S(1) - kept) * next + kept * s;
  }
};

/// Block minimisation: a step is one sweep over all blocks, in a chain over the even layers and then the odd ones. It has
/// no step size and never increases the energy. Smooth units of a quadratic leak take one step of Newton's method with
/// cubic regularisation (Units::descend), layers with couplings within a damped one; all other updates are exact.
struct BlockUpdate : StoppingRule {
  Index anderson = 0;  ///< steps that Anderson acceleration remembers, 0 for none

  /// Returns true if all options are equal.
  friend bool operator==(const BlockUpdate&, const BlockUpdate&) = default;
  /// Throws InvalidArgument if an option is out of range.
  void check() const {
    StoppingRule::check("BlockUpdate");
    check_anderson("BlockUpdate", anderson);
  }
  /// Returns |g(s) - s| per unit of residual, with g(s) the state after a step.
  double rate() const { return 1; }
  /// Stores the state after a step from s in next; both are (units, batch).
  template <class S>
  void step(const AnyEnergy<S>& energy, const ConstStateRef<S>& s, State<S>& next) const {
    next = s;
    sweep<S>(energy, next, nullptr);
  }
  /// Replaces s by the state after a step; for `change` see Stepper::step.
  template <class S>
  void sweep(const AnyEnergy<S>& energy, StateRef<S> s, PerSample<RealOf<S>>* change) const {
    require(
        energy.num_blocks() > 0, "BlockUpdate",
        "The energy must have block updates, as networks have. Use Euler or FixedPointIteration "
        "here.",
        "one without");
    if (change != nullptr) change->setZero(s.cols());
    for (Index block = 0; block < energy.num_blocks(); ++block)
      energy.block_update(block, {}, s, change);
  }
};

/// A solver with its options.
using Solver = std::variant<BlockUpdate, FixedPointIteration, Euler>;

/// Measures the residual |T(s) - s| of each sample, which is the residual of all reports: the projected gradient for a
/// quadratic leak, |rho(drive) - s| for a Legendre potential. The object keeps its memory.
template <class S>
class Residual {
 public:
  /// Stores the residual of each sample in out, (batch,). `settled` is the block that was updated last, or -1.
  void measure(const AnyEnergy<S>& energy, const ConstStateRef<S>& s, PerSample<double>& out,
               Index settled = -1) {
    if (const OnePassResidual<S>* pass = energy.one_pass_residual()) {
      pass->residual(s, {}, settled, largest_);
      out = largest_.template cast<double>();
    } else {
      resize_to(image_, s.rows(), s.cols());
      energy.fixed_point_map(s, {}, image_);
      max_difference<S>(image_, s, out);
    }
  }

 private:
  PerSample<RealOf<S>> largest_;
  State<S> image_;
};

/// Function that stores the start state of the samples [begin, begin + s.cols()) of a batch.
template <Scalar S>
using Start = std::function<void(Index begin, StateRef<S> s)>;

/// Repeated relaxation of one energy by one solver. Threads share a batch, unless there is an observer, which receives
/// the whole batch. The memory is kept for the next relaxation if the batch is relaxed in one piece (up to 12 samples,
/// or up to 128 on one thread): then repeated relaxations of a single sample allocate no memory.
template <class S>
class EQUIPROP_EXPORT Relaxation {
 public:
  /// Copies the energy, which shares the memory that its copies share. Throws InvalidArgument if an option of the
  /// solver is out of range.
  Relaxation(AnyEnergy<S> energy, const Solver& solver);

  /// Relaxes s (units, batch) in place; the report is valid until the next run. If `start` is given, it stores the
  /// start states piece by piece, on the threads that relax the pieces. For `limits` see Iteration::run.
  const Report& run(StateRef<S> s, const Observer<S>& observe = {}, const Start<S>& start = {},
                    const PerSample<double>& limits = {});
  /// Relaxes the states s that the last run left further: sample j until its residual is at most limits(j). See
  /// Iteration::resume. If samples are separable, only those that move are computed.
  const Report& resume(StateRef<S> s, const PerSample<double>& limits);
  /// Returns the report of the last run or resumption, always at the same place.
  const Report& report() const { return report_; }
  /// Returns the solver.
  const Solver& solver() const { return solver_; }

 private:
  template <class Relax>
  void in_pieces(StateRef<S>& s, const Relax& relax_piece);
  void resume_some(StateRef<S>& s, const PerSample<double>& limits);

  AnyEnergy<S> energy_;
  Solver solver_;
  std::optional<Iteration<S>> whole_;  // iteration of the batch in one piece
  Index size_ = -1;                    // number of samples of whole_
  Report report_;                      // report of the last run or resumption
  bool divided_ = false;               // the last run was in several pieces
  std::vector<Index> which_;           // the samples that a resumption moves
};

/// Relaxes s (units, batch) in place once and returns the report. See Relaxation::run for `start`.
template <class S>
EQUIPROP_EXPORT Report relax(const AnyEnergy<S>& energy, const Solver& solver, StateRef<S> s,
                             const Observer<S>& observe = {}, const Start<S>& start = {});

extern template Report relax(const AnyEnergy<float>&, const Solver&, StateRef<float>,
                             const Observer<float>&, const Start<float>&);
extern template Report relax(const AnyEnergy<double>&, const Solver&, StateRef<double>,
                             const Observer<double>&, const Start<double>&);
extern template Report relax(const AnyEnergy<Complex>&, const Solver&, StateRef<Complex>,
                             const Observer<Complex>&, const Start<Complex>&);
extern template Report relax(const AnyEnergy<Dual<double>>&, const Solver&, StateRef<Dual<double>>,
                             const Observer<Dual<double>>&, const Start<Dual<double>>&);

}  // namespace equiprop
