/// A user-defined energy, a nonlinear resistive network. The example verifies that Equilibrium Propagation and
/// Recurrent Backpropagation are the same process on it, and compares its gradient with finite differences.

#include <cstdio>
#include <equiprop/equiprop.hpp>

namespace eq = equiprop;
using eq::Index;

namespace {

/// A chain of nodes with voltages v: resistors of conductance g_i between neighbouring nodes, a pair of antiparallel
/// diodes of strength k_i from each node to ground, and unit resistors from the first nodes to sources of voltage x.
/// Kirchhoff's current law holds at the minimum of the co-content
///
///   E = sum_i k_i (cosh v_i - 1) + 1/2 sum_i g_i (v_{i+1} - v_i)^2 + 1/2 sum_i (v_i - x_i)^2,   theta = (k, g)
template <class S>
class Ladder {
 public:
  using Scalar = S;

  Ladder(eq::Parameters<S> theta, eq::State<S> x) : theta_(std::move(theta)), x_(std::move(x)) {}
  Index num_units() const { return (theta_.size() + 1) / 2; }
  Index num_outputs() const { return 2; }  // the last two nodes
  Index num_parameters() const { return theta_.size(); }

  void energy(const eq::ConstStateRef<S>& v, eq::PerSample<S>& out) const {
    for (Index j = 0; j < v.cols(); ++j)
      out(j) = (k() * charge(v.col(j))).sum() + S(0.5) * (g() * drops(v.col(j)).square()).sum() +
               S(0.5) * (v.col(j).head(x_.rows()) - x_.col(j)).array().square().sum();
  }
  void gradient(const eq::ConstStateRef<S>& v, eq::StateRef<S> out) const {
    for (Index j = 0; j < v.cols(); ++j) out.col(j) = k() * sinh_of(v.col(j));
    add_linear_currents(v, out);
    out.topRows(x_.rows()) -= x_;
  }
  void hessian_vector_product(const eq::ConstStateRef<S>& v, const eq::ConstStateRef<S>& u,
                              eq::StateRef<S> out) const {
    for (Index j = 0; j < v.cols(); ++j)
      out.col(j) = k() * (charge(v.col(j)) + S(1)) * u.col(j).array();
    add_linear_currents(u, out);
  }
  void parameter_gradient(const eq::ConstStateRef<S>& v, S weight,
                          eq::ParametersRef<S> grad) const {
    for (Index j = 0; j < v.cols(); ++j) {
      grad.head(num_units()).array() += weight * charge(v.col(j));
      grad.tail(num_units() - 1).array() += weight * S(0.5) * drops(v.col(j)).square();
    }
  }
  void mixed_derivative_product(const eq::ConstStateRef<S>& v, const eq::ConstStateRef<S>& u,
                                S weight, eq::ParametersRef<S> grad) const {
    for (Index j = 0; j < v.cols(); ++j) {
      grad.head(num_units()).array() += weight * sinh_of(v.col(j)) * u.col(j).array();
      grad.tail(num_units() - 1).array() += weight * drops(v.col(j)) * drops(u.col(j));
    }
  }

 private:
  using Column = Eigen::Array<S, Eigen::Dynamic, 1>;
  using ConstColumnRef = Eigen::Ref<const eq::Parameters<S>>;

  auto k() const { return theta_.head(num_units()).array(); }
  auto g() const { return theta_.tail(num_units() - 1).array(); }
  static Column drops(const ConstColumnRef& v) {
    return v.tail(v.size() - 1) - v.head(v.size() - 1);
  }
  static Column sinh_of(const ConstColumnRef& v) {
    return v.unaryExpr([](const S& u) -> S {
      using std::exp;
      return (exp(u) - exp(-u)) / S(2);
    });
  }
  /// Returns cosh v - 1 without cancellation.
  static Column charge(const ConstColumnRef& v) { return S(2) * sinh_of(v / S(2)).square(); }
  void add_linear_currents(const eq::ConstStateRef<S>& v, eq::StateRef<S> out) const {
    for (Index j = 0; j < v.cols(); ++j) {
      const Column current = g() * drops(v.col(j));
      out.col(j).head(current.size()).array() -= current;
      out.col(j).tail(current.size()).array() += current;
    }
    out.topRows(x_.rows()) += v.topRows(x_.rows());
  }

  eq::Parameters<S> theta_;
  eq::State<S> x_;  // (sources, batch)
};

static_assert(eq::Energy<Ladder<double>>);

using Dual = eq::Dual<double>;

const eq::Solver solver = eq::Euler{{.tolerance = 1e-15, .max_iterations = 10000}, 0.1};

struct Problem {
  eq::Parameters<double> theta;
  eq::State<double> x, y;

  /// Returns the stable voltages.
  eq::State<double> fixed_point() const {
    eq::State<double> v = eq::State<double>::Zero((theta.size() + 1) / 2, x.cols());
    eq::relax<double>(Ladder<double>(theta, x), solver, v);
    return v;
  }
  /// Returns J, the mean cost at the fixed point.
  double objective() const {
    eq::PerSample<double> cost(x.cols());
    eq::SquaredError<double>(y).value(fixed_point().bottomRows(y.rows()), cost);
    return cost.mean();
  }
};

double largest_relative(const eq::Groups& groups) {
  return groups.difference.maxCoeff() / groups.size.maxCoeff();
}

/// Returns dJ/dtheta by central differences of J.
eq::Parameters<double> finite_differences(const Problem& problem) {
  constexpr double step = 1e-4;
  eq::Parameters<double> gradient(problem.theta.size());
  for (Index p = 0; p < gradient.size(); ++p) {
    Problem above = problem, below = problem;
    above.theta(p) += step;
    below.theta(p) -= step;
    gradient(p) = (above.objective() - below.objective()) / (2 * step);
  }
  return gradient;
}

}  // namespace

int main() {
  constexpr Index nodes = 6, sources = 3, batch = 4;
  eq::Random random(0);
  const auto uniform = [&](Index rows, Index columns, double low, double high) {
    eq::State<double> numbers(rows, columns);
    for (double& v : numbers.reshaped()) v = low + (high - low) * random.uniform();
    return numbers;
  };
  const Problem problem{uniform(2 * nodes - 1, 1, 0.5, 2), uniform(sources, batch, -2, 2),
                        uniform(2, batch, -2, 2)};
  const eq::State<double> v = problem.fixed_point();

  const eq::AnyEnergy<double> energy = Ladder<double>(problem.theta, problem.x);
  const eq::AnyCost<double> cost = eq::SquaredError<double>(problem.y);
  const eq::AnyEnergy<Dual> dual_energy =
      Ladder<Dual>(problem.theta.cast<Dual>(), problem.x.cast<Dual>());
  const eq::AnyCost<Dual> dual_cost = eq::SquaredError<Dual>(problem.y.cast<Dual>());
  const eq::Comparison comparison =
      eq::compare_processes<Dual>(energy, cost, dual_energy, dual_cost, v, eq::exact_limit(),
                                  {.steps = 200, .step_size = 0.1}, {nodes}, {2 * nodes - 1}, {});
  std::printf("states: largest relative difference %.1e\n", largest_relative(comparison.states));
  std::printf("parameters: largest relative difference %.1e\n",
              largest_relative(comparison.parameters));

  const eq::Parameters<double> gradient =
      eq::equilibrium_propagation_limit(dual_energy, dual_cost, v, solver).parameters;
  const eq::Parameters<double> side_network =
      eq::recurrent_backpropagation<double>(energy, cost, v, eq::ConjugateGradient{}).parameters;
  const eq::Parameters<double> differences = finite_differences(problem);
  const auto off = [&](const eq::Parameters<double>& estimate) {
    return (estimate - differences).cwiseAbs().maxCoeff() / differences.cwiseAbs().maxCoeff();
  };
  std::printf("EqProp: gradient off finite differences by %.1e\n", off(gradient));
  std::printf("RBP: gradient off finite differences by %.1e\n", off(side_network));
}
