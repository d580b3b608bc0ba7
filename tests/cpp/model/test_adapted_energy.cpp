/// The functions of a type that the adapter uses, and the calls that a decorator forwards.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// E = sum_i (k_i s_i^2 / 2 - x_i s_i) with k_i = 2 + i. It can select samples and has every refinement except the
/// measured block update. Functions that also have a default implementation return recognisable values.
struct Springs {
  using Scalar = double;
  State<double> x;

  Index num_units() const { return x.rows(); }
  Index num_outputs() const { return 1; }
  Index num_parameters() const { return 1; }
  double k(Index i) const { return 2 + static_cast<double>(i); }
  void energy(const ConstStateRef<double>& s, PerSample<double>& out) const {
    out.setZero(s.cols());
    for (Index i = 0; i < s.rows(); ++i)
      out +=
          (0.5 * k(i) * s.row(i).cwiseAbs2() - x.row(i).cwiseProduct(s.row(i))).transpose().array();
  }
  void gradient(const ConstStateRef<double>& s, StateRef<double> out) const {
    for (Index i = 0; i < s.rows(); ++i) out.row(i) = k(i) * s.row(i) - x.row(i);
  }
  void hessian_vector_product(const ConstStateRef<double>&, const ConstStateRef<double>& v,
                              StateRef<double> out) const {
    for (Index i = 0; i < v.rows(); ++i) out.row(i) = k(i) * v.row(i);
  }
  void transposed_hessian_vector_product(const ConstStateRef<double>&,
                                         const ConstStateRef<double>& v,
                                         StateRef<double> out) const {
    out = -v;
  }
  bool conservative() const { return false; }
  void parameter_gradient(const ConstStateRef<double>& s, double weight,
                          ParametersRef<double> grad) const {
    grad(0) += weight * s.sum();
  }
  void mixed_derivative_product(const ConstStateRef<double>&, const ConstStateRef<double>& v,
                                double weight, ParametersRef<double> grad) const {
    grad(0) += weight * v.sum();
  }
  Index num_inputs() const { return x.rows(); }
  void input_gradient(const ConstStateRef<double>& s, double weight, StateRef<double> out) const {
    out -= weight * s;
  }
  void mixed_input_product(const ConstStateRef<double>&, const ConstStateRef<double>& v,
                           double weight, StateRef<double> out) const {
    out -= weight * v;
  }
  void fixed_point_map(const ConstStateRef<double>& s, const Nudge<double>&,
                       StateRef<double> out) const {
    out = 0.125 * s;
  }
  void mobility(const ConstStateRef<double>&, const Nudge<double>&, StateRef<double> out) const {
    out.setConstant(0.25);
  }
  void transposed_map_product(const ConstStateRef<double>&, const Nudge<double>&,
                              const ConstStateRef<double>& v, StateRef<double> out) const {
    out = 0.5 * v;
  }
  void project(StateRef<double> s) const { s = s.cwiseMax(-0.5); }
  Index num_blocks() const { return x.rows(); }
  void block_update(Index block, const Nudge<double>&, StateRef<double> s) const {
    s.row(block) = x.row(block) / k(block);
  }
  Springs select(Samples which) const { return {columns_of<double>(x, which)}; }
  bool separable() const { return true; }
};
static_assert(Energy<Springs> && HasFixedPointMap<Springs> && HasInputGradient<Springs> &&
              HasBlockUpdate<Springs> && !HasMeasuredBlockUpdate<Springs> &&
              MaybeNonconservative<Springs> && MaybeSeparable<Springs>);

/// A decorator that changes nothing.
class Transparent final : public EnergyDecorator<double> {
 public:
  using EnergyDecorator<double>::EnergyDecorator;
};

struct Probe {
  static constexpr Index units = 4, batch = 3;
  Random random{53};
  const State<double> x = random_state(random, units, batch),
                      s = random_state(random, units, batch),
                      v = random_state(random, units, batch);
  const Springs springs{x};
  const AnyEnergy<double> adapted = springs;
  const AnyEnergy<double> decorated = AnyEnergy<double>(
      std::make_shared<Transparent>(std::make_shared<AnyEnergy<double>>(adapted)));

  /// Compares fill(energy, out) for the type-erased energies with fill(type, out).
  template <class Fill>
  void compare(const std::string& what, Index rows, Index columns, const Fill& fill) const {
    State<double> expected = State<double>::Ones(rows, columns), a = expected, d = expected;
    fill(springs, StateRef<double>(expected));
    fill(adapted, StateRef<double>(a));
    fill(decorated, StateRef<double>(d));
    expect_identical(a, expected, what + ", adapted");
    expect_identical(d, expected, what + ", decorated");
  }
};

TEST(AdaptedEnergy, AndADecoratorPassOnWhatATypeOffers) {
  const Probe p;
  const auto compare_states = [&](const std::string& what, const auto& fill) {
    p.compare(what, p.units, p.batch, fill);
  };
  const State<double>&s = p.s, &v = p.v;
  compare_states("gradient", [&](auto& e, auto out) { e.gradient(s, out); });
  compare_states("hessian", [&](auto& e, auto out) { e.hessian_vector_product(s, v, out); });
  compare_states("transposed hessian",
                 [&](auto& e, auto out) { e.transposed_hessian_vector_product(s, v, out); });
  compare_states("map", [&](auto& e, auto out) { e.fixed_point_map(s, {}, out); });
  compare_states("mobility", [&](auto& e, auto out) { e.mobility(s, {}, out); });
  compare_states("transposed map",
                 [&](auto& e, auto out) { e.transposed_map_product(s, {}, v, out); });
  compare_states("project", [&](auto& e, auto out) { out = s, e.project(out); });
  compare_states("input gradient", [&](auto& e, auto out) { e.input_gradient(s, 0.7, out); });
  compare_states("mixed input", [&](auto& e, auto out) { e.mixed_input_product(s, v, 0.7, out); });
  compare_states("block update", [&](auto& e, auto out) { out = s, e.block_update(2, {}, out); });
  p.compare("energy", p.batch, 1, [&](auto& e, auto out) {
    PerSample<double> energy(p.batch);
    e.energy(s, energy);
    out = energy.matrix();
  });
  p.compare("parameter gradient", 1, 1,
            [&](auto& e, auto out) { e.parameter_gradient(s, 0.7, out.col(0)); });
  p.compare("mixed derivative", 1, 1,
            [&](auto& e, auto out) { e.mixed_derivative_product(s, v, 0.7, out.col(0)); });
  for (const AnyEnergy<double>& energy : {p.adapted, p.decorated}) {
    EXPECT_EQ(energy.num_units(), p.units);
    EXPECT_EQ(energy.num_outputs(), 1);
    EXPECT_EQ(energy.num_parameters(), 1);
    EXPECT_EQ(energy.num_inputs(), p.units);
    EXPECT_EQ(energy.num_blocks(), p.units);
    EXPECT_EQ(energy.output_block(), 0);
    EXPECT_FALSE(energy.conservative());
    EXPECT_TRUE(energy.separable());
    EXPECT_EQ(energy.one_pass_residual(), nullptr);
    ASSERT_NE(energy.block_updates(), nullptr);
    EXPECT_FALSE(energy.block_updates()->has_block_hessian());
  }
}

/// If a type does not measure its block update, the adapter measures the change and raises the given change by it.
TEST(AdaptedEnergy, MeasuresBlockUpdates) {
  const Probe p;
  for (const AnyEnergy<double>& energy : {p.adapted, p.decorated}) {
    State<double> s = p.s;
    PerSample<double> change = PerSample<double>::Constant(p.batch, 0.05);
    change(1) = 100;
    energy.block_update(2, {}, s, &change);
    for (Index j = 0; j < p.batch; ++j)
      EXPECT_EQ(change(j), std::max(std::abs(p.x(2, j) / 4 - p.s(2, j)), j == 1 ? 100 : 0.05));
  }
}

TEST(AdaptedEnergy, SelectsSamples) {
  const Probe p;
  const std::vector<Index> which{2, 0};
  for (const AnyEnergy<double>& energy : {p.adapted, p.decorated}) {
    State<double> some(p.units, 2), all(p.units, p.batch);
    energy.select(which).gradient(columns_of<double>(p.s, which), some);
    energy.gradient(p.s, all);
    expect_identical(some, columns_of<double>(all, which), "gradient of some samples");
  }
}

/// A sink for sums of several states and for products. They arrive as numbers; if the sink needs a bound, the bound is
/// the largest of them.
class Numbers final : public ParameterSink<double> {
 public:
  explicit Numbers(bool accepts_) : accepts(accepts_) {}
  bool needs_bound() const override { return true; }
  bool bounded(double largest) override {
    bound = largest;
    return accepts;
  }
  void products(const Block&, std::span<const OuterProduct<double>>) override { FAIL(); }
  void numbers(Index begin, const ConstParametersRef<double>& sums) override {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(received.size(), 0);
    received = sums;
  }

  bool accepts;
  double bound = -1;
  Parameters<double> received;
};

TEST(AdaptedEnergy, HandsDerivativesToASinkAsNumbers) {
  const Probe p;
  const std::vector<State<double>> states{p.s, p.v};
  const std::vector<double> weights{0.5, -2};
  const double sum = 0.5 * p.s.sum() - 2 * p.v.sum(), product = 0.7 * p.v.sum();
  for (const AnyEnergy<double>& energy : {p.adapted, p.decorated})
    for (const bool accepts : {true, false}) {
      Numbers contrast(accepts), mixed(accepts);
      EXPECT_EQ(energy.contrast(states, weights, contrast), accepts);
      EXPECT_NEAR(contrast.bound, std::abs(sum), rounding);
      EXPECT_EQ(energy.mixed_derivative(p.s, p.v, 0.7, mixed), accepts);
      EXPECT_NEAR(mixed.bound, std::abs(product), rounding);
      ASSERT_EQ(contrast.received.size(), accepts ? 1 : 0);
      ASSERT_EQ(mixed.received.size(), accepts ? 1 : 0);
      if (!accepts) continue;
      EXPECT_NEAR(contrast.received(0), sum, rounding);
      EXPECT_NEAR(mixed.received(0), product, rounding);
    }
}

/// Decorators offer the capabilities of their model, except those that their change rules out.
TEST(Decorators, OfferWhatTheirModelOffers) {
  for (const auto* cases : {&zoo(), &fields()})
    for (const Case& c : *cases) {
      SCOPED_TRACE(c.name);
      Random random(54);
      const auto network = make_network(c);
      const AnyEnergy<double> energy =
          network.clamp(random_state(random, network.topology().num_inputs(), 2));
      const AnyCost<double> cost =
          SquaredError<double>(random_state(random, network.topology().num_outputs(), 2));
      const TotalEnergy<double> total(energy, cost, 0.3);
      const Symmetrized<double> turned(energy, network.initial_state(2));
      const auto has = [](const auto* capability) { return capability != nullptr; };
      EXPECT_EQ(has(total.block_updates()), has(energy.block_updates()));
      EXPECT_EQ(has(total.one_pass_residual()), has(energy.one_pass_residual()));
      EXPECT_EQ(turned.block_updates(), nullptr) << "its coupling turns within a block, too";
      EXPECT_EQ(turned.one_pass_residual(), nullptr);
      EXPECT_EQ(total.input_derivatives(), energy.input_derivatives());
      EXPECT_EQ(turned.input_derivatives(), energy.input_derivatives());
      ASSERT_TRUE(has(total.selection()) && has(turned.selection()));
      EXPECT_EQ(total.selection()->separable(), energy.separable());
      EXPECT_FALSE(turned.selection()->separable());
      EXPECT_EQ(total.conservative(), energy.conservative());
      EXPECT_EQ(turned.conservative(), energy.conservative());
    }
}

}  // namespace
}  // namespace equiprop::tests
