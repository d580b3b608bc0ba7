/// The comparison during a run against a comparison of the complete records.

#include "verification/processes.hpp"

namespace equiprop::tests {
namespace {

std::vector<Index> ends(const Layout& layout) {
  std::vector<Index> out;
  for (const Block& block : layout.blocks()) out.push_back(block.offset + block.size());
  return out;
}

template <class S>
State<double> sensitivity(const State<S>& a) {
  if constexpr (std::same_as<S, D>)
    return derivative(a);
  else
    return a;
}

/// Checks one group: entries [begin, end) of every row of both sequences.
void check_group(const Groups& groups, Index g, Index begin,
                 const std::vector<State<double>>& values,
                 const std::vector<State<double>>& references) {
  const Index count = groups.ends[static_cast<std::size_t>(g)] - begin;
  double product = 0, power = 0, value_power = 0;
  for (std::size_t n = 0; n < values.size(); ++n) {
    const State<double> a = values[n].middleRows(begin, count);
    const State<double> b = references[n].middleRows(begin, count);
    EXPECT_EQ(groups.difference(g, static_cast<Index>(n)), (a - b).cwiseAbs().maxCoeff());
    EXPECT_EQ(groups.size(g, static_cast<Index>(n)), b.cwiseAbs().maxCoeff());
    product += a.cwiseProduct(b).sum();
    power += b.squaredNorm();
    value_power += a.squaredNorm();
  }
  const double tolerance = rounding * (1 + power + value_power);
  EXPECT_NEAR(groups.product(g), product, tolerance);
  EXPECT_NEAR(groups.power(g), power, tolerance);
  EXPECT_NEAR(groups.value_power(g), value_power, tolerance);
}

void check_groups(const Groups& groups, const std::vector<State<double>>& values,
                  const std::vector<State<double>>& references) {
  ASSERT_EQ(groups.difference.cols(), static_cast<Index>(values.size()));
  ASSERT_EQ(groups.ends.back(), values[0].rows());
  Index begin = 0;
  for (Index g = 0; g < groups.difference.rows(); ++g) {
    check_group(groups, g, begin, values, references);
    begin = groups.ends[static_cast<std::size_t>(g)];
  }
}

/// Checks the traced units of the traced samples, sample by sample, and the traced parameters.
void check_trace(const State<double>& trace, const std::vector<State<double>>& all,
                 const std::vector<Index>& rows, const std::vector<Index>& columns) {
  ASSERT_EQ(trace.rows(), static_cast<Index>(rows.size() * columns.size()));
  for (std::size_t n = 0; n < all.size(); ++n) {
    Index k = 0;
    for (const Index column : columns)
      for (const Index row : rows)
        EXPECT_EQ(trace(k++, static_cast<Index>(n)), all[n](row, column));
  }
}

template <class S>
void check_comparison(const Probe& probe, const AnyEnergy<S>& nudged, const AnyCost<S>& cost,
                      const NudgingRule<S>& rule, const ProcessOptions& options) {
  const Topology& topology = probe.network.topology();
  const Traced traced{{probe.s.rows() - 1, 0}, {1, 0}, {2, 0}};
  const Comparison out =
      compare_processes<S>(probe.family.energy(), probe.cost, nudged, cost, probe.s, rule, options,
                           ends(topology.state()), ends(topology.parameters()), traced);
  const auto errors = probe.errors(options);
  const auto temporal = probe.temporal<S>(nudged, cost, rule, options);
  std::vector<State<double>> sbar, stil, thbar, thtil, expected;
  for (std::size_t n = 0; n < errors.state.size(); ++n) {
    sbar.push_back(errors.state[n]);
    expected.push_back(-probe.free_units.cwiseProduct(errors.state[n]));
    stil.push_back(sensitivity<S>(temporal.state[n]));
    thbar.push_back(errors.parameters[n]);
    thtil.push_back(sensitivity<S>(temporal.parameters[n]));
  }
  check_groups(out.states, stil, expected);
  check_groups(out.parameters, thtil, thbar);
  check_trace(out.error_states, sbar, traced.units, traced.samples);
  check_trace(out.temporal_states, stil, traced.units, traced.samples);
  check_trace(out.error_parameters, thbar, traced.parameters, {0});
  check_trace(out.temporal_parameters, thtil, traced.parameters, {0});
}

bool has_three_parameters(const Case& c) {
  return !c.name.starts_with("linear") && c.name.find("_smallest") == std::string::npos;
}

TEST(Comparison, IsThatOfTheRecordedProcesses) {
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, has_three_parameters, [](Probe& probe) {
      const ProcessOptions options{12, stable_step(probe.family, probe.s)};
      check_comparison<D>(probe, probe.network.clamp_as<D>(probe.x), probe.dual_cost, exact_limit(),
                          options);
      check_comparison<double>(probe, probe.family.energy(), probe.cost, centered<double>(0.01),
                               options);
    });
}

TEST(Comparison, IsThatOfTheRecordedRungeKutta) {
  const auto smooth = [](const Case& c) { return has_three_parameters(c) && is_smooth(c); };
  for_each<Probe>(smooth, [](Probe& probe) {
    const ProcessOptions options{12, stable_step(probe.family, probe.s), Integrator::runge_kutta};
    check_comparison<D>(probe, probe.family.dual_energy(), probe.dual_cost, exact_limit(), options);
  });
}

TEST(Comparison, WithoutStepsShowsTheStart) {
  Probe probe(zoo()[1]);
  check_comparison<D>(probe, probe.family.dual_energy(), probe.dual_cost, exact_limit(), {0, 0.1});
}

/// The theorem in the numbers of a comparison: differences vanish, and the products are equal to the powers.
TEST(Comparison, SeesTheTheorem) {
  for_each<Probe>(has_three_parameters, [](Probe& probe) {
    const Topology& topology = probe.network.topology();
    const Comparison out = compare_processes<D>(
        probe.family.energy(), probe.cost, probe.network.clamp_as<D>(probe.x), probe.dual_cost,
        probe.s, exact_limit(), {40, stable_step(probe.family, probe.s)}, ends(topology.state()),
        ends(topology.parameters()), {});
    for (const Groups* groups : {&out.states, &out.parameters}) {
      EXPECT_LE(groups->difference.maxCoeff(), exact * (1 + groups->size.maxCoeff()));
      expect_close(groups->product.matrix(), groups->power.matrix(), rounding, "cosine 1");
      expect_close(groups->value_power.matrix(), groups->power.matrix(), rounding, "ratio 1");
    }
    EXPECT_EQ(out.error_states.rows() + out.temporal_parameters.rows(), 0) << "nothing was traced";
  });
}

/// A NaN in one entry stays in the difference of its group, whatever follows.
TEST(Comparison, KeepsNaN) {
  Probe probe(zoo()[1]);
  const Index outputs = probe.y.rows(),
              layers = static_cast<Index>(probe.network.topology().num_free());
  State<double> y = probe.y;
  y(0, 0) = std::nan("");
  const Topology& topology = probe.network.topology();
  const Comparison out = compare_processes<D>(
      probe.family.energy(), SquaredError<double>(y), probe.network.clamp_as<D>(probe.x),
      SquaredError<D>(y.cast<D>()), probe.s, exact_limit(), {0, 0.1}, ends(topology.state()),
      ends(topology.parameters()), {});
  ASSERT_GT(outputs, 1);
  EXPECT_TRUE(std::isnan(out.states.difference(layers - 1, 0)));
  EXPECT_EQ(out.states.difference(0, 0), 0) << "the first layer has not heard of it";
}

}  // namespace
}  // namespace equiprop::tests
