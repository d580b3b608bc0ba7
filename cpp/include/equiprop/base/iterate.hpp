#pragma once
/// The one loop of every stepwise solver: step, check each sample alone, freeze it when it is done.

#include <functional>
#include <numeric>
#include <optional>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/report.hpp"

namespace equiprop {

/// When to stop. tolerance 0: run exactly `max_iterations` steps; absent: default_tolerance<S>().
struct StoppingRule {
  std::optional<double> tolerance{};  ///< of the residual of each sample
  Index max_iterations = 1000;        ///< of each sample

  friend bool operator==(const StoppingRule&, const StoppingRule&) = default;  ///< all options equal

  /// Throws InvalidArgument, in the name of `where`, unless both can be.
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

/// Sees the whole batch after every step; iteration 0 is the start.
template <Scalar S>
using Observer = std::function<void(Index iteration, const ConstStateRef<S>& s)>;

/// Stores the states (units, batch) that an iteration begins with.
template <Scalar S>
using Beginning = std::function<void(StateRef<S> s)>;

/// Without a tolerance the state is still examined this often, so divergence is noticed in time.
inline constexpr Index steps_between_checks = 16;

/// What is iterated, for the samples of a batch.
template <class P, class S>
concept Stepper = requires(P p, const P c, State<S> s, PerSample<RealOf<S>> change,
                           PerSample<double> residual) {
  p.step(s, &change);  // s <- step(s); unless nullptr, change = max |step(s) - s| per sample
  p.residual(s, true, residual);  // of each sample, (batch,); whether all are as a step left them
  { c.separable() } -> std::convertible_to<bool>;         // no sample's bits depend on the others
  { c.fell_back(Index{}) } -> std::convertible_to<bool>;  // a sample, in the last step
  { c.select(Samples{}) } -> std::convertible_to<P>;      // the same for some samples, if separable
};

/// s <- next, with `change` as Stepper has it. A sample that leaves the finite numbers keeps its state.
template <Scalar S>
void accept(const State<S>& next, StateRef<S> s, PerSample<RealOf<S>>* change) {
  if (change != nullptr) max_difference<S>(next, s, *change);
  if (change == nullptr || change->isFinite().all())
    s = next;
  else
    for (Index j = 0; j < s.cols(); ++j)
      if (std::isfinite((*change)(j))) s.col(j) = next.col(j);
}

/// Repeats s <- step(s) for each sample until |step(s) - s| <= rate * tolerance * scale suggests,
/// and residual(s) <= tolerance * scale confirms, that it is done. A sample never sees the others:
/// one that has stopped keeps its state, and where samples are separable the others soon go on
/// without it.
template <Scalar S, Stepper<S> P>
class Iteration {
 public:
  /// `rate` is how far a step goes for each unit of residual, `scale` (batch,) what tolerances are relative to.
  Iteration(const StoppingRule& rule, double rate, PerSample<double> scale, P stepper)
      : tolerance_(rule.tolerance_for<S>()),
        limit_(rule.max_iterations),
        rate_(rate),
        scale_(std::move(scale)),
        stepper_(std::move(stepper)),
        group_{{}, {}, stepper_, {}} {}

  /// Iterates s, in place, or from what `begin` stores. Another run of states of this shape has all its memory already.
  const Report& run(StateRef<S> s, const Observer<S>& observe, const Beginning<S>& begin = {}) {
    report_.restart(s.cols());
    steps_ = 0;
    begin_ = observe || limit_ == 0 ? nullptr : &begin;
    if (begin && begin_ == nullptr) begin(s);
    if (observe) observe(0, s);
    pending_.setConstant(s.cols(), limit_ > 0);
    do {
      if (pending_.any()) settle(s, observe);
      stepper_.residual(s, stepped(), report_.residual);
      find_unconfirmed();
    } while (pending_.any());
    conclude();
    return report_;
  }

 private:
  /// Samples side by side. Those not `moving` have stopped and only fill their place.
  struct Group {
    std::vector<Index> samples;  // their numbers in the batch
    PerSample<bool> moving;
    P stepper;
    State<S> memory;  // of their states, and more
  };

  StateRef<S> state() { return group_.memory.topLeftCorner(units_, group_.moving.size()); }

  void settle(StateRef<S>& s, const Observer<S>& observe) {
    gather(s);
    while (group_.moving.any()) {
      if (stepper_.separable()) close_ranks();
      advance();
      hand_over(s, bool(observe));
      if (observe) observe(steps_, s);
    }
  }

  /// All samples, of which the pending ones move.
  void gather(const StateRef<S>& s) {
    group_.samples.resize(static_cast<std::size_t>(s.cols()));
    std::iota(group_.samples.begin(), group_.samples.end(), Index{0});
    group_.moving = pending_;
    units_ = s.rows();
    if (group_.memory.rows() < units_ || group_.memory.cols() < s.cols())
      group_.memory.resize(padded_rows<S>(units_), s.cols());
    if (steps_ == 0 && begin_ != nullptr && *begin_)
      (*begin_)(state());
    else
      state() = s;
    group_.stepper = stepper_;
  }

  /// Leaves out samples that have stopped, once a third have: moving the others costs about a step.
  void close_ranks() {
    const Index size = group_.moving.size(), moving = group_.moving.count();
    if (3 * moving > 2 * size) return;
    std::vector<Index> kept;
    StateRef<S> states = state();
    for (Index j = 0; j < size; ++j) {
      if (!group_.moving(j)) continue;
      const auto place = static_cast<Index>(kept.size());
      if (place < j) states.col(place) = states.col(j);
      group_.samples[kept.size()] = group_.samples[static_cast<std::size_t>(j)];
      kept.push_back(j);
    }
    group_.samples.resize(kept.size());
    group_.moving.setConstant(moving, true);
    group_.stepper = group_.stepper.select(kept);
  }

  void advance() {
    poll_interrupt();
    ++steps_;
    const bool look = tolerance_ > 0 || steps_ % steps_between_checks == 0;
    change_.setZero(group_.moving.size());
    group_.stepper.step(state(), look ? &change_ : nullptr);
  }

  /// Gives s the states of moving samples that stop here, or of all that move. One that diverged in place
  /// leaves there what it started from.
  void hand_over(StateRef<S>& s, bool all) {
    const StateRef<S> states = state();
    for (Index j = 0; j < group_.moving.size(); ++j) {
      if (!group_.moving(j)) continue;
      const Index sample = group_.samples[static_cast<std::size_t>(j)];
      report_.fallbacks(sample) += group_.stepper.fell_back(j) ? 1 : 0;
      group_.moving(j) = !stops(sample, change_(j));
      if (group_.moving(j) ? all : report_.status(sample) != Status::diverged || finite(j))
        s.col(sample) = states.col(j);
      else if (!group_.moving(j))
        leave(sample, s);
    }
  }

  /// Where a sample began, for one that has nothing better to give.
  void leave(Index sample, StateRef<S>& s) const {
    if (begin_ == nullptr || !*begin_) return;  // it is there
    State<S> beginning(s.rows(), s.cols());
    (*begin_)(beginning);
    s.col(sample) = beginning.col(sample);
  }

  bool finite(Index j) {
    const auto finite = [](const S& v) { return std::isfinite(magnitude(v)); };
    const auto sample = state().col(j);
    return std::all_of(sample.begin(), sample.end(), finite);
  }

  bool stops(Index sample, RealOf<S> change) {
    if (!std::isfinite(change)) {
      report_.status(sample) = Status::diverged;
      return true;
    }
    const bool small = tolerance_ > 0 && change <= rate_ * tolerance_ * scale_(sample);
    return ++report_.iterations(sample) >= limit_ || small;
  }

  /// A small step is only a sign; the residual decides. Samples it refutes go on.
  void find_unconfirmed() {
    for (Index j = 0; j < report_.batch(); ++j)
      pending_(j) = tolerance_ > 0 && report_.status(j) != Status::diverged &&
                    report_.iterations(j) < limit_ && report_.residual(j) > tolerance_ * scale_(j);
  }

  /// Whether every sample is as a step left it.
  bool stepped() const { return steps_ > 0 && !(report_.status == Status::diverged).any(); }

  void conclude() {
    for (Index j = 0; j < report_.batch(); ++j) {
      if (report_.status(j) == Status::diverged) continue;
      if (!std::isfinite(report_.residual(j)))
        report_.status(j) = Status::diverged;
      else if (tolerance_ == 0)
        report_.status(j) = Status::fixed_steps;
      else if (report_.residual(j) <= tolerance_ * scale_(j))
        report_.status(j) = Status::converged;
    }
  }

  double tolerance_;
  Index limit_;
  double rate_;
  PerSample<double> scale_;
  P stepper_;
  Group group_;
  Index units_ = 0;
  PerSample<bool> pending_;
  PerSample<RealOf<S>> change_;
  Report report_;
  Index steps_ = 0;
  const Beginning<S>* begin_ = nullptr;  // during a run, where s does not hold what it stores
};

/// A Stepper made of two functions, step(s, next) and residual(s, out), which it refers to.
template <Scalar S, class Step, class Residual>
class Stepping {
 public:
  /// Both must outlive this.
  Stepping(const Step& step, const Residual& residual) : step_(&step), residual_(&residual) {}

  /// As Stepper says.
  ///@{
  void step(StateRef<S> s, PerSample<RealOf<S>>* change) {
    next_.resize(s.rows(), s.cols());
    (*step_)(s, next_);
    accept<S>(next_, s, change);
  }
  void residual(const ConstStateRef<S>& s, bool, PerSample<double>& out) { (*residual_)(s, out); }
  bool separable() const { return false; }
  bool fell_back(Index) const { return false; }
  Stepping select(Samples) const { return *this; }
  ///@}

 private:
  const Step* step_;
  const Residual* residual_;
  State<S> next_;
};

/// Iterates s, in place, by those two functions; see Iteration.
template <Scalar S, class Step, class Residual>
Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale, const Step& step,
               const Residual& residual, StateRef<S> s, const Observer<S>& observe = {}) {
  using Both = Stepping<S, Step, Residual>;
  return Iteration<S, Both>(rule, rate, std::move(scale), Both(step, residual)).run(s, observe);
}

}  // namespace equiprop
