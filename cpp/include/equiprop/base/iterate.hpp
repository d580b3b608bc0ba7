#pragma once
/// The one loop of every stepwise solver: step, check each sample alone, freeze it when it is done.

#include <functional>
#include <optional>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/report.hpp"

namespace equiprop {

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

/// Repeats s <- step(s) for each sample until |step(s) - s| <= rate * tolerance * scale suggests,
/// and residual(s) <= tolerance * scale confirms, that it is done. A sample never sees the others:
/// finished ones are frozen, not recomputed.
///
///   step(s, next)     proposes next, (units, batch)
///   residual(s, out)  the solver's residual of each sample, (batch,)
template <Scalar S, class Step, class Residual>
class Iteration {
 public:
  Iteration(const StoppingRule& rule, double rate, PerSample<double> scale, const Step& step,
            const Residual& residual)
      : tolerance_(rule.tolerance_for<S>()),
        limit_(rule.max_iterations),
        rate_(rate),
        scale_(std::move(scale)),
        step_(step),
        residual_(residual) {}

  Report run(StateRef<S> s, const Observer<S>& observe) {
    const Index batch = s.cols();
    Report report(batch);
    next_.resize(s.rows(), batch);
    change_.setZero(batch);
    moving_.setConstant(batch, limit_ > 0);
    if (observe) observe(0, s);
    do {
      while (moving_.any()) advance(s, report, observe);
      residual_(s, report.residual);
    } while (resume_unconfirmed(report));
    conclude(report);
    return report;
  }

 private:
  void advance(StateRef<S>& s, Report& report, const Observer<S>& observe) {
    poll_interrupt();
    step_(s, next_);
    ++steps_;
    if (tolerance_ > 0 || steps_ % steps_between_checks == 0) max_difference<S>(next_, s, change_);
    stop_diverged(report);
    if (moving_.all())
      s = next_;
    else
      for (Index j = 0; j < s.cols(); ++j)
        if (moving_(j)) s.col(j) = next_.col(j);
    for (Index j = 0; j < s.cols(); ++j)
      if (moving_(j)) {
        ++report.iterations(j);
        const bool small = tolerance_ > 0 && change_(j) <= rate_ * tolerance_ * scale_(j);
        moving_(j) = !small && report.iterations(j) < limit_;
      }
    if (observe) observe(steps_, s);
  }

  void stop_diverged(Report& report) {
    for (Index j = 0; j < moving_.size(); ++j)
      if (moving_(j) && !std::isfinite(change_(j))) {
        report.status(j) = Status::diverged;
        moving_(j) = false;
      }
  }

  /// A small step is only a sign; the residual decides. Samples it refutes go on.
  bool resume_unconfirmed(const Report& report) {
    if (tolerance_ == 0) return false;
    for (Index j = 0; j < moving_.size(); ++j)
      moving_(j) = report.status(j) != Status::diverged && report.iterations(j) < limit_ &&
                   report.residual(j) > tolerance_ * scale_(j);
    return moving_.any();
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
  const Step& step_;
  const Residual& residual_;
  State<S> next_;
  PerSample<RealOf<S>> change_;
  PerSample<bool> moving_;
  Index steps_ = 0;
};

template <Scalar S, class Step, class Residual>
Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale, const Step& step,
               const Residual& residual, StateRef<S> s, const Observer<S>& observe = {}) {
  return Iteration<S, Step, Residual>(rule, rate, std::move(scale), step, residual).run(s, observe);
}

}  // namespace equiprop
