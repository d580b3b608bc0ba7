/// The antisymmetric term: it keeps the velocity at s* and transposes the Jacobian there.

#include "support.hpp"

namespace equiprop::tests {
namespace {

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        family(make_family(network, random_state(random, network.topology().num_inputs(), batch))),
        energy(family.energy()),
        s_star(interior_state(network, random, batch)),
        s(interior_state(network, random, batch)),
        v(random_state(random, s.rows(), batch)),
        repaired(Symmetrized<double>(energy, s_star)) {}

  static constexpr Index batch = 3;
  HopfieldNetwork<double> network;
  Random random{22};
  EnergyFamily family;
  AnyEnergy<double> energy;
  State<double> s_star, s, v;
  AnyEnergy<double> repaired;
};

State<double> gradient(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.gradient(s, out);
  return out;
}

TEST(Symmetrized, LeavesTheGradientAtItsPointUnchanged) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    expect_identical(gradient(probe.repaired, probe.s_star), gradient(probe.energy, probe.s_star),
                     "gradient at s*");
  });
}

/// Returns the symmetrized family of the first sample, at the given point.
EnergyFamily repair(const EnergyFamily& family, const State<double>& point) {
  const EnergyFamily sample = family.sample(0);
  return {sample.theta, sample.x,
          [=](const auto& theta, const auto& x) -> AnyEnergy<double> {
            return Symmetrized<double>(sample.on_double(theta, x), point);
          },
          [=](const auto& theta, const auto& x) -> AnyEnergy<D> {
            return Symmetrized<D>(sample.on_dual(theta, x), point.cast<D>());
          }};
}

EnergyFamily nudge(const EnergyFamily& family, const State<double>& y, double beta) {
  return {family.theta, family.x,
          [=](const auto& theta, const auto& x) -> AnyEnergy<double> {
            return TotalEnergy<double>(family.on_double(theta, x), SquaredError<double>(y), beta);
          },
          [=](const auto& theta, const auto& x) -> AnyEnergy<D> {
            return TotalEnergy<D>(family.on_dual(theta, x), SquaredError<D>(y.cast<D>()), D(beta));
          }};
}

/// Every law of derivatives holds, also with nudging: the term depends on theta, but is 0 at s*.
TEST(Symmetrized, ObeysEveryLawAtItsPoint) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [](Probe& probe) {
      const State<double> point = probe.s_star.col(0);
      const EnergyFamily repaired = repair(probe.family, point);
      check_energy(repaired, point);
      const Index outputs = probe.energy.num_outputs();
      check_energy(nudge(repaired, random_state(probe.random, outputs, 1), 0.4), point);
    });
}

/// The Jacobian at s*, from dual gradients by one unit at a time, is the transpose of the original one.
TEST(Symmetrized, TransposesTheJacobianAtItsPoint) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const State<double> point = probe.s_star.col(0);
    expect_close(dense_hessian(repair(probe.family, point), point),
                 dense_hessian(probe.family.sample(0), point).transpose(), rounding, "H^T");
  });
}

TEST(Symmetrized, ItsProductsAreTransposesOfEachOtherAwayFromItsPoint) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const State<double> u = random_state(probe.random, probe.s.rows(), Probe::batch);
    State<double> hv(probe.s.rows(), Probe::batch), hu = hv;
    probe.repaired.hessian_vector_product(probe.s, probe.v, hv);
    probe.repaired.transposed_hessian_vector_product(probe.s, u, hu);
    expect_close(inner<double>(u, hv).matrix(), inner<double>(hu, probe.v).matrix(), rounding,
                 "<u, H v> = <H^T u, v>");
  });
}

/// Away from s*, the gradient is G(s) + (H^T - H)(s - s*).
TEST(Symmetrized, IsItsFormula) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const State<double> step = probe.s - probe.s_star;
    State<double> forth(step.rows(), Probe::batch), back = forth;
    probe.energy.hessian_vector_product(probe.s_star, step, forth);
    probe.energy.transposed_hessian_vector_product(probe.s_star, step, back);
    expect_close(gradient(probe.repaired, probe.s), gradient(probe.energy, probe.s) + back - forth,
                 rounding, "gradient");
    EXPECT_FALSE(probe.repaired.conservative());
  });
}

/// For a symmetric H, H - H^T is a rounding error: up to the last digits the energy and its parameter derivatives are
/// the same.
TEST(Symmetrized, OfAnEnergyIsThatEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    EXPECT_TRUE(probe.repaired.conservative());
    expect_close(gradient(probe.repaired, probe.s), gradient(probe.energy, probe.s), rounding,
                 "gradient");
    State<double> a(probe.s.rows(), Probe::batch), b = a;
    probe.repaired.hessian_vector_product(probe.s, probe.v, a);
    probe.energy.hessian_vector_product(probe.s, probe.v, b);
    expect_close(a, b, rounding, "hessian_vector_product");
    PerSample<double> e(Probe::batch), f(Probe::batch);
    probe.repaired.energy(probe.s, e);
    probe.energy.energy(probe.s, f);
    expect_identical(e.matrix(), f.matrix(), "energy");
    Parameters<double> p = Parameters<double>::Zero(probe.family.theta.size()), q = p;
    probe.repaired.parameter_gradient(probe.s, 0.7, p);
    probe.energy.parameter_gradient(probe.s, 0.7, q);
    expect_identical(p, q, "parameter_gradient");
  });
}

TEST(Symmetrized, RestsWhereTheFieldRests) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const State<double> rest = fixed_point(probe.energy, probe.network.initial_state(Probe::batch));
    State<double> image = rest, mobility = rest, expected = rest;
    const Symmetrized<double> repaired(probe.energy, rest);
    repaired.fixed_point_map(rest, {}, image);
    expect_close(image, rest, rounding, "T(s*) = s*");
    repaired.mobility(rest, {}, mobility);
    probe.energy.mobility(rest, {}, expected);
    expect_close(mobility, expected, rounding, "mobility at s*");
  });
}

/// Returns the transposed Jacobian of the map for a single sample.
State<double> transposed_map(const AnyEnergy<double>& energy, const State<double>& s) {
  const State<double> units = State<double>::Identity(s.rows(), s.rows());
  State<double> columns(s.rows(), s.rows());
  for (Index i = 0; i < s.rows(); ++i)
    energy.transposed_map_product(s, {}, units.col(i), columns.col(i));
  return columns;
}

/// 1 - D H and 1 - D H^T have the same eigenvalues, so the traces of their powers are equal. A damping that is stable
/// for one is stable for the other.
TEST(Symmetrized, KeepsTheEigenvaluesOfTheMap) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const EnergyFamily sample = probe.family.sample(0);
    const State<double> rest = fixed_point(sample.energy(), probe.network.initial_state(1));
    const State<double> plain = transposed_map(sample.energy(), rest),
                        turned = transposed_map(Symmetrized<double>(sample.energy(), rest), rest);
    State<double> a = plain, b = turned;
    for (Index power = 1; power <= rest.rows(); ++power, a *= plain, b *= turned)
      EXPECT_NEAR(a.trace(), b.trace(), 1e-10) << "power " << power;
  });
}

/// The map is that of the field under the force -(H^T - H)(s - s*), away from s* and with an outer force.
TEST(Symmetrized, MapsLikeTheFieldUnderAForceOnAllUnits) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const State<double> step = probe.s - probe.s_star;
    State<double> forth(step.rows(), Probe::batch), back = forth, image = forth, expected = forth;
    probe.energy.hessian_vector_product(probe.s_star, step, forth);
    probe.energy.transposed_hessian_vector_product(probe.s_star, step, back);
    const Index outputs = probe.energy.num_outputs();
    const State<double> outer = random_state(probe.random, outputs, Probe::batch);
    Nudge<double> whole{forth - back};
    whole.force.bottomRows(outputs) += outer;
    probe.repaired.fixed_point_map(probe.s, {outer}, image);
    probe.energy.fixed_point_map(probe.s, whole, expected);
    expect_close(image, expected, rounding, "T(s)");
  });
}

TEST(Symmetrized, SamplesRestrictThePointToo) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    ASSERT_TRUE(probe.repaired.divisible());
    expect_close(gradient(probe.repaired.select(sample_range(1, 2)), probe.s.rightCols(2)),
                 gradient(probe.repaired, probe.s).rightCols(2), rounding, "gradient");
  });
}

}  // namespace
}  // namespace equiprop::tests
