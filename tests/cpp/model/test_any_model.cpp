/// The defaults that AnyEnergy supplies to a minimal model, and the forwarding of the functions that a model has.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// A quadratic energy: the smallest type that satisfies the concept Energy.
struct Bowl {
  using Scalar = double;
  Index num_units() const { return 3; }
  Index num_outputs() const { return 2; }
  Index num_parameters() const { return 0; }
  void energy(const ConstStateRef<double>& s, PerSample<double>& out) const {
    out = 0.25 * inner<double>(s, s);
  }
  void gradient(const ConstStateRef<double>& s, StateRef<double> out) const { out = 0.5 * s; }
  void hessian_vector_product(const ConstStateRef<double>&, const ConstStateRef<double>& v,
                              StateRef<double> out) const {
    out = 0.5 * v;
  }
  void parameter_gradient(const ConstStateRef<double>&, double, ParametersRef<double>) const {}
  void mixed_derivative_product(const ConstStateRef<double>&, const ConstStateRef<double>&, double,
                                ParametersRef<double>) const {}
};
static_assert(Energy<Bowl> && !HasFixedPointMap<Bowl> && !HasBlockUpdate<Bowl> &&
              !Divisible<Bowl> && !HasInputGradient<Bowl> && !MaybeNonconservative<Bowl>);
static_assert(Energy<AnyEnergy<double>> && HasFixedPointMap<AnyEnergy<double>> &&
              HasBlockUpdate<AnyEnergy<double>> && HasInputGradient<AnyEnergy<double>>);
static_assert(Energy<TotalEnergy<double>> && HasFixedPointMap<TotalEnergy<double>>);
static_assert(Energy<Symmetrized<double>> && HasFixedPointMap<Symmetrized<double>>);
static_assert(MaybeNonconservative<AnyEnergy<double>> && MaybeNonconservative<TotalEnergy<D>> &&
              MaybeNonconservative<Symmetrized<Complex>> &&
              MaybeNonconservative<ClampedHopfield<D>>);
static_assert(Cost<SquaredError<double>> && Cost<CrossEntropy<float>> && Cost<AnyCost<Complex>>);

TEST(AnyEnergy, DerivesWhatAModelDoesNotOffer) {
  Random random(1);
  const AnyEnergy<double> energy = Bowl{};
  const State<double> s = random_state(random, 3, 4);
  State<double> out = State<double>::Constant(3, 4, 9);
  energy.fixed_point_map(s, {}, out);
  expect_identical(out, 0.5 * s, "T(s) = s - dE/ds");
  energy.mobility(s, {}, out);
  expect_identical(out, State<double>::Ones(3, 4), "mobility 1");
  State<double> unchanged = s;
  energy.project(unchanged);
  expect_identical(unchanged, s, "no box");
  const State<double> v = random_state(random, 3, 4);
  energy.transposed_hessian_vector_product(s, v, out);
  expect_identical(out, 0.5 * v, "a symmetric Hessian");
  EXPECT_TRUE(energy.conservative());
  EXPECT_EQ(energy.num_blocks(), 0);
  EXPECT_EQ(energy.num_inputs(), 0);
  EXPECT_FALSE(energy.divisible());
  EXPECT_THROW(energy.samples(0, 1), InvalidArgument);
}

TEST(AnyEnergy, LetsAForceActOnTheOutputsOfAnyModel) {
  Random random(2);
  const AnyEnergy<double> energy = Bowl{};
  const State<double> s = random_state(random, 3, 4);
  const Nudge<double> nudge{random_state(random, 2, 4), Parameters<double>::Constant(2, 0.3)};
  State<double> out(3, 4), expected = 0.5 * s;
  expected.bottomRows(2) += nudge.force - 0.3 * s.bottomRows(2);
  energy.fixed_point_map(s, nudge, out);
  expect_close(out, expected, rounding, "T(s) under a force");
  const State<double> v = random_state(random, 3, 4);
  expected = 0.5 * v;
  expected.bottomRows(2) -= 0.3 * v.bottomRows(2);
  energy.transposed_map_product(s, nudge, v, out);
  expect_close(out, expected, rounding, "(dT/ds)^T v: only the stiffness moves with s");
}

TEST(AnyEnergy, TheDefaultInputDerivativesTouchNothing) {
  const AnyEnergy<double> energy = Bowl{};
  const State<double> s = State<double>::Ones(3, 2);
  State<double> nothing(0, 2);
  energy.input_gradient(s, 1, nothing);
  energy.mixed_input_product(s, s, 1, nothing);
  EXPECT_EQ(nothing.size(), 0);
}

/// A model computes the same numbers directly and through AnyEnergy.
TEST(AnyEnergy, PassesOnWhatAModelOffers) {
  Random random(3);
  for (const Case& c : zoo()) {
    const auto network = make_network(c);
    const State<double> x = random_state(random, network.topology().num_inputs(), 2);
    const State<double> s = interior_state(network, random, 2);
    const ClampedHopfield<double> direct = network.clamp(x);
    const AnyEnergy<double> erased = direct;
    State<double> a(s.rows(), 2), b(s.rows(), 2);
    direct.fixed_point_map(s, {}, a);
    erased.fixed_point_map(s, {}, b);
    expect_identical(b, a, "fixed_point_map");
    direct.mobility(s, {}, a);
    erased.mobility(s, {}, b);
    expect_identical(b, a, "mobility");
    EXPECT_EQ(erased.block_updates() == nullptr, direct.block_updates() == nullptr);
    EXPECT_EQ(erased.one_pass_residual() == nullptr, direct.one_pass_residual() == nullptr);
    EXPECT_GT(erased.num_blocks(), 0);
    EXPECT_EQ(erased.num_inputs(), network.topology().num_inputs());
    EXPECT_TRUE(erased.divisible());
  }
}

TEST(AnyEnergy, CopiesShareTheModel) {
  Random random(4);
  const Case& c = zoo().front();
  const auto network = make_network(c);
  const State<double> s = interior_state(network, random, 1);
  PerSample<double> before(1), after(1);
  AnyEnergy<double> copy = network.clamp(State<double>::Ones(1, 1));
  {
    const AnyEnergy<double> original = copy;
    original.energy(s, before);
    copy = original;
  }
  copy.energy(s, after);
  EXPECT_EQ(before(0), after(0));
}

}  // namespace
}  // namespace equiprop::tests
