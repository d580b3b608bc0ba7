/// Dense linear algebra and dual numbers, as independent references.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Returns `s` as dual numbers with a derivative part of 1 in unit i.
State<D> moved(const State<double>& s, Index i) {
  State<D> out = s.cast<D>();
  out(i).derivative = 1;
  return out;
}

}  // namespace

State<double> solve_on(const std::vector<Index>& free, const State<double>& a,
                       const State<double>& b) {
  State<double> x = State<double>::Zero(b.rows(), b.cols());
  if (free.empty()) return x;
  const State<double> restricted = a(free, free), right = b(free, Eigen::all);
  const State<double> solved = restricted.partialPivLu().solve(right);
  x(free, Eigen::all) = solved;
  return x;
}

State<double> random_symmetric(Random& random, const State<double>& spectrum) {
  const Index size = spectrum.rows();
  const State<double> q = random_state(random, size, size).householderQr().householderQ();
  const State<double> a = q * spectrum.col(0).asDiagonal() * q.transpose();
  return (a + a.transpose()) / 2;
}

double largest_eigenvalue(const State<double>& symmetric) {
  const Eigen::SelfAdjointEigenSolver<State<double>> eigen(symmetric, Eigen::EigenvaluesOnly);
  return eigen.eigenvalues().maxCoeff();
}

State<double> dense_hessian(const EnergyFamily& sample, const State<double>& s) {
  State<double> hessian(s.rows(), s.rows());
  State<D> image(s.rows(), 1);
  for (Index i = 0; i < s.rows(); ++i) {
    sample.dual_energy().gradient(moved(s, i), image);
    hessian.col(i) = derivative(image);
  }
  return hessian;
}

double stable_step(const EnergyFamily& family, const State<double>& s) {
  double largest = 0;
  for (Index j = 0; j < s.cols(); ++j) {
    const State<double> h = dense_hessian(family.sample(j), s.col(j));
    largest = std::max(largest, largest_eigenvalue((h + h.transpose()) / 2));
  }
  return 1 / largest;
}

State<double> dense_mixed_derivative(const EnergyFamily& sample, const State<double>& s) {
  State<double> mixed(s.rows(), sample.theta.size());
  State<D> image(s.rows(), 1);
  for (Index p = 0; p < sample.theta.size(); ++p) {
    Parameters<D> theta = sample.theta.cast<D>();
    theta(p).derivative = 1;
    sample.on_dual(theta, sample.x.cast<D>()).gradient(s.cast<D>(), image);
    mixed.col(p) = derivative(image);
  }
  return mixed;
}

}  // namespace equiprop::tests
