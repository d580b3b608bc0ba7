#include "equiprop/second_phase/backpropagation_through_time.hpp"

#include "equiprop/base/interrupt.hpp"
#include "equiprop/second_phase/equilibrium_propagation.hpp"

namespace equiprop {
namespace {

/// The reverse sweep, one step at a time.
template <class S>
class Sweep {
 public:
  Sweep(const AnyEnergy<S>& energy, const Solver& solver) : energy_(energy), solver_(solver) {}

  /// Replaces the adjoint of the state after a step from s by the adjoint of s.
  void step(const State<S>& s, S weight, State<S>& adjoint, Gradient<S>& gradient) {
    resize_to(response_, s.rows(), s.cols());
    resize_to(image_, s.rows(), s.cols());
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

/// Sets the statuses. Only the last state shows which samples diverged, because a sweep does not compute the term of
/// each sample.
template <class S>
void check_sweep(Gradient<S>& gradient, const State<S>& last) {
  for (Index j = 0; j < last.cols(); ++j)
    if (!all_finite(last.col(j))) gradient.report.status(j) = Status::diverged;
  if (!all_finite(gradient.parameters)) explain_overflow(gradient.report, [](Report&) {});
}

}  // namespace

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
  for (Index j = 0; j < cost.sample_weights().size(); ++j)
    adjoint.col(j) *= cost.sample_weights()(j);
  Sweep<S> sweep(energy, solver);
  for (Index t = 0;; ++t) {
    poll_interrupt();
    if (observe) observe(t, adjoint, gradient.parameters);
    if (t == steps) break;
    sweep.step(trajectory[static_cast<std::size_t>(steps - t - 1)], weight, adjoint, gradient);
  }
  check_sweep<S>(gradient, trajectory.back());
  return gradient;
}

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

}  // namespace equiprop
