/// Two ways to an energy of one's own: a type with the functions of the concept, and a subclass of VirtualEnergy. Both
/// give the gradient of the same E = 1/2 |s|^2 - sum(theta s), whose fixed point is theta.

#include <algorithm>
#include <equiprop/equiprop.hpp>
#include <iostream>
#include <memory>

namespace eq = equiprop;

namespace {

class Linear {
 public:
  using Scalar = double;
  explicit Linear(eq::Parameters<double> theta) : theta_(std::move(theta)) {}
  eq::Index num_units() const { return theta_.size(); }
  eq::Index num_outputs() const { return theta_.size(); }
  eq::Index num_parameters() const { return theta_.size(); }
  void energy(const eq::ConstStateRef<double>& s, eq::PerSample<double>& out) const {
    for (eq::Index j = 0; j < s.cols(); ++j)
      out(j) = s.col(j).squaredNorm() / 2 - theta_.dot(s.col(j));
  }
  void gradient(const eq::ConstStateRef<double>& s, eq::StateRef<double> out) const {
    out = s.colwise() - theta_;
  }
  void hessian_vector_product(const eq::ConstStateRef<double>&, const eq::ConstStateRef<double>& v,
                              eq::StateRef<double> out) const {
    out = v;
  }
  void parameter_gradient(const eq::ConstStateRef<double>& s, double weight,
                          eq::ParametersRef<double> grad) const {
    grad -= weight * s.rowwise().sum();
  }
  void mixed_derivative_product(const eq::ConstStateRef<double>&,
                                const eq::ConstStateRef<double>& v, double weight,
                                eq::ParametersRef<double> grad) const {
    grad -= weight * v.rowwise().sum();
  }

 private:
  eq::Parameters<double> theta_;
};
static_assert(eq::Energy<Linear>);

/// The same, chosen at run time.
class VirtualLinear : public eq::VirtualEnergy<double> {
 public:
  explicit VirtualLinear(eq::Parameters<double> theta) : linear_(std::move(theta)) {}
  eq::Index num_units() const override { return linear_.num_units(); }
  eq::Index num_outputs() const override { return linear_.num_outputs(); }
  eq::Index num_parameters() const override { return linear_.num_parameters(); }
  void energy(const eq::ConstStateRef<double>& s, eq::PerSample<double>& out) const override {
    linear_.energy(s, out);
  }
  void gradient(const eq::ConstStateRef<double>& s, eq::StateRef<double> out) const override {
    linear_.gradient(s, out);
  }
  void hessian_vector_product(const eq::ConstStateRef<double>& s,
                              const eq::ConstStateRef<double>& v,
                              eq::StateRef<double> out) const override {
    linear_.hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const eq::ConstStateRef<double>& s, double weight,
                          eq::ParametersRef<double> grad) const override {
    linear_.parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const eq::ConstStateRef<double>& s,
                                const eq::ConstStateRef<double>& v, double weight,
                                eq::ParametersRef<double> grad) const override {
    linear_.mixed_derivative_product(s, v, weight, grad);
  }

 private:
  Linear linear_;
};

using Derivatives = eq::Parameters<double>;

/// J = 1/2 |theta - y|^2, so dJ/dtheta = theta - y. EqProp, centered, at beta: (theta - y) / (1 - beta^2), since
/// s^beta = (theta + beta y) / (1 + beta).
double error_of(const eq::AnyEnergy<double>& energy, const Derivatives& theta) {
  const double beta = 0.125;
  const eq::State<double> y = eq::State<double>::Constant(theta.size(), 1, 0.25);
  const eq::AnyCost<double> cost = eq::SquaredError<double>(y);
  const eq::FixedPointIteration solver{{.tolerance = 1e-14, .max_iterations = 10000}};
  eq::State<double> state = eq::State<double>::Zero(theta.size(), 1);
  eq::relax<double>(energy, solver, state);
  const auto eqprop =
      eq::equilibrium_propagation<double>(energy, cost, state, eq::centered<double>(beta), solver);
  const auto rbp =
      eq::recurrent_backpropagation<double>(energy, cost, state, eq::ConjugateGradient{});
  const Derivatives exact = theta - y.col(0);
  return std::max((eqprop.parameters - exact / (1 - beta * beta)).cwiseAbs().maxCoeff(),
                  (rbp.parameters - exact).cwiseAbs().maxCoeff());
}

}  // namespace

int main() {
  const Derivatives theta = Derivatives::LinSpaced(5, -1, 1);
  const auto subclass = std::make_shared<const VirtualLinear>(theta);
  const double error =
      std::max(error_of(Linear(theta), theta), error_of(eq::SharedEnergy<double>(subclass), theta));
  std::cout << "largest error " << error << '\n';
  return error < 1e-12 ? 0 : 1;
}
