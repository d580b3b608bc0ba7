#pragma once
/// Random linear systems, and the dense solution with which every solver is compared.

#include "support.hpp"

namespace equiprop::tests {

/// A linear system with one dense matrix per sample, applied by explicit loops.
struct DenseSystem {
  std::vector<State<double>> matrices;
  State<double> diagonal, b;
  LinearOperator<double> matrix = [this](const ConstStateRef<double>& v, StateRef<double> out) {
    for (Index j = 0; j < v.cols(); ++j)
      out.col(j) = matrices[static_cast<std::size_t>(j)] * v.col(j);
  };

  DenseSystem(Index size, Index batch)
      : matrices(static_cast<std::size_t>(batch)),
        diagonal(State<double>::Ones(size, batch)),
        b(size, batch) {}
  DenseSystem(const DenseSystem&) = delete;  // `matrix` refers to this object
  DenseSystem& operator=(const DenseSystem&) = delete;

  LinearSystem<double> system() const { return {matrix, diagonal, b}; }

  /// Returns A^-1 b on the units whose diagonal is not 0, and 0 on the others.
  State<double> solution() const {
    State<double> x = State<double>::Zero(b.rows(), b.cols());
    for (Index j = 0; j < b.cols(); ++j) {
      std::vector<Index> free;
      for (Index i = 0; i < b.rows(); ++i)
        if (diagonal(i, j) != 0) free.push_back(i);
      x.col(j) = solve_on(free, matrices[static_cast<std::size_t>(j)], b.col(j));
    }
    return x;
  }
};

/// Returns a symmetric matrix with eigenvalues in [lowest, highest].
inline State<double> random_symmetric(Random& random, Index size, double lowest, double highest) {
  const State<double> spectrum =
      random_state(random, size, 1).array() * (highest - lowest) / 2 + (highest + lowest) / 2;
  return random_symmetric(random, spectrum);
}

/// Fills in a positive definite system; some units have diagonal 0, the diagonal of the others is in (0.5, 1).
inline void fill_random(DenseSystem& dense, Random& random, double lowest = 0.3,
                        double highest = 1.7) {
  const Index size = dense.b.rows(), batch = dense.b.cols();
  for (auto& matrix : dense.matrices) matrix = random_symmetric(random, size, lowest, highest);
  dense.b = random_state(random, size, batch);
  for (Index i = 0; i < dense.diagonal.size(); ++i)
    dense.diagonal(i) = random.below(4) == 0 ? 0 : 0.5 + 0.5 * random.uniform();
}

inline State<double> residual(const DenseSystem& dense, const State<double>& x) {
  State<double> image(x.rows(), x.cols());
  dense.matrix(x, image);
  return dense.diagonal.array() * (dense.b - image).array();
}

}  // namespace equiprop::tests
