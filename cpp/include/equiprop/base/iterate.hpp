#pragma once
/// The loop of every stepwise solver: it steps, checks each sample alone, and freezes a sample that is done.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/report.hpp"

namespace equiprop {

/// When an iteration stops. Tolerance 0 runs exactly `max_iterations` steps; without a tolerance it is
/// default_tolerance<S>().
struct StoppingRule {
  std::optional<double> tolerance{};  ///< of the residual of each sample
  Index max_iterations = 1000;        ///< of each sample

  friend bool operator==(const StoppingRule&,
                         const StoppingRule&) = default;  ///< all options equal
  /// Throws InvalidArgument, in the name of `where`, if an option is out of range.
  void check(std::string_view where) const {
    require(!tolerance || (*tolerance >= 0 && std::isfinite(*tolerance)), where,
            "The tolerance is a finite number, 0 for a fixed number of steps.",
            tolerance.value_or(0));
    require(max_iterations >= 0, where, "max_iterations is at least 0.", max_iterations);
  }
  /// The tolerance on numbers of this kind.
  template <Scalar S>
  double tolerance_for() const {
    return tolerance.value_or(static_cast<double>(default_tolerance<S>()));
  }
};

/// Receives the whole batch (units, batch) after every step; iteration 0 is the start.
template <Scalar S>
using Observer = std::function<void(Index iteration, const ConstStateRef<S>& s)>;

/// Stores the states (units, batch) that an iteration begins with.
template <Scalar S>
using Beginning = std::function<void(StateRef<S> s)>;

/// Without a tolerance, changes are measured once in so many steps, to notice divergence.
inline constexpr Index steps_between_checks = 16;

/// One step g of an iteration s <- g(s) of the samples of a batch, and the residual that decides when a sample is done.
/// Iteration and Anderson are compiled for this interface alone, once per scalar.
template <Scalar S>
class Stepper {
 public:
  virtual ~Stepper() = default;

  /// s (units, batch) <- g(s). Unless `change` is nullptr, change (batch,) = max |g(s) - s| of each sample.
  virtual void step(StateRef<S> s, PerSample<RealOf<S>>* change) = 0;
  /// out (batch,) = the residual of each sample of s. `stepped` says that `step` left every sample as it is.
  virtual void residual(const ConstStateRef<S>& s, bool stepped, PerSample<double>& out) = 0;
  /// Clips s (units, any number of samples) to the box of bounded states; does nothing by default.
  virtual void project(StateRef<S>) const {}
  /// True if no sample's bits depend on the other samples.
  virtual bool separable() const = 0;
  /// True if an acceleration did not extrapolate sample j in the last step, or took that step back.
  virtual bool fell_back(Index) const { return false; }
  /// Forgets earlier steps, and keeps memory.
  virtual void restart() {}
  /// The stepper of some samples, which remembers their earlier steps. Called only where `separable`.
  virtual std::unique_ptr<Stepper> select(Samples which) const = 0;
};

/// s <- next. Unless `change` is nullptr, change (batch,) = max |next - s| of each sample, and a sample whose change is
/// not finite keeps its state.
template <Scalar S>
void accept(const State<S>& next, StateRef<S> s, PerSample<RealOf<S>>* change) {
  if (change != nullptr) max_difference<S>(next, s, *change);
  if (change == nullptr || change->isFinite().all())
    s = next;
  else
    for (Index j = 0; j < s.cols(); ++j)
      if (std::isfinite((*change)(j))) s.col(j) = next.col(j);
}

/// Repeats s <- g(s) for each sample until |g(s) - s| <= rate * tolerance * scale suggests, and
/// residual(s) <= tolerance * scale confirms, that it is done. Samples are independent: one that has stopped keeps its
/// state, and where samples are separable the others soon go on without it.
template <Scalar S>
class EQUIPROP_EXPORT Iteration {
 public:
  /// `rate` is |g(s) - s| for each unit of residual; tolerances are relative to `scale` (batch,).
  Iteration(const StoppingRule& rule, double rate, PerSample<double> scale,
            std::unique_ptr<Stepper<S>> stepper);

  /// Iterates s (units, batch) in place, or from what `begin` stores; the report lasts until the next run. A run on
  /// states of the shape of the last ones allocates no memory, unless samples leave the group.
  const Report& run(StateRef<S> s, const Observer<S>& observe, const Beginning<S>& begin = {});

 private:
  /// Samples side by side. Those not `moving` have stopped and only fill their place.
  struct Group {
    std::vector<Index> samples;  // their numbers in the batch
    PerSample<bool> moving;
    std::unique_ptr<Stepper<S>> stepper;  // of these samples; nullptr for that of the batch
    State<S> memory;                      // of their states, and more
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
  void find_unconfirmed();
  bool stepped() const;
  void conclude();

  double tolerance_;
  Index limit_;
  double rate_;
  PerSample<double> scale_;
  std::unique_ptr<Stepper<S>> stepper_;  // of the batch
  Group group_;
  Index units_ = 0;
  PerSample<bool> pending_;
  PerSample<RealOf<S>> change_;
  Report report_;
  Index steps_ = 0;
  const Beginning<S>* begin_ = nullptr;  // during a run, where s does not hold what it stores
};

/// next = g(s), both (units, batch).
template <Scalar S>
using StepFunction = std::function<void(const ConstStateRef<S>& s, State<S>& next)>;

/// out (batch,) = the residual of each sample of s (units, batch).
template <Scalar S>
using ResidualFunction = std::function<void(const ConstStateRef<S>& s, PerSample<double>& out)>;

/// Iterates s (units, batch) in place by these two functions; see Iteration.
template <Scalar S>
EQUIPROP_EXPORT Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale,
                               const StepFunction<S>& step, const ResidualFunction<S>& residual,
                               StateRef<S> s, const Observer<S>& observe = {});

extern template class Iteration<float>;
extern template class Iteration<double>;
extern template class Iteration<Complex>;
extern template class Iteration<Dual<double>>;

}  // namespace equiprop
