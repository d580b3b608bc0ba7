#pragma once
/// The implicit function theorem with dense matrices, as a reference for every second phase.

#include "support.hpp"

namespace equiprop::tests {

struct DenseGradient {
  Parameters<double> parameters;
  State<double> inputs;
};

struct Targets {
  explicit Targets(const State<double>& y_) : y(y_) {
    costs = {{SquaredError<double>(y), SquaredError<D>(y.cast<D>())},
             {CrossEntropy<double>(y), CrossEntropy<D>(y.cast<D>())}};
  }
  State<double> y;
  std::vector<std::pair<AnyCost<double>, AnyCost<D>>> costs;
};

inline State<double> random_targets(Random& random, Index outputs, Index batch) {
  State<double> y = random_state(random, outputs, batch).array() + 1.2;
  for (Index j = 0; j < batch; ++j) y.col(j) /= y.col(j).sum();  // for cross-entropy
  return y;
}

/// Returns the units that are free: inside their box, not held by a bound.
inline std::vector<Index> free_units(const Case& c, const State<double>& s) {
  std::vector<Index> free;
  Index unit = 0;
  for (std::size_t k = 1; k < c.layers.size(); ++k)
    for (Index i = 0; i < c.layers[k].shape.units(); ++i, ++unit) {
      const auto* clip = std::get_if<Clip>(&c.layers[k].activation);
      const double gain = clip != nullptr && c.potential == Potential::quadratic ? clip->gain : 1;
      if (clip == nullptr || (s(unit) > clip->lower / gain && s(unit) < clip->upper / gain))
        free.push_back(unit);
    }
  return free;
}

/// The side network solves H^T lambda = dC/ds (`exact`). A nudged vector field responds with the solution of H lambda =
/// dC/ds (`nudged`).
enum class Side { exact, nudged };

/// Returns -<lambda, d2E/dtheta ds> on the free units, and the derivative with respect to the input, by dense algebra.
inline DenseGradient implicit_gradient(const EnergyFamily& family, const AnyCost<double>& cost,
                                       const State<double>& s,
                                       const std::function<std::vector<Index>(Index)>& free,
                                       Side side = Side::exact) {
  const Index batch = s.cols();
  DenseGradient dense{Parameters<double>::Zero(family.theta.size()),
                      State<double>::Zero(family.energy().num_inputs(), batch)};
  for (Index j = 0; j < batch; ++j) {
    const EnergyFamily sample = family.sample(j);
    State<double> c(s.rows(), 1);
    cost_gradient<double>(cost.samples(j, 1), s.col(j), c);
    const State<double> h = dense_hessian(sample, s.col(j));
    const State<double> lambda =
        solve_on(free(j), side == Side::exact ? State<double>(h.transpose()) : h, c);
    dense.parameters -=
        dense_mixed_derivative(sample, s.col(j)).transpose() * lambda / static_cast<double>(batch);
    for (Index i = 0; i < dense.inputs.rows(); ++i) {
      State<double> along = State<double>::Zero(family.x.rows(), 1);
      along(i) = 1;
      State<D> gradient(s.rows(), 1);
      sample.on_dual(sample.theta.cast<D>(), dual(sample.x, along))
          .gradient(s.col(j).cast<D>(), gradient);
      dense.inputs(i, j) =
          -derivative(gradient).cwiseProduct(lambda).sum() / static_cast<double>(batch);
    }
  }
  return dense;
}

}  // namespace equiprop::tests
