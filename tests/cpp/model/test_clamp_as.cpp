/// Real weights with dual and complex states, against dense algebra on these scalars.

#include "reference.hpp"

namespace equiprop::tests {
namespace {

template <class S>
State<S> random_two_parts(Random& random, const State<double>& first) {
  const State<double> second = random_state(random, first.rows(), first.cols(), 0.3);
  return first.binaryExpr(second, [](double a, double b) { return S(a, b); });
}

template <class S>
void expect_close_parts(const State<S>& actual, const State<S>& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double error = 0, scale = 1;
  for (Index i = 0; i < actual.size(); ++i) {
    const double difference = magnitude(S(actual(i) - expected(i)));
    if (!(difference <= error)) error = difference;
    scale = std::max(scale, magnitude(expected(i)));
  }
  EXPECT_LE(error, rounding * scale) << what;
}

template <class S>
struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        s(random_two_parts<S>(random, interior_state(network, random, batch))),
        v(random_two_parts<S>(random, random_state(random, s.rows(), batch))),
        shared(network.clamp_as<S>(x)),
        reference(make_reference()) {}

  AnyEnergy<S> make_reference() const {
    return ReferenceNetwork<S>(network.topology(), network.parameters().template cast<S>(),
                               x.template cast<S>());
  }

  /// Compares fill(energy, out) of both energies, for an `out` of this shape.
  template <class Fill>
  void compare(const std::string& what, Index rows, Index columns, const Fill& fill) {
    State<S> a = State<S>::Ones(rows, columns), b = a;
    fill(shared, a);
    fill(reference, b);
    expect_close_parts<S>(a, b, what);
  }

  static constexpr Index batch = 3;
  HopfieldNetwork<double> network;
  Random random{23};
  State<double> x;
  State<S> s, v;
  AnyEnergy<S> shared, reference;
};

/// Returns true if a case can have states of scalar S. Complex states require that no clip can hold a unit, because
/// complex numbers have no order.
template <class S>
bool takes(const Case& c) {
  return std::same_as<S, D> || is_smooth(c);
}

template <class S>
void check_states(Probe<S>& probe) {
  const State<S>&s = probe.s, &v = probe.v;
  const Index units = s.rows(), batch = s.cols();
  const Index forced =
      units - probe.network.topology().state()[probe.network.topology().num_free() / 2].offset;
  const Nudge<S> nudge{
      random_two_parts<S>(probe.random, random_state(probe.random, forced, batch))};
  probe.compare("gradient", units, batch, [&](auto& e, auto& out) { e.gradient(s, out); });
  probe.compare("hessian", units, batch,
                [&](auto& e, auto& out) { e.hessian_vector_product(s, v, out); });
  probe.compare("transposed hessian", units, batch,
                [&](auto& e, auto& out) { e.transposed_hessian_vector_product(s, v, out); });
  probe.compare("map", units, batch, [&](auto& e, auto& out) { e.fixed_point_map(s, nudge, out); });
  probe.compare("mobility", units, batch, [&](auto& e, auto& out) { e.mobility(s, nudge, out); });
  probe.compare("transposed map", units, batch,
                [&](auto& e, auto& out) { e.transposed_map_product(s, nudge, v, out); });
  probe.compare("mixed input", probe.x.rows(), batch,
                [&](auto& e, auto& out) { e.mixed_input_product(s, v, S(0.7), out); });
  probe.compare("block updates", units, batch, [&](auto& e, auto& out) {
    out = s;
    for (Index block = 0; block < e.num_blocks(); ++block) e.block_update(block, nudge, out);
  });
}

template <class S>
void check_parameters(Probe<S>& probe) {
  const State<S>&s = probe.s, &v = probe.v;
  const Index size = probe.network.parameters().size();
  ASSERT_EQ(probe.shared.num_parameters(), size);
  ASSERT_EQ(probe.shared.conservative(), probe.reference.conservative());
  probe.compare("mixed", size, 1,
                [&](auto& e, auto& out) { e.mixed_derivative_product(s, v, S(0.7), out.col(0)); });
  if (!probe.shared.conservative()) return;
  probe.compare("parameter gradient", size, 1,
                [&](auto& e, auto& out) { e.parameter_gradient(s, S(0.7), out.col(0)); });
  probe.compare("energy", s.cols(), 1, [&](auto& e, auto& out) {
    PerSample<S> energy(s.cols());
    e.energy(s, energy);
    out = energy.matrix();
  });
}

template <class S>
class ClampAs : public ::testing::Test {};
using TwoParts = ::testing::Types<D, Complex>;
TYPED_TEST_SUITE(ClampAs, TwoParts);

TYPED_TEST(ClampAs, GivesTheNumbersOfDenseAlgebra) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe<TypeParam>>(*cases, takes<TypeParam>, [](auto& probe) {
      check_states(probe);
      check_parameters(probe);
    });
}

TYPED_TEST(ClampAs, SharesTheNetworksParameters) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe<TypeParam>>(*cases, takes<TypeParam>, [](auto& probe) {
      // The drive of the input is computed when it is clamped, but a change of weights between free layers takes effect
      // at once.
      for (const auto e : probe.network.topology().inner()) {
        if (probe.network.topology().lateral_weights(e)) continue;  // packed when it is clamped
        const Block& block = probe.network.topology().feedback_weights(e);
        probe.network.parameters().segment(block.offset, block.size()) *= 2;
      }
      probe.reference = probe.make_reference();
      check_states(probe);
    });
}

/// If weights are real numbers, they contribute no imaginary or derivative part.
TEST(ClampAs, TheRealAxisStaysReal) {
  for_each_of<Probe<D>>(fields(), is_any, [](Probe<D>& probe) {
    const State<double> real = value(probe.s);
    State<D> out(real.rows(), Probe<D>::batch);
    probe.shared.gradient(real.cast<D>(), out);
    EXPECT_TRUE((derivative(out).array() == 0).all());
    State<double> expected(real.rows(), Probe<D>::batch);
    probe.network.clamp(probe.x).gradient(real, expected);
    expect_close(value(out), expected, rounding, "gradient");
  });
}

}  // namespace
}  // namespace equiprop::tests
