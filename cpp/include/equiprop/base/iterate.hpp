#pragma once
/// The loop of all iterative solvers: it takes steps, measures each sample separately, and stops each sample when it is
/// done.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/base/report.hpp"

namespace equiprop {

/// The condition that stops an iteration. With tolerance 0 it runs exactly `max_iterations` steps; if no tolerance is
/// set, the tolerance is default_tolerance<S>().
struct StoppingRule {
  std::optional<double> tolerance{};  ///< largest residual of a converged sample
  Index max_iterations = 1000;        ///< limit for each sample

  friend bool operator==(const StoppingRule&,
                         const StoppingRule&) = default;  ///< true if all options are equal
  /// Throws InvalidArgument, whose message starts with `where`, if an option is out of range.
  void check(std::string_view where) const {
    require(!tolerance || (*tolerance >= 0 && std::isfinite(*tolerance)), where,
            "The tolerance is a finite number, 0 for a fixed number of steps.",
            tolerance.value_or(0));
    require(max_iterations >= 0, where, "max_iterations is at least 0.", max_iterations);
  }
  /// Returns the tolerance for scalar S.
  template <Scalar S>
  double tolerance_for() const {
    return tolerance.value_or(static_cast<double>(default_tolerance<S>()));
  }
};

/// Function that is called with the whole batch (units, batch) after every step; iteration 0 is the start.
template <Scalar S>
using Observer = std::function<void(Index iteration, const ConstStateRef<S>& s)>;

/// Function that stores the start states (units, batch) of an iteration.
template <Scalar S>
using Beginning = std::function<void(StateRef<S> s)>;

/// Number of steps between two checks for divergence in an iteration without a tolerance.
inline constexpr Index steps_between_checks = 16;

/// One step g of an iteration s <- g(s) over a batch, and the residual that decides when a sample is done. Iteration
/// and Anderson use only this interface, so they are compiled once per scalar.
template <Scalar S>
class Stepper {
 public:
  virtual ~Stepper() = default;

  /// Replaces s (units, batch) by g(s). Unless `change` is nullptr, stores max |g(s) - s| of each sample in it,
  /// (batch,).
  virtual void step(StateRef<S> s, PerSample<RealOf<S>>* change) = 0;
  /// Stores the residual of each sample of s in out, (batch,). `stepped` is true if every sample of s is the result of
  /// `step`.
  virtual void residual(const ConstStateRef<S>& s, bool stepped, PerSample<double>& out) = 0;
  /// Clips s (units, any number of samples) to the bounds of the units. Does nothing by default.
  virtual void project(StateRef<S>) const {}
  /// Returns the rows of s that determine the result of `step`, which overwrites the others; empty for all rows.
  virtual std::vector<Rows> carried() const { return {}; }
  /// Returns true if no bit of a sample depends on the other samples of the batch.
  virtual bool separable() const = 0;
  /// Returns true if an acceleration did not extrapolate sample j in the last step, or undid that step.
  virtual bool fell_back(Index) const { return false; }
  /// Returns an estimate of |s - s*| / |g(s) - s| from the last steps of sample j, or 0 if there is none.
  virtual double amplification(Index) const { return 0; }
  /// Discards the history of earlier steps; memory stays allocated.
  virtual void restart() {}
  /// Returns the stepper of some samples, with their history. It is called only if `separable` returns true.
  virtual std::unique_ptr<Stepper> select(Samples which) const = 0;
};

/// Replaces s by `next`. Unless `change` is nullptr, stores max |next - s| of each sample in it, (batch,); a sample
/// whose change is not finite keeps its state.
template <Scalar S>
void accept(const State<S>& next, StateRef<S> s, PerSample<RealOf<S>>* change) {
  if (change != nullptr) max_difference<S>(next, s, *change);
  if (change == nullptr || change->isFinite().all())
    s = next;
  else
    for (Index j = 0; j < s.cols(); ++j)
      if (std::isfinite((*change)(j))) s.col(j) = next.col(j);
}

/// Repeats s <- g(s) for each sample until |g(s) - s| <= rate * tolerance * scale and then
/// residual(s) <= tolerance * scale: the change is a cheap estimate, the residual confirms it. A sample that has
/// stopped keeps its state. If samples are separable, the group of the remaining samples is compacted.
///
/// The error |s - s*| of a sample is estimated as its residual times an amplification: 1 / (1 - q), q the ratio of its
/// last two changes from the third step on, or that of the stepper if it is larger. Both are exact for an error along one
/// eigenvector. While faster modes die out, q grows from step to step; its growth is added once more. The largest
/// amplification is forgotten slowly.
template <Scalar S>
class EQUIPROP_EXPORT Iteration {
 public:
  /// Creates an iteration of `stepper`. `rate` is |g(s) - s| per unit of residual; tolerances are relative to `scale`,
  /// (batch,).
  Iteration(const StoppingRule& rule, double rate, PerSample<double> scale,
            std::unique_ptr<Stepper<S>> stepper);

  /// Iterates s (units, batch) in place, from s or from the states that `begin` stores. If `limits` is not empty, (batch,),
  /// sample j moves until its residual is at most limits(j) and the tolerance; the tolerance alone decides whether it is
  /// converged. The report is valid until the next run. A run on states of the same shape as before allocates no memory
  /// unless the group is compacted.
  const Report& run(StateRef<S> s, const Observer<S>& observe, const Beginning<S>& begin = {},
                    const PerSample<double>& limits = {});
  /// Continues the iteration that left the states s and the report `so_far`, with smaller tolerances: sample j moves
  /// until its residual is at most limits(j); if that is not below its present residual, no bit of it changes. Steps
  /// add up, and max_iterations bounds their sum. `so_far` may be the report of this object. A sample whose residual
  /// is at most the tolerance of the rule is converged.
  const Report& resume(StateRef<S> s, const Report& so_far, const PerSample<double>& limits);
  /// Returns the report of the last run or resumption.
  const Report& report() const { return report_; }

 private:
  /// The samples that step together. A sample that is not `moving` has stopped; its column stays until the group is
  /// compacted.
  struct Group {
    std::vector<Index> samples;  // indices in the batch
    PerSample<bool> moving;
    std::unique_ptr<Stepper<S>> stepper;  // of these samples; nullptr if they are the whole batch
    State<S> memory;                      // buffer whose top left corner holds their states
  };

  StateRef<S> state() { return group_.memory.topLeftCorner(units_, group_.moving.size()); }
  Stepper<S>& stepper() { return group_.stepper ? *group_.stepper : *stepper_; }

  void settle(StateRef<S>& s, const Observer<S>& observe);
  void gather(const StateRef<S>& s);
  void close_ranks();
  void advance();
  void hand_over(StateRef<S>& s, bool all);
  void leave(Index sample, StateRef<S>& s) const;
  bool finite(Index j);
  bool stops(Index sample, RealOf<S> change);
  void estimate(Index j, double change);
  double rounding(Index j, double change);
  double target(Index j) const;
  void find_unconfirmed();
  bool stepped() const;
  void conclude();

  double tolerance_;
  Index limit_;
  double rate_;
  PerSample<double> scale_;
  std::unique_ptr<Stepper<S>> stepper_;  // stepper of the whole batch
  Group group_;
  Index units_ = 0;
  PerSample<bool> pending_;
  PerSample<RealOf<S>> change_;
  PerSample<double> before_, ratio_;  // change in the step before, and its ratio, per sample
  PerSample<double> amplification_;   // estimated |s - s*| / |g(s) - s|, per sample of the batch
  const PerSample<double>* limits_ = nullptr;  // set while an iteration has limits
  Report report_;
  Index steps_ = 0;
  const Beginning<S>* begin_ = nullptr;  // set in a run whose start states are not in s
};

/// Function that stores g(s) in next; both are (units, batch).
template <Scalar S>
using StepFunction = std::function<void(const ConstStateRef<S>& s, State<S>& next)>;

/// Function that stores the residual of each sample of s (units, batch) in out, (batch,).
template <Scalar S>
using ResidualFunction = std::function<void(const ConstStateRef<S>& s, PerSample<double>& out)>;

/// Iterates s (units, batch) in place with two functions for the step and the residual; see Iteration for `rate` and
/// `scale`.
template <Scalar S>
EQUIPROP_EXPORT Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale,
                               const StepFunction<S>& step, const ResidualFunction<S>& residual,
                               StateRef<S> s, const Observer<S>& observe = {});

extern template class Iteration<float>;
extern template class Iteration<double>;
extern template class Iteration<Complex>;
extern template class Iteration<Dual<double>>;

}  // namespace equiprop
