#include <numeric>

#include "accuracy.hpp"
#include "equiprop/second_phase/host_batch.hpp"

/// The error of the gradient by Equilibrium Propagation.

namespace equiprop {
namespace {

/// Returns the part of a weighted state that enters the gradient.
template <Scalar S>
S counted(const S& v) {
  if constexpr (std::same_as<S, Dual<double>>)
    return S(v.derivative);
  else
    return S(real_part(v));
}

/// Returns the rounding error of a state in units of max |s|. The derivative of a dual state is not a difference of two
/// states, so that rounding errors do not matter there.
template <Scalar S>
double rounding(Judging judging) {
  return std::same_as<S, Dual<double>>
             ? 0
             : accuracy::precision(judging).rounding * accuracy::epsilon<S>;
}

/// Returns <v, H v> of each sample at s_star, restricted to the units that no bound holds.
template <Scalar S>
PerSample<S> curvature_along(const AnyEnergy<S>& energy, const State<S>& s_star, State<S> v) {
  State<S> image(v.rows(), v.cols());
  energy.mobility(s_star, {}, image);
  v = (image.array() > S(0)).select(v, State<S>::Zero(v.rows(), v.cols()));
  energy.hessian_vector_product(s_star, v, image);
  return inner<S>(v, image);
}

}  // namespace

/// Stores sum_k weights_k s_k of sample j in column_.
template <Scalar S>
void HostBatch<S>::take_response(const NudgingRule<S>& rule, Slot first, Index j) {
  copy_to(column_, rule[0].weight * states_[first].col(j));
  for (std::size_t k = 1; k < rule.size(); ++k)
    column_ += rule[k].weight * states_[first + k].col(j);
  if constexpr (!std::floating_point<S>) column_ = column_.unaryExpr(&counted<S>).eval();
}

/// Returns the amplification that is expected of the nudged phases of sample j: that of the free phase, up to
/// most_inherited, or most_inherited if this batch did not run the free phase.
template <Scalar S>
double HostBatch<S>::inherited(Index j) const {
  if (!relaxed(free_slot)) return accuracy::most_inherited;
  return std::min(accuracy::amplification(report(free_slot), j), accuracy::most_inherited);
}

/// Returns the amplification of sample j of a nudged phase: the measured one, and at least the expected one if this batch
/// ran the free phase or if the phase was too short to measure one.
template <Scalar S>
double HostBatch<S>::amplification(const Report& phase, Index j) const {
  const double measured = accuracy::amplification(phase, j);
  if (!relaxed(free_slot) && phase.iterations(j) >= 3) return measured;
  return std::max(measured, inherited(j));
}

/// Stores the residuals at which nudged phases stop in aims_. With responses as large as the forces |dC/ds|, the error of
/// sample j is sum_k |w_k| A_j r / |dC/ds|; if the batch is judged as a whole, the forces count by their root mean square.
template <Scalar S>
void HostBatch<S>::aim(const NudgingRule<S>& rule, Slot from) {
  if (std::same_as<S, Dual<double>> || judging_ == Judging::none) return resize_to(aims_, 0);
  take_pull(from);
  resize_to(aims_, samples());
  for (Index j = 0; j < samples(); ++j) aims_(j) = largest_in<S>(pull_, j);
  if (judging_ == Judging::batch) aims_.setConstant(std::sqrt(aims_.square().mean()));
  double weights = 0;
  for (const auto& node : rule) weights += static_cast<double>(magnitude(node.weight));
  for (Index j = 0; j < samples(); ++j)
    aims_(j) = std::max(accuracy::stop * most_gradient_error * aims_(j) / (weights * inherited(j)),
                        least_residual(largest_in<S>(states_[from], j)));
}

/// Stores the estimate of each sample in report.error: sum_k |w_k| |error of s_k| / |sum_k w_k s_k|, in maximum norms,
/// where the denominator is the resolved size of the response, plus what errors of the states change in the curvature.
template <Scalar S>
void HostBatch<S>::estimate_contrast(const NudgingRule<S>& rule, Slot first, Report& report) {
  resize_to(response_, samples());
  resize_to(weight_, samples());
  resize_to(size_, samples());
  take_pull(free_slot);
  const double cautious = accuracy::caution(phases_[first]->solver),
               rounded = rounding<S>(judging_);
  for (Index j = 0; j < samples(); ++j) {
    size_(j) = largest_in<S>(states_[first], j);
    take_response(rule, first, j);
    const auto [response, resolved] =
        accuracy::measure(column_.data(), column_.rows(), energy_.layers());
    response_(j) = response;
    const double divisor = std::max(resolved, accuracy::negligible * size_(j));
    weight_(j) = std::max(response, accuracy::negligible * size_(j));
    const double force = std::max(largest_in<S>(pull_, j), accuracy::negligible * size_(j));
    const double gain = force > 0 ? response / force : 0, bend = accuracy::smooth_bend * gain;
    double error = 0;
    for (std::size_t k = 0; k < rule.size(); ++k) {
      const Report& phase = this->report(first + k);
      const double amplified = amplification(phase, j);
      const double of_state = (cautious * phase.residual(j) + rounded * size_(j)) * amplified;
      const double weight = static_cast<double>(magnitude(rule[k].weight));
      if (of_state != 0) error += of_state * (weight / divisor + bend);
    }
    report.error(j) = error * std::max(1.0, gain / accuracy::usual_gain);
  }
  judge(report);
}

/// Relaxes a phase further in the samples whose estimate is too large. Returns false if there are none.
template <Scalar S>
bool HostBatch<S>::tighten(const Report& report, Slot slot) {
  const Report& phase = this->report(slot);
  bool any = false;
  forget_requests();
  for (Index j = 0; j < samples(); ++j) {
    if (!accuracy::exceeds(report, j, accuracy::refined) || phase.status(j) != Status::converged)
      continue;
    any = request(phase, j, accuracy::aim * most_gradient_error / report.error(j), size_(j)) || any;
  }
  if (any) phases_[slot]->relaxation->resume(states_[slot], limits_);
  return any;
}

template <Scalar S>
void HostBatch<S>::refine(const NudgingRule<S>& rule, Slot first, Report& report) {
  if (judging_ == Judging::none) return;
  aims_.setConstant(std::numeric_limits<double>::infinity());
  estimate_contrast(rule, first, report);
  bool any = true;
  for (int round = 0;
       any && !acceptable(report, accuracy::refined) && round < accuracy::most_rounds; ++round) {
    any = false;
    for (std::size_t k = 0; k < rule.size(); ++k) any = tighten(report, first + k) || any;
    if (!any) break;
    report.restart(samples());
    report.status.setConstant(Status::converged);
    for (std::size_t k = 0; k < rule.size(); ++k) report.merge(this->report(first + k));
    estimate_contrast(rule, first, report);
  }
  if (!acceptable(report, 1)) accuracy::mark_inaccurate(report);
  if constexpr (std::floating_point<S>) mark_saddles(rule, first, report);
}

/// Returns the samples at rest whose response exceeds twice the force: at a saddle the states leave s*, however small
/// the force is.
template <Scalar S>
std::vector<Index> HostBatch<S>::suspects(const Report& report) {
  std::vector<Index> found;
  for (Index j = 0; j < samples(); ++j)
    if (accuracy::at_rest(report.status(j)) && response_(j) > 2 * largest_in<S>(pull_, j))
      found.push_back(j);
  return found;
}

/// Marks a sample as indefinite if the Hessian at the free state, restricted to the units that no bound holds, has
/// negative curvature along the response. At a minimum it has none in any direction.
template <Scalar S>
void HostBatch<S>::mark_saddles(const NudgingRule<S>& rule, Slot first, Report& report) {
  if (!energy_.conservative()) return;
  const std::vector<Index> marked = suspects(report);
  if (marked.empty()) return;
  std::vector<Index> which = marked;
  if (!energy_.separable()) {
    which.resize(static_cast<std::size_t>(samples()));
    std::iota(which.begin(), which.end(), Index{0});
  }
  State<S> v(energy_.num_units(), static_cast<Index>(which.size()));
  for (Index i = 0; i < v.cols(); ++i) {
    take_response(rule, first, which[static_cast<std::size_t>(i)]);
    v.col(i) = column_;
  }
  const AnyEnergy<S> energy = energy_.separable() ? energy_.select(which) : energy_;
  const PerSample<S> curvature =
      curvature_along<S>(energy, columns_of<S>(states_[free_slot], which), std::move(v));
  for (const Index j : marked) {
    const auto place = std::lower_bound(which.begin(), which.end(), j) - which.begin();
    if (curvature(place) < 0) report.status(j) = Status::indefinite;
  }
}

#define INSTANTIATE(S)                                                                 \
  template double HostBatch<S>::inherited(Index) const;                                \
  template double HostBatch<S>::amplification(const Report&, Index) const;             \
  template void HostBatch<S>::aim(const NudgingRule<S>&, Slot);                        \
  template void HostBatch<S>::take_response(const NudgingRule<S>&, Slot, Index);       \
  template void HostBatch<S>::estimate_contrast(const NudgingRule<S>&, Slot, Report&); \
  template bool HostBatch<S>::tighten(const Report&, Slot);                            \
  template void HostBatch<S>::refine(const NudgingRule<S>&, Slot, Report&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE
template std::vector<Index> HostBatch<float>::suspects(const Report&);
template std::vector<Index> HostBatch<double>::suspects(const Report&);
template void HostBatch<float>::mark_saddles(const NudgingRule<float>&, Slot, Report&);
template void HostBatch<double>::mark_saddles(const NudgingRule<double>&, Slot, Report&);

}  // namespace equiprop
