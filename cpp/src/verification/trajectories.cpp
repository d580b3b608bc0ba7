#include "equiprop/verification/trajectories.hpp"

#include "equiprop/base/interrupt.hpp"

namespace equiprop {
namespace {

constexpr const char* where = "trajectories";

void require_free(const State<double>& free_units, Integrator integrator) {
  require(integrator == Integrator::euler || (free_units.array() != 0).all(), where,
          "Runge-Kutta needs a fixed point at which no bound holds a unit. Use Euler.",
          (free_units.array() == 0).count(), " held units");
}

}  // namespace

void ProcessOptions::check() const {
  require(steps >= 0, where, "The number of steps is at least 0.", steps);
  require(step_size > 0 && std::isfinite(step_size), where, "The step size is a positive number.",
          step_size);
}

// ---------------------------------------------------------------------------- error derivatives

ErrorProcess::ErrorProcess(AnyEnergy<double> energy, const AnyCost<double>& cost,
                           State<double> s_star, const ProcessOptions& options)
    : energy_(std::move(energy)),
      s_star_(std::move(s_star)),
      options_(options),
      free_units_(s_star_.rows(), s_star_.cols()),
      state_(free_units_),
      image_(free_units_),
      parameters_(start_gradient<double>(energy_, cost, s_star_, Wanted::parameters).parameters) {
  options.check();
  energy_.mobility(s_star_, {}, free_units_);
  free_units_ = (free_units_.array() != 0).cast<double>();
  require_free(free_units_, options.integrator);
  cost_gradient<double>(cost, s_star_, state_);
}

void ErrorProcess::step() {
  if (options_.integrator == Integrator::euler)
    euler();
  else
    runge_kutta();
}

void ErrorProcess::euler() {
  const double weight = -options_.step_size / static_cast<double>(state_.cols());
  state_.array() *= free_units_.array();
  energy_.mixed_derivative_product(s_star_, state_, weight, parameters_);
  energy_.transposed_hessian_vector_product(s_star_, state_, image_);
  state_ -= options_.step_size * image_;
}

/// Takes a step of Runge-Kutta. dTheta/dt is linear in Sbar, so the stages are summed before one product.
void ErrorProcess::runge_kutta() {
  const double h = options_.step_size;
  stage_ = state_;
  sum_ = state_;
  for (const auto& [next, weight] : {std::pair{h / 2, 2.0}, {h / 2, 2.0}, {h, 1.0}}) {
    energy_.transposed_hessian_vector_product(s_star_, stage_, image_);
    stage_ = state_ - next * image_;
    sum_ += weight * stage_;
  }
  const double weight = -h / 6 / static_cast<double>(state_.cols());
  energy_.mixed_derivative_product(s_star_, sum_, weight, parameters_);
  energy_.transposed_hessian_vector_product(s_star_, sum_, image_);
  state_ -= h / 6 * image_;
}

// ---------------------------------------------------------------------------- temporal derivatives

template <class S>
TemporalProcess<S>::TemporalProcess(AnyEnergy<S> energy, const AnyCost<S>& cost,
                                    const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                                    const ProcessOptions& options)
    : energy_(std::move(energy)),
      options_(options),
      samples_(static_cast<RealOf<S>>(s_star.cols())),
      state_(s_star.rows(), s_star.cols()),
      next_(s_star.rows(), s_star.cols()),
      parameters_(start_gradient<S>(energy_, cost, s_star, Wanted::parameters).parameters) {
  options.check();
  if (!energy_.conservative()) s_star_ = s_star;
  for (const auto& node : nudging)
    flows_.push_back({TotalEnergy<S>(energy_, cost, node.beta), node.weight, s_star});
  step();
}

template <class S>
void TemporalProcess<S>::step() {
  state_.setZero();
  parameters_.setZero();
  for (Flow& flow : flows_) {
    if (energy_.conservative()) {
      energy_.parameter_gradient(flow.s, flow.weight / samples_, parameters_);
    } else {
      next_ = flow.s - s_star_;
      energy_.mixed_derivative_product(s_star_, next_, flow.weight / samples_, parameters_);
    }
    if (options_.integrator == Integrator::euler)
      euler(flow);
    else
      runge_kutta(flow);
  }
}

/// Takes an Euler step, the same as the free phase's solver, and adds the flow's forward difference to the state's
/// derivative.
template <class S>
void TemporalProcess<S>::euler(Flow& flow) {
  Euler solver;
  solver.step_size = options_.step_size;
  solver.step<S>(flow.total, flow.s, next_);
  state_ += flow.weight / S(static_cast<RealOf<S>>(options_.step_size)) * (next_ - flow.s);
  flow.s.swap(next_);
}

/// Takes a step of Runge-Kutta and adds the velocity to the state's derivative.
template <class S>
void TemporalProcess<S>::runge_kutta(Flow& flow) {
  const auto h = static_cast<RealOf<S>>(options_.step_size);
  flow.total.gradient(flow.s, next_);
  state_ -= flow.weight * next_;
  sum_ = next_;
  for (const auto& [next, weight] : {std::pair{h / 2, 2}, {h / 2, 2}, {h, 1}}) {
    stage_ = flow.s - S(next) * next_;
    flow.total.gradient(stage_, next_);
    sum_ += S(weight) * next_;
  }
  flow.s -= S(h / 6) * sum_;
}

template class TemporalProcess<double>;
template class TemporalProcess<Dual<double>>;

// ---------------------------------------------------------------------------- observers

void error_derivatives(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                       const ConstStateRef<double>& s_star, const ProcessOptions& options,
                       const ProcessObserver<double>& observe) {
  ErrorProcess process(energy, cost, s_star, options);
  for (Index n = 0; n <= options.steps; ++n) {
    poll_interrupt();
    observe(n, process.state(), process.parameters());
    if (n < options.steps) process.step();
  }
}

template <class S>
void temporal_derivatives(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                          const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                          const ProcessOptions& options, const ProcessObserver<S>& observe) {
  TemporalProcess<S> process(energy, cost, s_star, nudging, options);
  for (Index n = 0; n <= options.steps; ++n) {
    poll_interrupt();
    observe(n, process.state(), process.parameters());
    if (n < options.steps) process.step();
  }
}

template void temporal_derivatives(const AnyEnergy<double>&, const AnyCost<double>&,
                                   const ConstStateRef<double>&, const NudgingRule<double>&,
                                   const ProcessOptions&, const ProcessObserver<double>&);
template void temporal_derivatives(const AnyEnergy<Dual<double>>&, const AnyCost<Dual<double>>&,
                                   const ConstStateRef<Dual<double>>&,
                                   const NudgingRule<Dual<double>>&, const ProcessOptions&,
                                   const ProcessObserver<Dual<double>>&);

}  // namespace equiprop
