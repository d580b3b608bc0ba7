#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop {

template <std::floating_point S>
Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                      const ConstStateRef<S>& s_star,
                                      const LinearSolver& linear_solver, Wanted wanted) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, wanted);
  HostBatch<S> batch(energy, cost);
  batch.write(free_slot, s_star);
  AddTo<S> sum(gradient.parameters);
  recurrent_backpropagation(batch, linear_solver, sum, gradient.report);
  const S weight = S(-1) / static_cast<S>(s_star.cols());
  if (wanted == Wanted::everything)
    batch.mixed_input(free_slot, adjoint_slot, weight, gradient.inputs);
  if (!all_finite(gradient.parameters)) explain_product(batch, weight, gradient.report);
  return gradient;
}

template <std::floating_point S>
Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                      const ConstStateRef<S>& s_star,
                                      const LinearSolver& linear_solver, ParameterSink<S>& sink) {
  check_fixed_point<S>(energy, cost, s_star);
  HostBatch<S> batch(energy, cost);
  batch.write(free_slot, s_star);
  Gradient<S> gradient{{}, {}, batch.objective(free_slot), {}};
  recurrent_backpropagation(batch, linear_solver, sink, gradient.report);
  return gradient;
}

#define INSTANTIATE(S)                                                                         \
  template Gradient<S> recurrent_backpropagation(const AnyEnergy<S>&, const AnyCost<S>&,       \
                                                 const ConstStateRef<S>&, const LinearSolver&, \
                                                 Wanted);                                      \
  template Gradient<S> recurrent_backpropagation(const AnyEnergy<S>&, const AnyCost<S>&,       \
                                                 const ConstStateRef<S>&, const LinearSolver&, \
                                                 ParameterSink<S>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
