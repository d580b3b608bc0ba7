/// An energy of one's own, in both ways: a type that satisfies the concept, and a subclass. Its gradients by both second
/// phases are compared with finite differences; exceptions of the library are caught. Exits with 0 if all holds.

#include <equiprop/equiprop.hpp>
#include <iostream>

using namespace equiprop;

namespace {

constexpr Index units = 5, outputs = 2, batch = 3;
int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::cout << "FAILS: " << what << '\n';
}

/// E = sum_i (a_i s_i^2 / 2 + s_i^4 / 4 - b_i s_i) + (sum_i s_i)^2 / 4,  theta = (a, b).
template <class S>
struct Well {
  using Scalar = S;
  Parameters<S> theta;

  Index num_units() const { return units; }
  Index num_outputs() const { return outputs; }
  Index num_parameters() const { return 2 * units; }
  auto a() const { return theta.head(units).array(); }
  auto b() const { return theta.tail(units).array(); }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
    for (Index j = 0; j < s.cols(); ++j) {
      const auto u = s.col(j).array();
      out(j) = (S(0.5) * a() * u * u + S(0.25) * u * u * u * u - b() * u).sum() +
               S(0.25) * u.sum() * u.sum();
    }
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    for (Index j = 0; j < s.cols(); ++j) {
      const auto u = s.col(j).array();
      out.col(j) = a() * u + u * u * u - b() + S(0.5) * u.sum();
    }
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    for (Index j = 0; j < s.cols(); ++j) {
      const auto u = s.col(j).array();
      out.col(j) = (a() + S(3) * u * u) * v.col(j).array() + S(0.5) * v.col(j).sum();
    }
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    for (Index j = 0; j < s.cols(); ++j) {
      grad.head(units).array() += weight * S(0.5) * s.col(j).array() * s.col(j).array();
      grad.tail(units).array() -= weight * s.col(j).array();
    }
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    for (Index j = 0; j < s.cols(); ++j) {
      grad.head(units).array() += weight * s.col(j).array() * v.col(j).array();
      grad.tail(units).array() -= weight * v.col(j).array();
    }
  }
};
static_assert(Energy<Well<double>> && Energy<Well<Dual<double>>>);

/// The energy Well as a subclass of EnergyInterface.
class WellModel : public EnergyInterface<double> {
 public:
  explicit WellModel(Parameters<double> theta) : well_{std::move(theta)} {}

  Index num_units() const override { return units; }
  Index num_outputs() const override { return outputs; }
  Index num_parameters() const override { return 2 * units; }
  void energy(const ConstStateRef<double>& s, PerSample<double>& out) const override {
    well_.energy(s, out);
  }
  void gradient(const ConstStateRef<double>& s, StateRef<double> out) const override {
    well_.gradient(s, out);
  }
  void hessian_vector_product(const ConstStateRef<double>& s, const ConstStateRef<double>& v,
                              StateRef<double> out) const override {
    well_.hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const ConstStateRef<double>& s, double weight,
                          ParametersRef<double> grad) const override {
    well_.parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const ConstStateRef<double>& s, const ConstStateRef<double>& v,
                                double weight, ParametersRef<double> grad) const override {
    well_.mixed_derivative_product(s, v, weight, grad);
  }

 private:
  Well<double> well_;
};

const Solver solver = Euler{{.tolerance = 1e-13, .max_iterations = 5000}, 0.15};

State<double> fixed_point(const AnyEnergy<double>& energy) {
  State<double> s = State<double>::Zero(units, batch);
  // Samples differ by where they start only, so every one must arrive at the one minimum.
  for (Index j = 0; j < batch; ++j) s.col(j).setConstant(0.2 * static_cast<double>(j));
  expect((relax<double>(energy, solver, s).status == Status::converged).all(),
         "the free phase converges");
  return s;
}

double objective(const AnyEnergy<double>& energy, const AnyCost<double>& cost) {
  PerSample<double> value(batch);
  cost.value(fixed_point(energy).bottomRows(outputs), value);
  return value.mean();
}

/// `make` turns parameters into an energy.
template <class Make>
void check_gradients(const std::string& name, const Make& make, const Parameters<double>& theta,
                     const State<double>& y) {
  const AnyCost<double> cost = SquaredError<double>(y);
  const AnyEnergy<double> energy = make(theta);
  const State<double> s = fixed_point(energy);
  Parameters<double> differences(theta.size());
  for (Index i = 0; i < theta.size(); ++i) {
    constexpr double h = 1e-5;
    Parameters<double> up = theta, down = theta;
    up(i) += h;
    down(i) -= h;
    differences(i) = (objective(make(up), cost) - objective(make(down), cost)) / (2 * h);
  }
  const auto close = [&](const Parameters<double>& gradient, double tolerance) {
    return (gradient - differences).array().abs().maxCoeff() < tolerance &&
           differences.array().abs().maxCoeff() > 1e-2;
  };
  const auto propagated =
      equilibrium_propagation<double>(energy, cost, s, centered<double>(1e-3), solver);
  expect(close(propagated.parameters, 1e-6), name + ": EqProp agrees with finite differences");
  const auto backpropagated = recurrent_backpropagation<double>(
      energy, cost, s, ConjugateGradient{{.tolerance = 1e-12, .max_iterations = 100}});
  expect(close(backpropagated.parameters, 1e-8), name + ": RBP agrees with finite differences");
}

template <class Error, class Act>
void expect_throws(const std::string& what, const Act& act) {
  bool caught = false;
  try {
    act();
  } catch (const Error& error) {
    caught = std::string(error.what()).front() == '[';
  }
  expect(caught, what);
}

}  // namespace

int main() {
  Parameters<double> theta(2 * units);
  for (Index i = 0; i < 2 * units; ++i)
    theta(i) =
        i < units ? 1 + 0.1 * static_cast<double>(i) : 0.3 * static_cast<double>(i - units) - 0.4;
  State<double> y(outputs, batch);
  y << 0.5, -0.25, 1, 0, 0.75, -1;

  check_gradients(
      "a type", [](const auto& at) { return AnyEnergy<double>(Well<double>{at}); }, theta, y);
  check_gradients(
      "a subclass", [](const auto& at) { return AnyEnergy<double>(WellModel(at)); }, theta, y);
  check_gradients(
      "a shared subclass",
      [](const auto& at) { return AnyEnergy<double>(std::make_shared<WellModel>(at)); }, theta, y);

  const AnyEnergy<double> energy = Well<double>{theta};
  const State<double> s = fixed_point(energy);
  const Well<Dual<double>> dual{theta.cast<Dual<double>>()};
  const auto limit = equilibrium_propagation_limit(
      dual, SquaredError<Dual<double>>(y.cast<Dual<double>>()), s, solver);
  const auto side = recurrent_backpropagation<double>(
      energy, SquaredError<double>(y), s,
      ConjugateGradient{{.tolerance = 1e-14, .max_iterations = 100}});
  expect((limit.parameters - side.parameters).array().abs().maxCoeff() < 1e-11,
         "EqProp in the exact limit is RBP");

  expect_throws<InvalidArgument>("a state of the wrong size is refused", [&] {
    State<double> wrong(units + 1, batch);
    relax<double>(energy, solver, wrong);
  });
  expect_throws<InvalidArgument>("a subclass cannot be divided",
                                 [&] { AnyEnergy<double>(WellModel(theta)).samples(0, 1); });
  set_interrupt_check([] { return true; });
  expect_throws<Interrupted>("an interrupted relaxation says so", [&] {
    State<double> state = State<double>::Zero(units, batch);
    for (int i = 0; i < 1'000'000; ++i) relax<double>(energy, solver, state);
  });
  return failures == 0 ? 0 : 1;
}
