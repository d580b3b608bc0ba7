#include "equiprop/linear/conjugate_gradient.hpp"

#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/kernels.hpp"

namespace equiprop {
namespace {

/// The solution of one linear system, with scratch memory.
template <std::floating_point S>
class ConjugateGradientRun {
 public:
  ConjugateGradientRun(const ConjugateGradient& options, const LinearSystem<S>& system)
      : system_(system),
        limit_(options.max_iterations),
        fixed_steps_(options.tolerance_for<S>() == 0),
        scale_(system.scale()),
        unit_(scale_.unaryExpr([](double scale) {
          return scale > 0 && std::isfinite(scale) ? std::exp2(std::ilogb(scale)) : 1.0;
        })),
        threshold_(scale_ / unit_ * options.tolerance_for<S>()) {}

  Report run(StateRef<S> x) {
    const Index batch = x.cols();
    Report report(batch);
    x.setZero();
    resize_to(r_, system_.b.rows(), system_.b.cols());
    for (Index j = 0; j < batch; ++j) r_.col(j) = system_.b.col(j) / unit(j);
    copy_to(z_, (system_.diagonal.array() * r_.array()).matrix());
    copy_to(p_, z_);
    resize_to(q_, p_.rows(), p_.cols());
    copy_to(rho_, inner<S>(r_, z_));
    largest_sizes<S>(z_, report.residual);
    fill(moving_, true, batch);
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
      const S curvature = product(p_, q_, j);
      if (curvature <= 0) {
        moving_(j) = false;
        report.status(j) = Status::indefinite;
        if (report.iterations(j) == 0) x.col(j) = z_.col(j);
        continue;
      }
      const S last = rho_(j);
      follow(last / curvature, j, x, report);
      turn(rho_(j) / last, j);
      ++report.iterations(j);
    }
  }

  // Kernels compute the following functions for one sample at a time, because they take a large part of a step if
  // products with A are fast.

  static S product(const State<S>& a, const State<S>& b, Index j) {
    return kernels<S>().inner(a.rows(), a.col(j).data(), b.col(j).data());
  }
  /// Takes a step of length alpha along p: updates x, r, z = D r, <r, z>, and the residual max |z|.
  void follow(S alpha, Index j, StateRef<S>& x, Report& report) {
    ConjugateStep<S> step{
        alpha,           p_.col(j).data(), q_.col(j).data(), system_.diagonal.col(j).data(),
        x.col(j).data(), r_.col(j).data(), z_.col(j).data()};
    kernels<S>().follow(x.rows(), step);
    rho_(j) = step.product;
    report.residual(j) = static_cast<double>(step.largest);
  }
  /// p <- z + beta p, the next search direction.
  void turn(S beta, Index j) {
    kernels<S>().turn(p_.rows(), beta, z_.col(j).data(), p_.col(j).data());
  }

  S unit(Index j) const { return static_cast<S>(unit_(j)); }

  /// Decides which samples continue. A sample whose residual vanishes stops even without a tolerance: the squares that
  /// its next step divides by would underflow.
  void measure(Report& report) {
    using Limits = std::numeric_limits<S>;
    static const double vanishing = std::sqrt(double{Limits::min()}) / Limits::epsilon();
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
  const PerSample<double> scale_;
  const PerSample<double> unit_;  ///< a power of two that makes |D b| about 1: squares stay normal
  const PerSample<double> threshold_;
  State<S> r_, z_, p_, q_;
  PerSample<S> rho_;
  PerSample<bool> moving_;
};

}  // namespace

template <std::floating_point S>
Report ConjugateGradient::solve(const LinearSystem<S>& system, StateRef<S> x) const {
  check("ConjugateGradient");
  return ConjugateGradientRun<S>(*this, system).run(x);
}

template Report ConjugateGradient::solve(const LinearSystem<float>&, StateRef<float>) const;
template Report ConjugateGradient::solve(const LinearSystem<double>&, StateRef<double>) const;

}  // namespace equiprop
