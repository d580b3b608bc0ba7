#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/second_phase/backpropagation_through_time.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"

namespace equiprop {
namespace {

/// Conjugate gradients on the outputs' block of a network of two blocks, A = (D_a^-1 F; F^T D_o^-1): the other one is
/// eliminated exactly (Reid 1972), so half as many products reach the same residual. The cost pulls on the outputs
/// alone, and what is 0 outside their block stays so.
template <class S>
class EliminatedBlock {
 public:
  EliminatedBlock(const AnyEnergy<S>& energy, const ConstStateRef<S>& s_star,
                  const State<S>& mobility)
      : energy_(energy), s_star_(s_star), mobility_(mobility), kept_(energy.output_block()) {}

  /// Whether there is such a block; asked with no sample.
  static bool exists(const AnyEnergy<S>& energy) {
    const State<S> none(energy.num_units(), 0);
    State<S> out(energy.num_units(), 0);
    return energy.conservative() && energy.num_blocks() == 2 &&
           energy.block_hessian_product(0, none, none, out);
  }

  /// out = (D_o^-1 - F^T D_a F) v
  void multiply(const ConstStateRef<S>& v, StateRef<S> out) {
    whole_.resize(v.rows(), v.cols());
    complete(v, whole_);
    energy_.block_hessian_product(kept_, s_star_, whole_, out);
  }
  /// whole = x with the eliminated units of a solution: x_a = -D_a F x_o. It may be x.
  void complete(const ConstStateRef<S>& x, StateRef<S> whole) {
    product_.resize(x.rows(), x.cols());
    energy_.block_hessian_product(1 - kept_, s_star_, x, product_);
    whole.array() = x.array() - mobility_.array() * product_.array();
  }

 private:
  const AnyEnergy<S>& energy_;
  const ConstStateRef<S>& s_star_;
  const State<S>& mobility_;
  Index kept_;
  State<S> whole_, product_;
};

/// lambda = A^-1 dC/ds for the samples of `energy`.
template <class S>
Report solve_samples(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                     const ConstStateRef<S>& s_star, const LinearSolver& linear_solver,
                     StateRef<S> lambda) {
  State<S> mobility(s_star.rows(), s_star.cols()), force(s_star.rows(), s_star.cols());
  energy.mobility(s_star, {}, mobility);
  cost_gradient<S>(cost, s_star, force);
  if (std::holds_alternative<ConjugateGradient>(linear_solver) &&
      EliminatedBlock<S>::exists(energy)) {
    EliminatedBlock<S> eliminated(energy, s_star, mobility);
    const LinearOperator<S> kept = [&](const ConstStateRef<S>& v, StateRef<S> out) {
      eliminated.multiply(v, out);
    };
    const Report report = solve<S>(linear_solver, LinearSystem<S>{kept, mobility, force}, lambda);
    eliminated.complete(lambda, lambda);
    return report;
  }
  const LinearOperator<S> hessian = [&](const ConstStateRef<S>& v, StateRef<S> out) {
    energy.transposed_hessian_vector_product(s_star, v, out);
  };
  return solve<S>(linear_solver, LinearSystem<S>{hessian, mobility, force}, lambda);
}

/// The same for a whole batch, which threads share.
template <class S>
State<S> solve_side_network(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                            const ConstStateRef<S>& s_star, const LinearSolver& linear_solver,
                            Report& report) {
  require(energy.conservative() || !std::holds_alternative<ConjugateGradient>(linear_solver),
          "recurrent_backpropagation",
          "ConjugateGradient needs a symmetric Hessian. Use GMRES for a vector field.",
          "a model without an energy");
  State<S> lambda(s_star.rows(), s_star.cols());
  if (energy.divisible())
    // A piece stops with its slowest sample; the kernels lose little on few.
    for_each_chunk(s_star.cols(), energy.separable() ? Index{24} : chunk_columns,
                   [&](Index begin, Index count) {
                     report.place(
                         begin,
                         solve_samples<S>(energy.samples(begin, count), cost.samples(begin, count),
                                          s_star.middleCols(begin, count), linear_solver,
                                          lambda.middleCols(begin, count)));
                   });
  else
    report = solve_samples<S>(energy, cost, s_star, linear_solver, lambda);
  return lambda;
}

/// `part` of every number of a gradient.
template <class S, class Part>
Gradient<double> part_of(const Gradient<S>& gradient, const Part& part) {
  return {gradient.parameters.unaryExpr(part), gradient.inputs.unaryExpr(part),
          real_part(gradient.objective), gradient.report};
}

/// Whether a relaxation may begin at any state and runs to a tolerance, so that where it begins changes only the
/// number of its steps.
template <class S>
bool begins_anywhere(const Solver& solver) {
  const StoppingRule& rule =
      std::visit([](const auto& chosen) -> const StoppingRule& { return chosen; }, solver);
  return !std::holds_alternative<Euler>(solver) && rule.tolerance_for<S>() > 0;
}

/// One step of the reverse sweep.
template <class S>
class Sweep {
 public:
  Sweep(const AnyEnergy<S>& energy, const Solver& solver) : energy_(energy), solver_(solver) {}

  /// Turns the adjoint of the state after a step from s into that of s.
  void step(const State<S>& s, S weight, State<S>& adjoint, Gradient<S>& gradient) {
    response_.resize(s.rows(), s.cols());
    image_.resize(s.rows(), s.cols());
    if (const auto* euler = std::get_if<Euler>(&solver_))
      euler_step(s, S(static_cast<RealOf<S>>(euler->step_size)), weight, adjoint, gradient);
    else
      map_step(s, S(static_cast<RealOf<S>>(std::get<FixedPointIteration>(solver_).rate())), weight,
               adjoint, gradient);
  }

 private:
  void euler_step(const State<S>& s, S step_size, S weight, State<S>& adjoint,
                  Gradient<S>& gradient) {
    energy_.gradient(s, image_);
    image_ = s - step_size * image_;
    response_ = image_;
    energy_.project(response_);
    adjoint =
        (response_.array() == image_.array()).select(adjoint, State<S>::Zero(s.rows(), s.cols()));
    add_products(s, adjoint, step_size * weight, gradient);
    energy_.transposed_hessian_vector_product(s, adjoint, image_);
    adjoint -= step_size * image_;
  }
  void map_step(const State<S>& s, S rate, S weight, State<S>& adjoint, Gradient<S>& gradient) {
    energy_.mobility(s, {}, response_);
    response_.array() *= adjoint.array();
    add_products(s, response_, rate * weight, gradient);
    energy_.transposed_map_product(s, {}, adjoint, image_);
    adjoint = (S(1) - rate) * adjoint + rate * image_;
  }
  void add_products(const State<S>& s, const State<S>& v, S weight, Gradient<S>& gradient) const {
    energy_.mixed_derivative_product(s, v, weight, gradient.parameters);
    if (gradient.inputs.size() > 0) energy_.mixed_input_product(s, v, weight, gradient.inputs);
  }

  const AnyEnergy<S>& energy_;
  const Solver& solver_;
  State<S> response_, image_;
};

/// Sums over the batch can overflow although every state is finite: no such gradient is "converged".
template <class S>
void check_sums(Gradient<S>& gradient) {
  bool finite = true;
  if constexpr (std::same_as<S, Dual<double>>)
    for (const S& v : gradient.parameters) finite = finite && std::isfinite(magnitude(v));
  else
    finite = all_finite(gradient.parameters);
  if (!finite) gradient.report.status.setConstant(Status::diverged);
}

bool any_diverged(const Report& report) {
  return (report.status == Status::diverged).any();
}

/// The step along a gradient that is finite.
template <class S>
void descend_along(Gradient<S>& gradient, const Descending<S>& descending) {
  check_sums<S>(gradient);
  if (!any_diverged(gradient.report)) descending.apply(0, gradient.parameters);
}

}  // namespace

template <class S>
EquilibriumPropagation<S>::EquilibriumPropagation(AnyEnergy<S> energy, AnyCost<S> cost,
                                                  const NudgingRule<S>& nudging,
                                                  const Solver& solver)
    : energy_(std::move(energy)),
      cost_(std::move(cost)),
      nudging_(nudging),
      anywhere_(begins_anywhere<S>(solver)),
      states_(nudging.size()),
      weights_(nudging.size()) {
  for (const auto& node : nudging_)
    phases_.emplace_back(TotalEnergy<S>(energy_, cost_, node.beta), solver);
}

/// The phase of a node starts at s*, or across it from where the opposite beta has led.
template <class S>
void EquilibriumPropagation<S>::start(std::size_t k, const ConstStateRef<S>& s_star, Index begin,
                                      StateRef<S> s) const {
  const auto free = s_star.middleCols(begin, s.cols());
  if (k > 0 && anywhere_ && nudging_[k].beta == -nudging_[k - 1].beta)
    s = S(2) * free - states_[k - 1].middleCols(begin, s.cols());
  else
    s = free;
}

template <class S>
void EquilibriumPropagation<S>::relax(const ConstStateRef<S>& s_star) {
  check_fixed_point<S>(energy_, cost_, s_star);
  report_.restart(s_star.cols());
  report_.status.setConstant(Status::converged);
  const S samples(static_cast<RealOf<S>>(s_star.cols()));
  for (std::size_t k = 0; k < nudging_.size(); ++k) {
    if (states_[k].size() != s_star.size())
      states_[k] = take_state<S>(s_star.rows(), s_star.cols());
    states_[k].resize(s_star.rows(), s_star.cols());
    const auto start_samples = [&](Index begin, StateRef<S> s) { start(k, s_star, begin, s); };
    report_.merge(phases_[k].run(states_[k], {}, std::cref(start_samples)));
    weights_[k] = nudging_[k].weight / samples;
  }
  if (!energy_.conservative()) displace(s_star);
}

template <class S>
void EquilibriumPropagation<S>::displace(const ConstStateRef<S>& s_star) {
  displacement_.setZero(s_star.rows(), s_star.cols());
  for (std::size_t k = 0; k < states_.size(); ++k)
    displacement_ += weights_[k] * (states_[k] - s_star);
}

/// sum_k w_k dE/dtheta(s_k), and dE/dx if it is wanted. What stands for dE/dtheta in a vector field is linear in the
/// state.
template <class S>
void EquilibriumPropagation<S>::add_contrast(const ConstStateRef<S>& s_star,
                                             Gradient<S>& gradient) {
  const bool inputs = gradient.inputs.size() > 0;
  if (energy_.conservative()) {
    energy_.contrast(states_, weights_, gradient.parameters);
    for (std::size_t k = 0; inputs && k < states_.size(); ++k)
      energy_.input_gradient(states_[k], weights_[k], gradient.inputs);
  } else {
    energy_.mixed_derivative_product(s_star, displacement_, S(1), gradient.parameters);
    if (inputs) energy_.mixed_input_product(s_star, displacement_, S(1), gradient.inputs);
  }
}

template <class S>
void EquilibriumPropagation<S>::add_to(Gradient<S>& gradient, const ConstStateRef<S>& s_star) {
  relax(s_star);
  gradient.report = report_;
  add_contrast(s_star, gradient);
  check_sums<S>(gradient);
}

template <class S>
const Report& EquilibriumPropagation<S>::descend(
    const ConstStateRef<S>& s_star,
    const Descending<S>& descending) requires std::floating_point<S> {
  relax(s_star);
  const auto descend = [&] {
    return energy_.conservative()
               ? energy_.descend_contrast(states_, weights_, descending)
               : energy_.descend_mixed_derivative(s_star, displacement_, S(1), descending);
  };
  if (any_diverged(report_) || descend()) return report_;
  sums_.parameters.setZero(energy_.num_parameters());
  sums_.report = report_;
  add_contrast(s_star, sums_);
  descend_along<S>(sums_, descending);
  return sums_.report;
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
Gradient<S> descend_by_equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                               const ConstStateRef<S>& s_star,
                                               const NudgingRule<S>& nudging, const Solver& solver,
                                               const Descending<S>& descending) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, Wanted::nothing);
  gradient.report =
      EquilibriumPropagation<S>(energy, cost, nudging, solver).descend(s_star, descending);
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

template <std::floating_point S>
Gradient<S> recurrent_backpropagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                      const ConstStateRef<S>& s_star,
                                      const LinearSolver& linear_solver, Wanted wanted) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, wanted);
  const State<S> lambda =
      solve_side_network<S>(energy, cost, s_star, linear_solver, gradient.report);
  const S weight = S(-1) / S(static_cast<RealOf<S>>(s_star.cols()));
  energy.mixed_derivative_product(s_star, lambda, weight, gradient.parameters);
  if (wanted == Wanted::everything)
    energy.mixed_input_product(s_star, lambda, weight, gradient.inputs);
  check_sums<S>(gradient);
  return gradient;
}

template <std::floating_point S>
Gradient<S> descend_by_recurrent_backpropagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                                 const ConstStateRef<S>& s_star,
                                                 const LinearSolver& linear_solver,
                                                 const Descending<S>& descending) {
  Gradient<S> gradient = start_gradient<S>(energy, cost, s_star, Wanted::nothing);
  const State<S> lambda =
      solve_side_network<S>(energy, cost, s_star, linear_solver, gradient.report);
  const S weight = S(-1) / static_cast<S>(s_star.cols());
  if (any_diverged(gradient.report) ||
      energy.descend_mixed_derivative(s_star, lambda, weight, descending))
    return gradient;
  gradient.parameters.setZero(energy.num_parameters());
  energy.mixed_derivative_product(s_star, lambda, weight, gradient.parameters);
  descend_along<S>(gradient, descending);
  gradient.parameters.resize(0);
  return gradient;
}

template <class S>
Gradient<S> backpropagation_through_time(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                         const std::vector<State<S>>& trajectory,
                                         const Solver& solver, Wanted wanted,
                                         const SweepObserver<S>& observe) {
  constexpr const char* where = "backpropagation_through_time";
  require(!trajectory.empty(), where, "A recorded relaxation has at least one state.", "none");
  require(!std::holds_alternative<BlockUpdate>(solver), where,
          "The relaxation is by Euler or FixedPointIteration.", "BlockUpdate");
  require(std::visit([](const auto& chosen) { return chosen.anderson == 0; }, solver), where,
          "The relaxation is not accelerated: anderson is 0.", "another");
  Gradient<S> gradient = start_gradient<S>(energy, cost, trajectory.back(), wanted);
  gradient.report.status.setConstant(Status::fixed_steps);
  const auto steps = static_cast<Index>(trajectory.size()) - 1;
  gradient.report.iterations.setConstant(steps);
  const S weight = S(-1) / S(static_cast<RealOf<S>>(trajectory.back().cols()));
  State<S> adjoint(trajectory.back().rows(), trajectory.back().cols());
  cost_gradient<S>(cost, trajectory.back(), adjoint);
  Sweep<S> sweep(energy, solver);
  for (Index t = 0;; ++t) {
    poll_interrupt();
    if (observe) observe(t, adjoint, gradient.parameters);
    if (t == steps) break;
    sweep.step(trajectory[static_cast<std::size_t>(steps - t - 1)], weight, adjoint, gradient);
  }
  check_sums<S>(gradient);
  return gradient;
}

#define INSTANTIATE(S)                                                                         \
  template class EquilibriumPropagation<S>;                                                    \
  template Gradient<S> equilibrium_propagation(const AnyEnergy<S>&, const AnyCost<S>&,         \
                                               const ConstStateRef<S>&, const NudgingRule<S>&, \
                                               const Solver&, Wanted);
template Gradient<float> backpropagation_through_time(const AnyEnergy<float>&,
                                                      const AnyCost<float>&,
                                                      const std::vector<State<float>>&,
                                                      const Solver&, Wanted,
                                                      const SweepObserver<float>&);
template Gradient<double> backpropagation_through_time(const AnyEnergy<double>&,
                                                       const AnyCost<double>&,
                                                       const std::vector<State<double>>&,
                                                       const Solver&, Wanted,
                                                       const SweepObserver<double>&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE
#define INSTANTIATE(S)                                                                         \
  template Gradient<S> descend_by_equilibrium_propagation(                                     \
      const AnyEnergy<S>&, const AnyCost<S>&, const ConstStateRef<S>&, const NudgingRule<S>&,  \
      const Solver&, const Descending<S>&);                                                    \
  template Gradient<S> recurrent_backpropagation(const AnyEnergy<S>&, const AnyCost<S>&,       \
                                                 const ConstStateRef<S>&, const LinearSolver&, \
                                                 Wanted);                                      \
  template Gradient<S> descend_by_recurrent_backpropagation(                                   \
      const AnyEnergy<S>&, const AnyCost<S>&, const ConstStateRef<S>&, const LinearSolver&,    \
      const Descending<S>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
