/// F = E + beta C: the laws of an energy, and the sum by its formula.

#include "support.hpp"

namespace equiprop::tests {
namespace {

State<double> one_hot(Index outputs, Index batch) {
  State<double> y = State<double>::Zero(outputs, batch);
  for (Index j = 0; j < batch; ++j) y(j % outputs, j) = 1;
  return y;
}

/// The family of total energies over another family; the targets of the sample are constant.
template <template <class> class C>
EnergyFamily nudge(const EnergyFamily& family, const State<double>& y, double beta) {
  return {family.theta, family.x,
          [=](const auto& theta, const auto& x) -> AnyEnergy<double> {
            return TotalEnergy<double>(family.on_double(theta, x), C<double>(y), beta);
          },
          [=](const auto& theta, const auto& x) -> AnyEnergy<D> {
            return TotalEnergy<D>(family.on_dual(theta, x), C<D>(y.cast<D>()), D(beta));
          }};
}

struct Probe {
  explicit Probe(const Case& c) : network(make_network(c)) {}

  HopfieldNetwork<double> network;
  Random random{5};
};

bool is_mixed_or_smallest(const Case& c) {
  return c.name.starts_with("mixed") || c.name.ends_with("_smallest");
}

TEST(TotalEnergy, ObeysEveryLawUnderBothCosts) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const Index outputs = probe.network.topology().num_outputs();
      const State<double> x = random_state(probe.random, probe.network.topology().num_inputs(), 1);
      const State<double> s = interior_state(probe.network, probe.random, 1);
      const EnergyFamily family = make_family(probe.network, x);
      check_energy(nudge<SquaredError>(family, random_state(probe.random, outputs, 1), 0.4), s);
      check_energy(nudge<SquaredError>(family, random_state(probe.random, outputs, 1), -0.3), s);
      check_energy(nudge<CrossEntropy>(family, one_hot(outputs, 1), 0.4), s);
    });
}

TEST(TotalEnergy, OfAUsersModelObeysEveryLaw) {
  Random random(6);
  for (const Index units : {1, 2, 7}) {
    const EnergyFamily family = chain_family(random, units, 1);
    const State<double> y = one_hot(family.energy().num_outputs(), 1);
    check_energy(nudge<CrossEntropy>(family, y, 0.4), random_state(random, units, 1));
  }
}

TEST(TotalEnergy, IsTheSumOfItsParts) {
  for_each<Probe>(is_mixed_or_smallest, [](Probe& probe) {
    const Index batch = 4, outputs = probe.network.topology().num_outputs();
    const State<double> x =
        random_state(probe.random, probe.network.topology().num_inputs(), batch);
    const State<double> s = interior_state(probe.network, probe.random, batch);
    const State<double> v = random_state(probe.random, s.rows(), batch);
    const AnyEnergy<double> energy = probe.network.clamp(x);
    const AnyCost<double> cost = CrossEntropy<double>(one_hot(outputs, batch));
    for (const double beta : {0.0, 0.7, -0.2}) {
      const TotalEnergy<double> total(energy, cost, beta);
      PerSample<double> e(batch), c(batch), f(batch);
      energy.energy(s, e);
      cost.value(s.bottomRows(outputs), c);
      total.energy(s, f);
      expect_close(f.matrix(), (e + beta * c).matrix(), rounding, "F = E + beta C");
      State<double> g(s.rows(), batch), h(outputs, batch), sum(s.rows(), batch);
      energy.hessian_vector_product(s, v, sum);
      cost.hessian_vector_product(s.bottomRows(outputs), v.bottomRows(outputs), h);
      sum.bottomRows(outputs) += beta * h;
      total.hessian_vector_product(s, v, g);
      expect_close(g, sum, rounding, "Hessian of the sum");
    }
  });
}

TEST(TotalEnergy, SamplesRestrictBothParts) {
  for_each<Probe>(is_mixed_or_smallest, [](Probe& probe) {
    const Index batch = 5, outputs = probe.network.topology().num_outputs();
    const State<double> x =
        random_state(probe.random, probe.network.topology().num_inputs(), batch);
    const State<double> s = interior_state(probe.network, probe.random, batch);
    const AnyEnergy<double> total =
        TotalEnergy<double>(probe.network.clamp(x),
                            SquaredError<double>(random_state(probe.random, outputs, batch)), 0.6);
    State<double> all(s.rows(), batch), part(s.rows(), 2);
    total.gradient(s, all);
    total.select(sample_range(2, 2)).gradient(s.middleCols(2, 2), part);
    expect_close(part, all.middleCols(2, 2), rounding, "gradient of samples 2 and 3");
  });
}

/// Two nested nudges add up: the outer force is forwarded to the inner energy.
TEST(TotalEnergy, NestsByAddingItsForces) {
  for_each<Probe>(is_mixed_or_smallest, [](Probe& probe) {
    const Index batch = 2, outputs = probe.network.topology().num_outputs();
    const State<double> x =
        random_state(probe.random, probe.network.topology().num_inputs(), batch);
    const State<double> y = random_state(probe.random, outputs, batch);
    State<double> s = interior_state(probe.network, probe.random, batch);
    const AnyEnergy<double> energy = probe.network.clamp(x);
    energy.project(s);
    const AnyCost<double> cost = SquaredError<double>(y);
    const AnyEnergy<double> inside = TotalEnergy<double>(energy, cost, 0.2);
    const AnyEnergy<double> nested = TotalEnergy<double>(inside, cost, 0.3),
                            once = TotalEnergy<double>(energy, cost, 0.5);
    State<double> a(s.rows(), batch), b(s.rows(), batch);
    nested.fixed_point_map(s, {}, a);
    once.fixed_point_map(s, {}, b);
    expect_close(a, b, rounding, "fixed_point_map");
    for (Index block = 0; block < energy.num_blocks(); ++block) {
      a = b = s;
      nested.block_update(block, {}, a);
      once.block_update(block, {}, b);
      expect_close(a, b, rounding, "block_update");
    }
  });
}

}  // namespace
}  // namespace equiprop::tests
