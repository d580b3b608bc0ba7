#pragma once
/// The sums of a gradient over a batch: which samples are at fault where they are not finite.

#include "equiprop/second_phase/gradient.hpp"

namespace equiprop {

inline bool any_diverged(const Report& report) {
  return (report.status == Status::diverged).any();
}

template <class S>
bool finite_parameters(const Parameters<S>& parameters) {
  if constexpr (std::same_as<S, Dual<double>>)
    return std::all_of(parameters.begin(), parameters.end(),
                       [](const S& v) { return std::isfinite(magnitude(v)); });
  else
    return all_finite(parameters);
}

/// Sums over the batch can overflow although every state is finite: no such gradient is "converged". A sample that has
/// diverged explains them, and so does one whose own share is not finite; the others keep their status, which is that of
/// each sample alone. Where no sample is at fault the status of all is `diverged`.
///
/// add_share(sample, grad) adds what one sample of `energy` adds to dJ/dtheta; it is called where samples have energies
/// of their own.
template <class S, class AddShare>
void check_sums(Gradient<S>& gradient, const AnyEnergy<S>& energy, const AddShare& add_share) {
  PerSample<Status>& status = gradient.report.status;
  if (finite_parameters<S>(gradient.parameters) || any_diverged(gradient.report)) return;
  Parameters<S> share(gradient.parameters.size());
  for (Index j = 0; energy.divisible() && j < status.size(); ++j) {
    share.setZero();
    add_share(j, ParametersRef<S>(share));
    if (!finite_parameters<S>(share)) status(j) = Status::diverged;
  }
  if (!any_diverged(gradient.report)) status.setConstant(Status::diverged);
}

/// check_sums of weight <v, d2E/dtheta ds>.
template <class S>
void check_product(Gradient<S>& gradient, const AnyEnergy<S>& energy, const ConstStateRef<S>& s,
                   const ConstStateRef<S>& v, S weight) {
  check_sums<S>(gradient, energy, [&](Index j, ParametersRef<S> grad) {
    energy.samples(j, 1).mixed_derivative_product(s.middleCols(j, 1), v.middleCols(j, 1), weight,
                                                  grad);
  });
}

/// Nothing is known of the shares of a sweep's samples but whether their relaxations stayed finite.
template <class S>
void check_sweep(Gradient<S>& gradient, const State<S>& last) {
  for (Index j = 0; j < last.cols(); ++j)
    if (!all_finite(last.col(j))) gradient.report.status(j) = Status::diverged;
  if (!finite_parameters<S>(gradient.parameters) && !any_diverged(gradient.report))
    gradient.report.status.setConstant(Status::diverged);
}

}  // namespace equiprop
