#include "equiprop/base/iterate.hpp"

#include <numeric>
#include <utility>

#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/largest.hpp"

namespace equiprop {

template <Scalar S>
Iteration<S>::Iteration(const StoppingRule& rule, double rate, PerSample<double> scale,
                        std::unique_ptr<Stepper<S>> stepper)
    : tolerance_(rule.tolerance_for<S>()),
      limit_(rule.max_iterations),
      rate_(rate),
      scale_(std::move(scale)),
      stepper_(std::move(stepper)) {}

template <Scalar S>
const Report& Iteration<S>::run(StateRef<S> s, const Observer<S>& observe,
                                const Beginning<S>& begin, const PerSample<double>& limits) {
  report_.restart(s.cols());
  limits_ = limits.size() > 0 ? &limits : nullptr;
  steps_ = 0;
  begin_ = observe || limit_ == 0 ? nullptr : &begin;
  fill(before_, 0, s.cols());
  ratio_.setOnes(s.cols());
  amplification_.setOnes(s.cols());
  if (begin && begin_ == nullptr) begin(s);
  if (observe) observe(0, s);
  fill(pending_, limit_ > 0, s.cols());
  do {
    if (pending_.any()) settle(s, observe);
    stepper_->residual(s, stepped(), report_.residual);
    find_unconfirmed();
  } while (pending_.any());
  limits_ = nullptr;
  conclude();
  return report_;
}

template <Scalar S>
const Report& Iteration<S>::resume(StateRef<S> s, const Report& so_far,
                                   const PerSample<double>& limits) {
  if (&so_far != &report_) report_ = so_far;
  steps_ = (report_.iterations > 0).all() ? 1 : 0;
  begin_ = nullptr;
  limits_ = &limits;
  fill(pending_, false, s.cols());
  fill(before_, 0, s.cols());
  ratio_.setOnes(s.cols());
  // Until two more steps give a new ratio, the amplification is that of the steps so far.
  amplification_ =
      (report_.residual > 0)
          .select(report_.error / (rate_ * report_.residual), PerSample<double>::Ones(s.cols()));
  find_unconfirmed();
  while (pending_.any()) {
    settle(s, {});
    stepper_->residual(s, stepped(), report_.residual);
    find_unconfirmed();
  }
  limits_ = nullptr;
  conclude();
  return report_;
}

template <Scalar S>
void Iteration<S>::settle(StateRef<S>& s, const Observer<S>& observe) {
  gather(s);
  while (group_.moving.any()) {
    if (stepper_->separable()) close_ranks();
    advance();
    hand_over(s, bool(observe));
    if (observe) observe(steps_, s);
  }
}

/// Fills the group with all samples; the pending ones are moving.
template <Scalar S>
void Iteration<S>::gather(const StateRef<S>& s) {
  group_.samples.resize(static_cast<std::size_t>(s.cols()));
  std::iota(group_.samples.begin(), group_.samples.end(), Index{0});
  copy_to(group_.moving, pending_);
  units_ = s.rows();
  if (group_.memory.rows() < units_ || group_.memory.cols() < s.cols())
    resize_to(group_.memory, padded_rows<S>(units_), s.cols());
  if (steps_ == 0 && begin_ != nullptr && *begin_)
    (*begin_)(state());
  else
    state() = s;
  group_.stepper.reset();
  stepper_->restart();
}

/// Compacts the group once a third of its samples have stopped; that costs about one step of the others.
template <Scalar S>
void Iteration<S>::close_ranks() {
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
  fill(group_.moving, true, moving);
  group_.stepper = stepper().select(kept);
}

template <Scalar S>
void Iteration<S>::advance() {
  poll_interrupt();
  ++steps_;
  const bool look = tolerance_ > 0 || steps_ % steps_between_checks == 0;
  fill(change_, 0, group_.moving.size());
  stepper().step(state(), look ? &change_ : nullptr);
}

/// Copies the states of the moving samples that stop in this step to s, or, if `all`, of all moving samples. A sample
/// that diverged and whose state is not finite gets its start state.
template <Scalar S>
void Iteration<S>::hand_over(StateRef<S>& s, bool all) {
  const StateRef<S> states = state();
  for (Index j = 0; j < group_.moving.size(); ++j) {
    if (!group_.moving(j)) continue;
    const Index sample = group_.samples[static_cast<std::size_t>(j)];
    report_.fallbacks(sample) += stepper().fell_back(j) ? 1 : 0;
    estimate(j, static_cast<double>(change_(j)));
    group_.moving(j) = !stops(sample, change_(j));
    if (group_.moving(j) ? all : report_.status(sample) != Status::diverged || finite(j))
      s.col(sample) = states.col(j);
    else if (!group_.moving(j))
      leave(sample, s);
  }
}

/// Copies the start state of a sample to s.
template <Scalar S>
void Iteration<S>::leave(Index sample, StateRef<S>& s) const {
  if (begin_ == nullptr || !*begin_) return;  // s still holds it
  State<S> beginning(s.rows(), s.cols());
  (*begin_)(beginning);
  s.col(sample) = beginning.col(sample);
}

template <Scalar S>
bool Iteration<S>::finite(Index j) {
  const auto finite = [](const S& v) { return std::isfinite(magnitude(v)); };
  const auto sample = state().col(j);
  return std::all_of(sample.begin(), sample.end(), finite);
}

/// Estimates the amplification of a sample of the group from its last two changes. The first change comes from the start
/// and does not count. The ratio of the changes is reduced by their rounding error, so that noise does not raise the
/// amplification.
template <Scalar S>
void Iteration<S>::estimate(Index j, double change) {
  if (tolerance_ == 0) return;
  constexpr double largest = 100, kept = 0.8;
  const Index sample = group_.samples[static_cast<std::size_t>(j)];
  const double before = std::exchange(before_(sample), change);
  if (report_.iterations(sample) < 2 || !(before > 0) || !std::isfinite(change)) return;
  const double noise = std::max(0.01 * target(sample) * rate_, rounding(j, change));
  const double ratio = std::max(change - noise, 0.0) / (before + noise);
  const double growth = std::max(ratio - std::exchange(ratio_(sample), ratio), 0.0);
  const double by_ratio = 1 / std::max(1 - ratio - growth, 1 / largest);
  const double latest = std::max(by_ratio, std::min(stepper().amplification(j), largest));
  amplification_(sample) = std::max({1.0, latest, kept * amplification_(sample)});
}

/// Returns the rounding error of a change of a sample of the group, or 0 where it is negligible.
template <Scalar S>
double Iteration<S>::rounding(Index j, double change) {
  constexpr double epsilon = std::numeric_limits<RealOf<S>>::epsilon();
  if (change > std::sqrt(epsilon)) return 0;
  return 4 * epsilon * largest_of<S>(units_, state().col(j).data());
}

/// Returns the largest residual at which a sample stops.
template <Scalar S>
double Iteration<S>::target(Index j) const {
  const double tolerance = tolerance_ * scale_(j);
  return limits_ != nullptr ? std::min((*limits_)(j), tolerance) : tolerance;
}

template <Scalar S>
bool Iteration<S>::stops(Index sample, RealOf<S> change) {
  if (!std::isfinite(change)) {
    report_.status(sample) = Status::diverged;
    return true;
  }
  const bool small = tolerance_ > 0 && change <= rate_ * target(sample);
  return ++report_.iterations(sample) >= limit_ || small;
}

/// Marks the samples that continue: a small step does not prove convergence, the residual decides.
template <Scalar S>
void Iteration<S>::find_unconfirmed() {
  for (Index j = 0; j < report_.batch(); ++j)
    pending_(j) = tolerance_ > 0 && report_.status(j) != Status::diverged &&
                  report_.iterations(j) < limit_ && report_.residual(j) > target(j);
}

/// Returns true if every sample of s is the result of a step.
template <Scalar S>
bool Iteration<S>::stepped() const {
  return steps_ > 0 && !(report_.status == Status::diverged).any();
}

template <Scalar S>
void Iteration<S>::conclude() {
  for (Index j = 0; j < report_.batch(); ++j) {
    report_.error(j) = rate_ * report_.residual(j) * amplification_(j);
    if (report_.status(j) == Status::diverged) continue;
    if (!std::isfinite(report_.residual(j)))
      report_.status(j) = Status::diverged;
    else if (tolerance_ == 0)
      report_.status(j) = Status::fixed_steps;
    else
      report_.status(j) = report_.residual(j) <= tolerance_ * scale_(j) ? Status::converged
                                                                        : Status::max_iterations;
  }
}

namespace {

/// A stepper made of two functions, which must outlive it.
template <Scalar S>
class FunctionStepper final : public Stepper<S> {
 public:
  FunctionStepper(const StepFunction<S>& step, const ResidualFunction<S>& residual)
      : step_(step), residual_(residual) {}

  void step(StateRef<S> s, PerSample<RealOf<S>>* change) override {
    resize_to(next_, s.rows(), s.cols());
    step_(s, next_);
    accept<S>(next_, s, change);
  }
  void residual(const ConstStateRef<S>& s, bool, PerSample<double>& out) override {
    residual_(s, out);
  }
  bool separable() const override { return false; }
  std::unique_ptr<Stepper<S>> select(Samples) const override {
    return std::make_unique<FunctionStepper>(*this);
  }

 private:
  const StepFunction<S>& step_;
  const ResidualFunction<S>& residual_;
  State<S> next_;
};

}  // namespace

template <Scalar S>
Report iterate(const StoppingRule& rule, double rate, PerSample<double> scale,
               const StepFunction<S>& step, const ResidualFunction<S>& residual, StateRef<S> s,
               const Observer<S>& observe) {
  return Iteration<S>(rule, rate, std::move(scale),
                      std::make_unique<FunctionStepper<S>>(step, residual))
      .run(s, observe);
}

#define INSTANTIATE(S)                                                                        \
  template class Iteration<S>;                                                                \
  template Report iterate<S>(const StoppingRule&, double, PerSample<double>,                  \
                             const StepFunction<S>&, const ResidualFunction<S>&, StateRef<S>, \
                             const Observer<S>&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
