#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace equiprop {
namespace {

/// Applies `part` to every number of a gradient.
template <class S, class Part>
Gradient<double> part_of(const Gradient<S>& gradient, const Part& part) {
  return {gradient.parameters.unaryExpr(part), gradient.inputs.unaryExpr(part),
          real_part(gradient.objective), gradient.report};
}

}  // namespace

template <class S>
EquilibriumPropagation<S>::EquilibriumPropagation(AnyEnergy<S> energy, AnyCost<S> cost,
                                                  const NudgingRule<S>& nudging,
                                                  const Solver& solver, bool refine)
    : batch_(std::move(energy), std::move(cost)), nudging_(nudging), solver_(solver) {
  batch_.set_judging(refine ? Judging::samples : Judging::none);
}

template <class S>
void EquilibriumPropagation<S>::add_to(Gradient<S>& gradient, const ConstStateRef<S>& s_star) {
  batch_.write(free_slot, s_star);
  AddTo<S> sum(gradient.parameters);
  equiprop::equilibrium_propagation(batch_, nudging_, solver_, sum, gradient.report, weights_);
  if (gradient.inputs.size() > 0)
    add_input_contrast(batch_, std::span<const S>(weights_), StateRef<S>(gradient.inputs));
  if (!all_parts_finite<S>(gradient.parameters))
    explain_contrast(batch_, std::span<const S>(weights_), gradient.report);
}

template <class S>
const Report& EquilibriumPropagation<S>::give(const ConstStateRef<S>& s_star,
                                              ParameterSink<S>& sink) {
  batch_.write(free_slot, s_star);
  equiprop::equilibrium_propagation(batch_, nudging_, solver_, sink, report_, weights_);
  return report_;
}

template <class S>
Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                    const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                                    const Solver& solver, Wanted wanted) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, wanted);
  EquilibriumPropagation<S>(energy, cost, nudging, solver).add_to(gradient, s_star);
  return gradient;
}

template <std::floating_point S>
Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                    const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                                    const Solver& solver, ParameterSink<S>& sink) {
  check_fixed_point<S>(energy, cost, s_star);
  HostBatch<S> batch(energy, cost);
  batch.write(free_slot, s_star);
  Gradient<S> gradient{{}, {}, batch.objective(free_slot), {}};
  std::vector<S> weights;
  equilibrium_propagation(batch, nudging, solver, sink, gradient.report, weights);
  return gradient;
}

Gradient<double> equilibrium_propagation_limit(const AnyEnergy<Dual<double>>& energy,
                                               const AnyCost<Dual<double>>& cost,
                                               const ConstStateRef<double>& s_star,
                                               const Solver& solver, Wanted wanted) {
  const State<Dual<double>> start = s_star.cast<Dual<double>>();
  return part_of(
      equilibrium_propagation<Dual<double>>(energy, cost, start, exact_limit(), solver, wanted),
      [](const Dual<double>& v) { return v.derivative; });
}

Gradient<double> holomorphic_equilibrium_propagation(const AnyEnergy<Complex>& energy,
                                                     const AnyCost<Complex>& cost,
                                                     const ConstStateRef<double>& s_star,
                                                     const NudgingRule<Complex>& nudging,
                                                     const Solver& solver, Wanted wanted) {
  const State<Complex> start = s_star.cast<Complex>();
  return part_of(equilibrium_propagation<Complex>(energy, cost, start, nudging, solver, wanted),
                 [](const Complex& v) { return v.real(); });
}

#define INSTANTIATE(S)                                                                         \
  template class EquilibriumPropagation<S>;                                                    \
  template Gradient<S> equilibrium_propagation(const AnyEnergy<S>&, const AnyCost<S>&,         \
                                               const ConstStateRef<S>&, const NudgingRule<S>&, \
                                               const Solver&, Wanted);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE
template Gradient<float> equilibrium_propagation(const AnyEnergy<float>&, const AnyCost<float>&,
                                                 const ConstStateRef<float>&,
                                                 const NudgingRule<float>&, const Solver&,
                                                 ParameterSink<float>&);
template Gradient<double> equilibrium_propagation(const AnyEnergy<double>&, const AnyCost<double>&,
                                                  const ConstStateRef<double>&,
                                                  const NudgingRule<double>&, const Solver&,
                                                  ParameterSink<double>&);

}  // namespace equiprop
