#pragma once
/// Both processes of a network at a fixed point, recorded step by step.

#include "support.hpp"

namespace equiprop::tests {

inline constexpr double exact = 1e-13;

template <class S>
struct Process {
  std::vector<State<S>> state;
  std::vector<Parameters<S>> parameters;

  ProcessObserver<S> observer() {
    return [this](Index n, const State<S>& s, const Parameters<S>& p) {
      EXPECT_EQ(n, static_cast<Index>(state.size()));
      state.push_back(s);
      parameters.push_back(p);
    };
  }
};

/// Expects Stil = -D Sbar and Thtil = Thbar at every step.
inline void expect_theorem(const Process<double>& errors, const Process<D>& limit,
                           const State<double>& free_units, double tolerance = exact) {
  ASSERT_EQ(errors.state.size(), limit.state.size());
  for (std::size_t n = 0; n < errors.state.size(); ++n) {
    const State<double> expected = -errors.state[n].cwiseProduct(free_units);
    expect_close(derivative(limit.state[n]), expected, tolerance, "Stil = -D Sbar");
    expect_close(derivative(limit.parameters[n]), errors.parameters[n], tolerance, "Thtil = Thbar");
  }
}

/// A network at its free fixed point.
struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch, 2)),
        y(random_state(random, network.topology().num_outputs(), batch).array() + 1.5),
        family(make_family(network, x)),
        s(fixed_point(family.energy(), network.initial_state(batch))),
        mobility(s) {
    family.energy().mobility(s, {}, mobility);
    free_units = (mobility.array() != 0).cast<double>();
    for (Index j = 0; j < batch; ++j) y.col(j) /= y.col(j).sum();
  }
  Process<double> errors(const ProcessOptions& options) const {
    Process<double> process;
    error_derivatives(family.energy(), cost, s, options, process.observer());
    return process;
  }
  template <class S>
  Process<S> temporal(const AnyEnergy<S>& energy, const AnyCost<S>& chosen,
                      const NudgingRule<S>& rule, const ProcessOptions& options) const {
    Process<S> process;
    temporal_derivatives<S>(energy, chosen, s.cast<S>(), rule, options, process.observer());
    return process;
  }
  Process<D> limit(const ProcessOptions& options) const {
    return temporal<D>(family.dual_energy(), dual_cost, exact_limit(), options);
  }
  /// Returns the limit in which the antisymmetric term corrects the nudged flow.
  Process<D> repaired_limit(const ProcessOptions& options) const {
    const AnyEnergy<D> repaired = Symmetrized<D>(family.dual_energy(), s.cast<D>());
    return temporal<D>(repaired, dual_cost, exact_limit(), options);
  }
  bool all_free() const { return (mobility.array() != 0).all(); }

  static constexpr Index batch = 2;
  HopfieldNetwork<double> network;
  Random random{16};
  State<double> x, y;
  EnergyFamily family;
  State<double> s, mobility, free_units;
  AnyCost<double> cost = SquaredError<double>(y);
  AnyCost<D> dual_cost = SquaredError<D>(y.cast<D>());
};

/// Returns the largest distance of Stil and Thtil with a finite nudge from their limit, over all steps.
inline double distance(const Probe& probe, const NudgingRule<double>& rule,
                       const ProcessOptions& options) {
  const auto errors = probe.errors(options);
  const auto finite = probe.temporal<double>(probe.family.energy(), probe.cost, rule, options);
  double largest = 0;
  for (std::size_t n = 0; n < errors.state.size(); ++n) {
    largest = std::max(largest, (finite.state[n] + errors.state[n]).cwiseAbs().maxCoeff());
    largest =
        std::max(largest, (finite.parameters[n] - errors.parameters[n]).cwiseAbs().maxCoeff());
  }
  return largest;
}

/// Expects that halving beta halves the distance of a one-sided rule and quarters that of a centered one.
inline void expect_orders(const Probe& probe, const ProcessOptions& options) {
  const double beta = 0.01;
  EXPECT_NEAR(distance(probe, one_sided<double>(beta), options) /
                  distance(probe, one_sided<double>(beta / 2), options),
              2, 0.1);
  EXPECT_NEAR(distance(probe, centered<double>(beta), options) /
                  distance(probe, centered<double>(beta / 2), options),
              4, 0.1);
}

inline bool is_curved_chain(const Case& c) {
  return is_smooth(c) && c.name.ends_with("_chain") && !c.name.starts_with("linear_");
}

}  // namespace equiprop::tests
