#include "equiprop/base/parallel.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop {
namespace {

/// lambda = A^-1 dC/ds for the samples of `energy`.
template <class S>
Report solve_side_network(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                          const ConstStateRef<S>& s_star, const LinearSolver& linear_solver,
                          StateRef<S> lambda) {
  State<S> mobility(s_star.rows(), s_star.cols()), force(s_star.rows(), s_star.cols());
  energy.mobility(s_star, {}, mobility);
  cost_gradient<S>(cost, s_star, force);
  const LinearOperator<S> hessian = [&](const ConstStateRef<S>& v, StateRef<S> out) {
    energy.hessian_vector_product(s_star, v, out);
  };
  return solve<S>(linear_solver, LinearSystem<S>{hessian, mobility, force}, lambda);
}

State<double> derivative_part(const State<Dual<double>>& a) {
  return a.unaryExpr([](const Dual<double>& v) { return v.derivative; });
}

/// Sums over the batch can overflow although every state is finite: no such gradient is "converged".
template <class S>
Gradient<S> checked(Gradient<S> gradient) {
  bool finite = true;
  if constexpr (std::same_as<S, Dual<double>>)
    for (const S& v : gradient.parameters) finite = finite && std::isfinite(magnitude(v));
  else
    finite = gradient.parameters.allFinite();
  if (!finite) gradient.report.status.setConstant(Status::diverged);
  return gradient;
}

}  // namespace

template <class S>
Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                    const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                                    const Solver& solver, Wanted wanted) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, wanted);
  gradient.report.status.setConstant(Status::converged);
  const S samples(static_cast<RealOf<S>>(s_star.cols()));
  State<S> s;
  for (const auto& [beta, weight] : nudging) {
    s = s_star;
    const AnyEnergy<S> total = TotalEnergy<S>(energy, cost, beta);
    gradient.report.merge(relax<S>(total, solver, s));
    energy.parameter_gradient(s, weight / samples, gradient.parameters);
    if (wanted == Wanted::everything) energy.input_gradient(s, weight / samples, gradient.inputs);
  }
  return checked<S>(std::move(gradient));
}

Gradient<double> equilibrium_propagation_limit(const AnyEnergy<Dual<double>>& energy,
                                               const AnyCost<Dual<double>>& cost,
                                               const ConstStateRef<double>& s_star,
                                               const Solver& solver, Wanted wanted) {
  const State<Dual<double>> start = s_star.cast<Dual<double>>();
  const auto dual =
      equilibrium_propagation<Dual<double>>(energy, cost, start, exact_limit(), solver, wanted);
  return {derivative_part(dual.parameters), derivative_part(dual.inputs), dual.objective.value,
          dual.report};
}

template <class S>
Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                      const ConstStateRef<S>& s_star,
                                      const LinearSolver& linear_solver, Wanted wanted) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, wanted);
  State<S> lambda(s_star.rows(), s_star.cols());
  if (energy.divisible())
    for_each_chunk(s_star.cols(), chunk_columns, [&](Index begin, Index count) {
      gradient.report.place(
          begin, solve_side_network<S>(energy.samples(begin, count), cost.samples(begin, count),
                                       s_star.middleCols(begin, count), linear_solver,
                                       lambda.middleCols(begin, count)));
    });
  else
    gradient.report = solve_side_network<S>(energy, cost, s_star, linear_solver, lambda);
  const S weight = S(-1) / S(static_cast<RealOf<S>>(s_star.cols()));
  energy.mixed_derivative_product(s_star, lambda, weight, gradient.parameters);
  if (wanted == Wanted::everything)
    energy.mixed_input_product(s_star, lambda, weight, gradient.inputs);
  return checked<S>(std::move(gradient));
}

#define INSTANTIATE(S)                                                                         \
  template Gradient<S> equilibrium_propagation(const AnyEnergy<S>&, const AnyCost<S>&,         \
                                               const ConstStateRef<S>&, const NudgingRule<S>&, \
                                               const Solver&, Wanted);                         \
  template Gradient<S> recurrent_backpropagation(const AnyEnergy<S>&, const AnyCost<S>&,       \
                                                 const ConstStateRef<S>&, const LinearSolver&, \
                                                 Wanted);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
