#pragma once
/// Preconditioned conjugate gradients for symmetric positive definite A, one system per sample.

#include "equiprop/linear/linear_operator.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// Hestenes & Stiefel (1952) with the diagonal preconditioner D. Products p^T A p <= 0 end a sample
/// with Status::indefinite: the fixed point A was taken at is not a stable one.
struct ConjugateGradient : StoppingRule {
  template <Scalar S>
  Report solve(const LinearSystem<S>& system, StateRef<S> x) const;
};

namespace detail {

template <Scalar S>
class ConjugateGradientRun {
 public:
  ConjugateGradientRun(const ConjugateGradient& options, const LinearSystem<S>& system)
      : system_(system),
        limit_(options.max_iterations),
        fixed_steps_(options.tolerance_for<S>() == 0),
        unit_(system.scale().unaryExpr([](double scale) {
          return scale > 0 && std::isfinite(scale) ? std::exp2(std::ilogb(scale)) : 1.0;
        })),
        threshold_(system.scale() / unit_ * options.tolerance_for<S>()),
        zero_(State<S>::Zero(system.b.rows(), system.b.cols())) {}

  Report run(StateRef<S> x) {
    const Index batch = x.cols();
    Report report(batch);
    x.setZero();
    r_.resizeLike(system_.b);
    for (Index j = 0; j < batch; ++j) r_.col(j) = system_.b.col(j) / unit(j);
    z_ = system_.diagonal.array() * r_.array();
    p_ = z_;
    q_.resizeLike(p_);
    rho_ = inner<S>(r_, z_);
    moving_.setConstant(batch, true);
    measure(report);
    while (moving_.any()) {
      poll_interrupt();
      step(x, report);
      measure(report);
    }
    for (Index j = 0; j < batch; ++j) x.col(j) *= unit(j);
    report.residual *= unit_;
    return report;
  }

 private:
  void step(StateRef<S>& x, Report& report) {
    system_.matrix(p_, q_);
    for (Index j = 0; j < x.cols(); ++j) {
      if (!moving_(j)) continue;
      const S curvature = (p_.col(j).array() * q_.col(j).array()).sum();
      if (real_part(curvature) <= 0) {
        moving_(j) = false;
        report.status(j) = Status::indefinite;
        continue;
      }
      const S alpha = rho_(j) / curvature;
      x.col(j) += alpha * p_.col(j);
      r_.col(j) -= alpha * q_.col(j);
      z_.col(j) = system_.diagonal.col(j).array() * r_.col(j).array();
      const S rho = (r_.col(j).array() * z_.col(j).array()).sum();
      p_.col(j) = z_.col(j) + (rho / rho_(j)) * p_.col(j);
      rho_(j) = rho;
      ++report.iterations(j);
    }
  }

  S unit(Index j) const { return S(static_cast<equiprop::RealOf<S>>(unit_(j))); }

  /// Decides which samples go on. One solved beyond rounding stops in either mode: the squares that
  /// its next step divides would underflow.
  void measure(Report& report) {
    using Limits = std::numeric_limits<equiprop::RealOf<S>>;
    static const double vanishing = std::sqrt(double{Limits::min()}) / Limits::epsilon();
    max_difference<S>(z_, zero_, report.residual);
    for (Index j = 0; j < moving_.size(); ++j) {
      if (!moving_(j)) continue;
      const double residual = report.residual(j);
      moving_(j) = false;
      if (!std::isfinite(residual))
        report.status(j) = Status::diverged;
      else if (residual <= vanishing || (!fixed_steps_ && residual <= threshold_(j)))
        report.status(j) = Status::converged;
      else if (report.iterations(j) < limit_)
        moving_(j) = true;
      else if (fixed_steps_)
        report.status(j) = Status::fixed_steps;
    }
  }

  const LinearSystem<S>& system_;
  const Index limit_;
  const bool fixed_steps_;
  const PerSample<double> unit_;  ///< a power of two that makes |D b| about 1: squares stay normal
  const PerSample<double> threshold_;
  const State<S> zero_;
  State<S> r_, z_, p_, q_;
  PerSample<S> rho_;
  PerSample<bool> moving_;
};

}  // namespace detail

template <Scalar S>
Report ConjugateGradient::solve(const LinearSystem<S>& system, StateRef<S> x) const {
  check("ConjugateGradient");
  return detail::ConjugateGradientRun<S>(*this, system).run(x);
}

}  // namespace equiprop
