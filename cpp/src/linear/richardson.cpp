#include "equiprop/linear/richardson.hpp"

namespace equiprop {

template <std::floating_point S>
Report Richardson::solve(const LinearSystem<S>& system, StateRef<S> x) const {
  check("Richardson");
  require(step_size > 0 && std::isfinite(step_size), "Richardson",
          "The step size is a positive number.", step_size);
  const auto correction = [&](const ConstStateRef<S>& at, State<S>& out) {
    system.matrix(at, out);
    out = system.diagonal.array() * (system.b - out).array();
  };
  const auto step = [&](const ConstStateRef<S>& at, State<S>& next) {
    correction(at, next);
    next = at + static_cast<S>(step_size) * next;
  };
  State<S> scratch(x.rows(), x.cols());
  const auto residual = [&](const ConstStateRef<S>& at, PerSample<double>& out) {
    correction(at, scratch);
    largest_sizes<S>(scratch, out);
  };
  x.setZero();
  return iterate<S>(*this, step_size, system.scale(), step, residual, x);
}

template <std::floating_point S>
Report Neumann::solve(const LinearSystem<S>& system, StateRef<S> x) const {
  return Richardson{static_cast<const StoppingRule&>(*this), 1.0}.solve(system, x);
}

template Report Richardson::solve(const LinearSystem<float>&, StateRef<float>) const;
template Report Richardson::solve(const LinearSystem<double>&, StateRef<double>) const;
template Report Neumann::solve(const LinearSystem<float>&, StateRef<float>) const;
template Report Neumann::solve(const LinearSystem<double>&, StateRef<double>) const;

}  // namespace equiprop
