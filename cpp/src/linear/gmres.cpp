#include "equiprop/linear/gmres.hpp"

#include <vector>

#include "equiprop/base/interrupt.hpp"

namespace equiprop {
namespace {

/// The solution of one linear system, with scratch memory.
template <std::floating_point S>
class GMRESRun {
 public:
  GMRESRun(const GMRES& options, const LinearSystem<S>& system)
      : system_(system),
        limit_(options.max_iterations),
        dimensions_(std::min(options.restart, system.b.rows())),
        tolerance_(options.tolerance_for<S>()),
        unit_(system.scale().unaryExpr([](double scale) {
          return scale > 0 && std::isfinite(scale) ? std::exp2(std::ilogb(scale)) : 1.0;
        })),
        threshold_(system.scale() / unit_ * tolerance_),
        basis_(static_cast<std::size_t>(dimensions_ + 1),
               State<S>::Zero(system.b.rows(), system.b.cols())),
        cycles_(static_cast<std::size_t>(system.b.cols()), Cycle(dimensions_)),
        length_(PerSample<S>::Zero(system.b.cols())) {}

  Report run(StateRef<S> x) {
    Report report(x.cols());
    x.setZero();
    measure(x, report);
    while (moving_.any()) {
      remember(x, report);
      extend(report);
      for (Index j = 0; j < x.cols(); ++j)
        if (moving_(j)) add_solution(j, x);
      measure(x, report);
      stop_stagnated(x, report);
    }
    for (Index j = 0; j < x.cols(); ++j) x.col(j) *= static_cast<S>(unit_(j));
    report.residual *= unit_;
    return report;
  }

 private:
  using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

  /// The least-squares problem of one sample, kept triangular by Givens rotations.
  struct Cycle {
    explicit Cycle(Index m)
        : triangle(State<S>::Zero(m + 1, m)), cosine(m), sine(m), right(m + 1), solution(m) {}

    void rotate(Index k) {
      auto h = triangle.col(k);
      for (Index i = 0; i < k; ++i) turn(h(i), h(i + 1), i);
      const S length = std::hypot(h(k), h(k + 1));
      cosine(k) = length == 0 ? S(1) : h(k) / length;
      sine(k) = length == 0 ? S(0) : h(k + 1) / length;
      turn(h(k), h(k + 1), k);
      right(k + 1) = 0;
      turn(right(k), right(k + 1), k);
      size = k + 1;
    }
    void turn(S& a, S& b, Index i) const {
      const S old = a;
      a = cosine(i) * old + sine(i) * b;
      b = -sine(i) * old + cosine(i) * b;
    }

    State<S> triangle;  // (m + 1, m)
    Vector cosine, sine, right, solution;
    Index size = 0;
    bool done = false;  ///< no further step in this cycle
  };

  static S product(const State<S>& a, const State<S>& b, Index j) {
    return (a.col(j).array() * b.col(j).array()).sum();
  }

  /// Stores basis_[0] = D (b - A x) / |D (b - A x)|_2 and the residuals, and decides which samples continue.
  void measure(const StateRef<S>& x, Report& report) {
    State<S>& r = basis_[0];
    system_.matrix(x, r);
    for (Index j = 0; j < x.cols(); ++j)
      r.col(j) = system_.diagonal.col(j).array() *
                 (system_.b.col(j) / static_cast<S>(unit_(j)) - r.col(j)).array();
    largest_sizes<S>(r, report.residual);
    if (moving_.size() == 0) fill(moving_, true, x.cols());
    for (Index j = 0; j < x.cols(); ++j) {
      if (!moving_(j)) continue;
      const double residual = report.residual(j);
      const bool solved = residual == 0 || (tolerance_ > 0 && residual <= threshold_(j));
      length_(j) =
          std::sqrt(product(r, r, j));  // 0 if the squares underflow: nothing is left to solve
      moving_(j) = length_(j) > 0 && !solved && report.iterations(j) < limit_;
      report.status(j) = !std::isfinite(residual) ? Status::diverged
                         : solved                 ? Status::converged
                         : tolerance_ == 0        ? Status::fixed_steps
                                                  : Status::max_iterations;
      Cycle& cycle = cycles_[static_cast<std::size_t>(j)];
      cycle.size = 0;
      cycle.done = !moving_(j);
      cycle.right(0) = length_(j);
      if (moving_(j)) r.col(j) /= length_(j);
    }
  }

  /// Extends the Krylov spaces by Arnoldi's process with two rounds of Gram-Schmidt, until the estimated residual of
  /// every sample is small.
  void extend(Report& report) {
    for (Index k = 0; k < dimensions_; ++k) {
      poll_interrupt();
      State<S>&w = basis_[static_cast<std::size_t>(k) + 1],
      &v = basis_[static_cast<std::size_t>(k)];
      system_.matrix(v, w);
      w.array() *= system_.diagonal.array();
      bool open = false;
      for (Index j = 0; j < w.cols(); ++j) {
        Cycle& cycle = cycles_[static_cast<std::size_t>(j)];
        if (!moving_(j) || cycle.done || report.iterations(j) >= limit_) continue;
        const S next = orthogonalise(j, k, cycle);
        cycle.triangle(k + 1, k) = next;
        cycle.rotate(k);
        ++report.iterations(j);
        const S rounding =
            std::numeric_limits<S>::epsilon() * cycle.triangle.col(k).array().abs().maxCoeff();
        cycle.done = next <= rounding ||  // the Krylov space is invariant
                     static_cast<double>(std::abs(cycle.right(k + 1))) <= threshold_(j) / 2;
        if (!cycle.done) w.col(j) /= next;
        open = open || !cycle.done;
      }
      if (!open) break;
    }
  }

  S orthogonalise(Index j, Index k, Cycle& cycle) {
    State<S>& w = basis_[static_cast<std::size_t>(k) + 1];
    cycle.triangle.col(k).setZero();
    for (int round = 0; round < 2; ++round)
      for (Index i = 0; i <= k; ++i) {
        const S overlap = product(basis_[static_cast<std::size_t>(i)], w, j);
        cycle.triangle(i, k) += overlap;
        w.col(j) -= overlap * basis_[static_cast<std::size_t>(i)].col(j);
      }
    return std::sqrt(product(w, w, j));
  }

  void add_solution(Index j, StateRef<S>& x) {
    Cycle& cycle = cycles_[static_cast<std::size_t>(j)];
    Vector& y = cycle.solution;
    for (Index i = cycle.size; i-- > 0;) {
      y(i) = cycle.right(i);
      for (Index k = i + 1; k < cycle.size; ++k) y(i) -= cycle.triangle(i, k) * y(k);
      y(i) = cycle.triangle(i, i) == 0 ? S(0) : y(i) / cycle.triangle(i, i);
      x.col(j) += y(i) * basis_[static_cast<std::size_t>(i)].col(j);
    }
  }

  void remember(const StateRef<S>& x, const Report& report) {
    copy_to(before_.x, x);
    copy_to(before_.length, length_);
    copy_to(before_.residual, report.residual);
    copy_to(before_.moving, moving_);
  }

  /// Stops samples whose residual did not decrease in a whole cycle, since the next cycle would not decrease it either,
  /// and restores their x: where A is singular, rounding can increase the residual. It is compared by its 2-norm,
  /// because its largest entry may grow on the way.
  void stop_stagnated(StateRef<S>& x, Report& report) {
    for (Index j = 0; j < moving_.size(); ++j) {
      const bool unsolved = report.status(j) != Status::converged;
      if (!before_.moving(j) || !unsolved || !(length_(j) >= before_.length(j))) continue;
      moving_(j) = false;
      x.col(j) = before_.x.col(j);
      report.residual(j) = before_.residual(j);
    }
  }

  const LinearSystem<S>& system_;
  const Index limit_, dimensions_;
  const double tolerance_;
  const PerSample<double> unit_;  ///< a power of two that makes |D b| about 1
  const PerSample<double> threshold_;
  std::vector<State<S>> basis_;
  std::vector<Cycle> cycles_;
  PerSample<S> length_;  ///< |D (b - A x)|_2
  PerSample<bool> moving_;
  struct {
    State<S> x;
    PerSample<S> length;
    PerSample<double> residual;
    PerSample<bool> moving;
  } before_;  ///< values at the start of the cycle
};

}  // namespace

template <std::floating_point S>
Report GMRES::solve(const LinearSystem<S>& system, StateRef<S> x) const {
  check("GMRES");
  require(restart >= 1, "GMRES", "The dimension of the Krylov space is at least 1.", restart);
  return GMRESRun<S>(*this, system).run(x);
}

template Report GMRES::solve(const LinearSystem<float>&, StateRef<float>) const;
template Report GMRES::solve(const LinearSystem<double>&, StateRef<double>) const;

}  // namespace equiprop
