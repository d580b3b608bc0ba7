#pragma once
/// The one loop of every stepwise solver: step, check each sample alone, freeze it when it is done.

#include <functional>
#include <optional>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/report.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// When to stop. tolerance 0: run exactly `max_iterations` steps; absent: default_tolerance<S>().
struct StoppingRule {
  std::optional<double> tolerance{};
  Index max_iterations = 1000;

  void check(std::string_view where) const {
    require(!tolerance || (*tolerance >= 0 && std::isfinite(*tolerance)), where,
            "The tolerance is a finite number, 0 for a fixed number of steps.",
            tolerance.value_or(0));
    require(max_iterations >= 0, where, "max_iterations is at least 0.", max_iterations);
  }
  template <Scalar S>
  double tolerance_for() const {
    return tolerance.value_or(static_cast<double>(default_tolerance<S>()));
  }
};

/// Sees the whole batch after every step; iteration 0 is the start.
template <Scalar S>
using Observer = std::function<void(Index iteration, const ConstStateRef<S>& s)>;

/// Without a tolerance the state is still examined this often, so divergence is noticed in time.
inline constexpr Index steps_between_checks = 16;

/// What is iterated, for the samples of a batch.
template <class P, class S>
concept Stepper = requires(P p, const P c, State<S> s, PerSample<RealOf<S>> change,
                           PerSample<double> residual) {
  p.step(s, &change);       // s <- step(s); unless nullptr, change = max |step(s) - s| per sample
  p.residual(s, residual);  // the solver's residual of each sample, (batch,)
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
  Iteration(const StoppingRule& rule, double rate, PerSample<double> scale, P stepper)
      : tolerance_(rule.tolerance_for<S>()),
        limit_(rule.max_iterations),
        rate_(rate),
        scale_(std::move(scale)),
        stepper_(std::move(stepper)) {}

  Report run(StateRef<S> s, const Observer<S>& observe) {
    Report report(s.cols());
    if (observe) observe(0, s);
    PerSample<bool> pending = PerSample<bool>::Constant(s.cols(), limit_ > 0);
    do {
      if (pending.any()) settle(pending, s, report, observe);
      stepper_.residual(s, report.residual);
      pending = unconfirmed(report);
    } while (pending.any());
    conclude(report);
    return report;
  }

 private:
  /// Samples side by side. Those not `moving` have stopped and only fill their place.
  struct Group {
    std::vector<Index> samples;  // their numbers in the batch
    State<S> state;
    PerSample<bool> moving;
    P stepper;
  };

  void settle(const PerSample<bool>& pending, StateRef<S>& s, Report& report,
              const Observer<S>& observe) {
    Group group{sample_range(0, s.cols()), s, pending, stepper_};
    while (group.moving.any()) {
      if (stepper_.separable()) close_ranks(group);
      advance(group);
      hand_over(group, s, report, bool(observe));
      if (observe) observe(steps_, s);
    }
  }

  /// Leaves out samples that have stopped, once a third have: moving the others costs about a step.
  static void close_ranks(Group& group) {
    const Index size = group.moving.size(), moving = group.moving.count();
    if (3 * moving > 2 * size) return;
    std::vector<Index> kept, samples;
    for (Index j = 0; j < size; ++j)
      if (group.moving(j)) {
        kept.push_back(j);
        samples.push_back(group.samples[static_cast<std::size_t>(j)]);
      }
    group = {std::move(samples), columns_of<S>(group.state, kept),
             PerSample<bool>::Constant(moving, true), group.stepper.select(kept)};
  }

  void advance(Group& group) {
    poll_interrupt();
    ++steps_;
    const bool look = tolerance_ > 0 || steps_ % steps_between_checks == 0;
    change_.setZero(group.state.cols());
    group.stepper.step(group.state, look ? &change_ : nullptr);
  }

  /// Gives s the states of moving samples that stop here, or of all that move. One that diverged in place
  /// leaves there what it started from.
  void hand_over(Group& group, StateRef<S>& s, Report& report, bool all) {
    for (Index j = 0; j < group.moving.size(); ++j) {
      if (!group.moving(j)) continue;
      const Index sample = group.samples[static_cast<std::size_t>(j)];
      report.fallbacks(sample) += group.stepper.fell_back(j) ? 1 : 0;
      group.moving(j) = !stops(sample, change_(j), report);
      if (group.moving(j) ? all : report.status(sample) != Status::diverged || finite(group, j))
        s.col(sample) = group.state.col(j);
    }
  }

  static bool finite(const Group& group, Index j) {
    const auto finite = [](const S& v) { return std::isfinite(magnitude(v)); };
    return std::all_of(group.state.col(j).begin(), group.state.col(j).end(), finite);
  }

  bool stops(Index sample, RealOf<S> change, Report& report) const {
    if (!std::isfinite(change)) {
      report.status(sample) = Status::diverged;
      return true;
    }
    const bool small = tolerance_ > 0 && change <= rate_ * tolerance_ * scale_(sample);
    return ++report.iterations(sample) >= limit_ || small;
  }

  /// A small step is only a sign; the residual decides. Samples it refutes go on.
  PerSample<bool> unconfirmed(const Report& report) const {
    PerSample<bool> refuted = PerSample<bool>::Constant(report.batch(), false);
    if (tolerance_ == 0) return refuted;
    for (Index j = 0; j < report.batch(); ++j)
      refuted(j) = report.status(j) != Status::diverged && report.iterations(j) < limit_ &&
                   report.residual(j) > tolerance_ * scale_(j);
    return refuted;
  }

  void conclude(Report& report) const {
    for (Index j = 0; j < report.batch(); ++j) {
      if (report.status(j) == Status::diverged) continue;
      if (!std::isfinite(report.residual(j)))
        report.status(j) = Status::diverged;
      else if (tolerance_ == 0)
        report.status(j) = Status::fixed_steps;
      else if (report.residual(j) <= tolerance_ * scale_(j))
        report.status(j) = Status::converged;
    }
  }

  double tolerance_;
  Index limit_;
  double rate_;
  PerSample<double> scale_;
  P stepper_;
  PerSample<RealOf<S>> change_;
  Index steps_ = 0;
};

/// A Stepper made of two functions, step(s, next) and residual(s, out).
template <Scalar S, class Step, class Residual>
class Stepping {
 public:
  Stepping(const Step& step, const Residual& residual) : step_(&step), residual_(&residual) {}

  void step(StateRef<S> s, PerSample<RealOf<S>>* change) {
    next_.resize(s.rows(), s.cols());
    (*step_)(s, next_);
    accept<S>(next_, s, change);
  }
  void residual(const ConstStateRef<S>& s, PerSample<double>& out) { (*residual_)(s, out); }
  bool separable() const { return false; }
  bool fell_back(Index) const { return false; }
  Stepping select(Samples) const { return *this; }

 private:
  const Step* step_;
  const Residual* residual_;
  State<S> next_;
};

template <Scalar S, class Step, class Residual>
Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale, const Step& step,
               const Residual& residual, StateRef<S> s, const Observer<S>& observe = {}) {
  using Both = Stepping<S, Step, Residual>;
  return Iteration<S, Both>(rule, rate, std::move(scale), Both(step, residual)).run(s, observe);
}

}  // namespace equiprop
