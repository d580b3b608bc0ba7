#include "equiprop/second_phase/host_batch.hpp"

#include <algorithm>

#include "accuracy.hpp"

namespace equiprop {
template <Scalar S>
HostBatch<S>::HostBatch(AnyEnergy<S> energy, AnyCost<S> cost)
    : energy_(std::move(energy)), cost_(cost.weighted({})), sample_weights_(cost.sample_weights()) {
  check_cost(energy_, cost_);
}

/// Returns the memory of a slot, in the shape of a state.
template <Scalar S>
State<S>& HostBatch<S>::room(Slot slot) {
  if (states_.size() <= slot) states_.resize(slot + 1);
  State<S>& state = states_[slot];
  if (state.rows() != energy_.num_units() || state.cols() != samples())
    state = take_state<S>(energy_.num_units(), samples());
  return state;
}

template <Scalar S>
void HostBatch<S>::write(Slot slot, const ConstStateRef<S>& s) {
  require(s.rows() == energy_.num_units() && s.cols() > 0, "second_phase",
          "The state is (units, batch) with at least one sample.", s.rows(), " x ", s.cols());
  require(s.cols() == samples(), "second_phase", "Each sample has one target.", samples(),
          " targets for ", s.cols(), " samples");
  room(slot) = s;
  if (slot < phases_.size() && phases_[slot] != nullptr) phases_[slot]->current = false;
}

/// Returns the relaxation that fills a slot; reuses the last one if solver and beta are the same.
template <Scalar S>
Relaxation<S>& HostBatch<S>::phase(Slot to, const Solver& solver, bool nudged, S beta) {
  if (phases_.size() <= to) phases_.resize(to + 1);
  if (phases_[to] == nullptr) phases_[to] = std::make_unique<Phase>();
  Phase& kept = *phases_[to];
  kept.current = true;
  if (kept.relaxation && kept.nudged == nudged && kept.beta == beta && kept.solver == solver)
    return *kept.relaxation;
  kept.beta = beta;
  kept.solver = solver;
  kept.nudged = nudged;
  if (nudged)
    kept.relaxation.emplace(TotalEnergy<S>(energy_, cost_, beta), solver);
  else
    kept.relaxation.emplace(energy_, solver);
  return *kept.relaxation;
}

template <Scalar S>
const Report& HostBatch<S>::relax_free(const Solver& solver, const Start<S>& start, Slot to) {
  Relaxation<S>& relaxation = phase(to, solver, false, S(0));
  const Report& report = relaxation.run(room(to), {}, start);
  for (int round = 0; judging_ != Judging::none && round < accuracy::most_rounds; ++round)
    if (!tighten_state(report, to)) break;
  return report;
}

/// If the batch is judged as a whole, divides the errors of the terms by the root mean square of the terms, not each by
/// its own. response_ holds the sizes of the terms, weight_ those to which the errors in the report are relative.
template <Scalar S>
void HostBatch<S>::judge(Report& report) const {
  if (judging_ != Judging::batch) return;
  const double scale = std::sqrt(response_.square().mean());
  if (scale == 0) return;  // there is no gradient
  for (Index j = 0; j < samples(); ++j)
    if (report.error(j) != 0) report.error(j) *= weight_(j) / scale;
}

/// Returns true if the batch is judged as a whole, and its error is at most `part` of the largest accepted one.
template <Scalar S>
bool HostBatch<S>::acceptable(const Report& report, double part) const {
  return judging_ == Judging::batch && accuracy::small_together(report, part);
}

/// No sample is relaxed further by the next resumption.
template <Scalar S>
void HostBatch<S>::forget_requests() {
  fill(limits_, std::numeric_limits<double>::infinity(), samples());
}

/// Stores dC/ds at the state in a slot in pull_, (rows, batch).
template <Scalar S>
void HostBatch<S>::take_pull(Slot at) {
  resize_to(pull_, cost_.num_rows(), samples());
  cost_.gradient(states_[at].bottomRows(pull_.rows()), pull_);
}

/// Returns the smallest residual that is asked for in a state of this size.
template <Scalar S>
double HostBatch<S>::least_residual(double size) const {
  return accuracy::precision(judging_).residual * accuracy::epsilon<S> * size;
}

/// Lets the next resumption relax sample j of a phase to `factor` times its residual, but not below the rounding error of
/// a state of this size. Returns false if that is not below its present residual.
template <Scalar S>
bool HostBatch<S>::request(const Report& phase, Index j, double factor, double size) {
  const double limit = std::max(factor * phase.residual(j), least_residual(size));
  if (!(limit < phase.residual(j))) return false;
  limits_(j) = limit;
  return true;
}

/// Relaxes a phase further in the samples whose state has a too large error. Returns false if there are none.
template <Scalar S>
bool HostBatch<S>::tighten_state(const Report& phase, Slot slot) {
  bool any = false;
  forget_requests();
  for (Index j = 0; j < samples(); ++j) {
    if (phase.status(j) != Status::converged) continue;
    const double size = largest_in<S>(states_[slot], j);
    if (!(phase.error(j) > most_state_error * size)) continue;
    any = request(phase, j, accuracy::aim * most_state_error * size / phase.error(j), size) || any;
  }
  if (any) phases_[slot]->relaxation->resume(states_[slot], limits_);
  return any;
}

template <Scalar S>
const Report& HostBatch<S>::relax(const Solver& solver, S beta, Slot from, Slot to) {
  Relaxation<S>& relaxation = phase(to, solver, true, beta);
  State<S>& state = room(to);
  const auto start = [&](Index begin, StateRef<S> s) {
    s = states_[from].middleCols(begin, s.cols());
  };
  return relaxation.run(state, {}, std::cref(start), aims_);
}

template <Scalar S>
void HostBatch<S>::displacement(Slot to, Slot first, Slot from, std::span<const S> weights) {
  State<S>& sum = room(to);
  sum.setZero();
  for (std::size_t k = 0; k < weights.size(); ++k)
    sum += weights[k] * (states_[first + k] - states_[from]);
}

/// Calls give(sink). If that returns false, sums the derivative first, checks that it is finite, and hands it over as
/// numbers.
template <Scalar S>
template <class Give>
bool HostBatch<S>::deliver(ParameterSink<S>& sink, const Give& give) {
  if (give(sink)) return true;
  fill(sums_, 0, energy_.num_parameters());
  AddTo<S> sum(sums_);
  give(sum);
  if (!all_parts_finite<S>(sums_)) return false;
  sink.numbers(0, sums_);
  return true;
}

template <Scalar S>
bool HostBatch<S>::contrast(Slot first, std::span<const S> weights, ParameterSink<S>& sink) {
  const std::span<const State<S>> states(states_.data() + first, weights.size());
  const WeightedContrast<S>* weighting = energy_.sample_weighting();
  if (is_weighted() && weighting == nullptr) return contrast_by_weight(first, weights, sink);
  return deliver(sink, [&](ParameterSink<S>& to) {
    return is_weighted() ? weighting->weighted_contrast(states, weights, sample_weights_, to)
                         : energy_.contrast(states, weights, to);
  });
}

/// Adds the terms of some samples of one weight to sums_. An energy that cannot select samples receives the whole batch
/// with the other samples at the free state, where their terms cancel: the weights of a rule sum to 0, or the state has
/// no derivative by beta.
template <Scalar S>
void HostBatch<S>::add_contrast_of(Samples which, Slot first, std::span<const S> weights) {
  const S weight(sample_weights_(which.front()));
  if (energy_.divisible()) {
    const AnyEnergy<S> some = energy_.select(which);
    for (std::size_t k = 0; k < weights.size(); ++k)
      some.parameter_gradient(columns_of<S>(states_[first + k], which), weight * weights[k], sums_);
    return;
  }
  for (std::size_t k = 0; k < weights.size(); ++k) {
    State<S> state = states_[free_slot];
    for (const Index j : which) state.col(j) = states_[first + k].col(j);
    energy_.parameter_gradient(state, weight * weights[k], sums_);
  }
}

/// Delivers the contrast of a model without `sample_weighting`, summed over the samples of each weight in turn.
template <Scalar S>
bool HostBatch<S>::contrast_by_weight(Slot first, std::span<const S> weights,
                                      ParameterSink<S>& sink) {
  fill(sums_, 0, energy_.num_parameters());
  std::vector<Index> order = sample_range(0, samples());
  std::stable_sort(order.begin(), order.end(),
                   [&](Index i, Index j) { return sample_weights_(i) < sample_weights_(j); });
  for (auto begin = order.begin(); begin != order.end();) {
    const RealOf<S> weight = sample_weights_(*begin);
    const auto end =
        std::find_if(begin, order.end(), [&](Index j) { return sample_weights_(j) != weight; });
    if (weight != 0) add_contrast_of({begin, end}, first, weights);
    begin = end;
  }
  if (!all_parts_finite<S>(sums_)) return false;
  sink.numbers(0, sums_);
  return true;
}

/// Returns the state in a slot, times the weights of the samples.
template <Scalar S>
const State<S>& HostBatch<S>::weighted(Slot v) {
  if (!is_weighted()) return states_[v];
  resize_to(weighted_, states_[v].rows(), samples());
  for (Index j = 0; j < samples(); ++j)
    weighted_.col(j) = S(sample_weights_(j)) * states_[v].col(j);
  return weighted_;
}

template <Scalar S>
bool HostBatch<S>::mixed(Slot at, Slot v, S weight, ParameterSink<S>& sink) {
  const State<S>& along = weighted(v);
  return deliver(sink, [&](ParameterSink<S>& to) {
    return energy_.mixed_derivative(states_[at], along, weight, to);
  });
}

/// Marks each sample whose own term is not finite as diverged; add_share(energy of the sample, sample, weight of the
/// sample, sum) adds the term.
template <Scalar S>
template <class AddShare>
void HostBatch<S>::mark_shares(Report& report, const AddShare& add_share) const {
  if (!energy_.divisible()) return;
  Parameters<S> share(energy_.num_parameters());
  for (Index j = 0; j < samples(); ++j) {
    share.setZero();
    const S weight = is_weighted() ? S(sample_weights_(j)) : S(1);
    add_share(energy_.samples(j, 1), j, weight, ParametersRef<S>(share));
    if (!all_parts_finite<S>(share)) report.status(j) = Status::diverged;
  }
}

template <Scalar S>
void HostBatch<S>::mark_contrast(Slot first, std::span<const S> weights, Report& report) const {
  mark_shares(report, [&](const AnyEnergy<S>& sample, Index j, S of_sample,
                          ParametersRef<S> share) {
    for (std::size_t k = 0; k < weights.size(); ++k)
      sample.parameter_gradient(states_[first + k].middleCols(j, 1), of_sample * weights[k], share);
  });
}

template <Scalar S>
void HostBatch<S>::mark_mixed(Slot at, Slot v, S weight, Report& report) const {
  mark_shares(
      report, [&](const AnyEnergy<S>& sample, Index j, S of_sample, ParametersRef<S> share) {
        sample.mixed_derivative_product(states_[at].middleCols(j, 1), states_[v].middleCols(j, 1),
                                        of_sample * weight, share);
      });
}

/// Calls give(out), which adds to out (inputs, batch); scales what it adds by the weights of the samples.
template <Scalar S>
template <class Give>
void HostBatch<S>::add_by_input(StateRef<S> out, const Give& give) const {
  if (!is_weighted()) return give(out);
  State<S> sum = State<S>::Zero(out.rows(), out.cols());
  give(StateRef<S>(sum));
  for (Index j = 0; j < samples(); ++j) out.col(j) += S(sample_weights_(j)) * sum.col(j);
}

template <Scalar S>
void HostBatch<S>::input_contrast(Slot first, std::span<const S> weights, StateRef<S> out) const {
  add_by_input(out, [&](StateRef<S> to) {
    for (std::size_t k = 0; k < weights.size(); ++k)
      energy_.input_gradient(states_[first + k], weights[k], to);
  });
}

template <Scalar S>
void HostBatch<S>::mixed_input(Slot at, Slot v, S weight, StateRef<S> out) const {
  add_by_input(out, [&](StateRef<S> to) {
    energy_.mixed_input_product(states_[at], states_[v], weight, to);
  });
}

template <Scalar S>
S HostBatch<S>::objective(Slot slot) const {
  PerSample<S> values(samples());
  cost_.value(states_[slot].bottomRows(cost_.num_rows()), values);
  return weighted_mean<S>(values, sample_weights_);
}

template class HostBatch<float>;
template class HostBatch<double>;
template class HostBatch<Complex>;
template class HostBatch<Dual<double>>;

}  // namespace equiprop
