/// A user-defined sink receives the gradient of each second phase and may change the parameters meanwhile.

#include "extension/diagonal_networks.hpp"

namespace equiprop::tests {
namespace {

/// Sink that updates theta <- theta - rate sign(gradient), by tiles of several columns of a block.
template <class S>
class DescendSigns final : public ParameterSink<S> {
 public:
  DescendSigns(ParametersRef<S> theta, S rate, Index columns)
      : theta_(theta), rate_(rate), columns_(columns) {}

  bool needs_bound() const override { return true; }
  bool bounded(double bound) override { return std::isfinite(bound); }
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override {
    for (Index begin = 0; begin < weights.columns; begin += columns_) {
      const Index count = std::min(columns_, weights.columns - begin);
      State<S> tile = State<S>::Zero(weights.rows, count);
      for (const auto& [scale, a, b] : terms)
        tile += scale * a * b.middleRows(begin, count).transpose();
      numbers(weights.offset + begin * weights.rows,
              Eigen::Map<const Parameters<S>>(tile.data(), tile.size()));
    }
  }
  void numbers(Index begin, const ConstParametersRef<S>& sums) override {
    theta_.segment(begin, sums.size()).array() -= rate_ * sums.array().sign();
  }

 private:
  ParametersRef<S> theta_;
  S rate_;
  Index columns_;
};

/// Sink that counts how often each parameter is handed over.
class Count final : public ParameterSink<double> {
 public:
  explicit Count(Index parameters) : times(Parameters<double>::Zero(parameters)) {}

  void products(const Block& weights, std::span<const OuterProduct<double>>) override {
    times.segment(weights.offset, weights.size()).array() += 1;
  }
  void numbers(Index begin, const ConstParametersRef<double>& sums) override {
    times.segment(begin, sums.size()).array() += 1;
  }

  Parameters<double> times;
};

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        energy(network.clamp(random_state(random, network.topology().num_inputs(), batch))),
        cost(SquaredError<double>(random_state(random, network.topology().num_outputs(), batch))),
        s(fixed_point(energy, network.initial_state(batch))) {}

  /// Returns dJ/dtheta of one of the second phases.
  ///@{
  Parameters<double> gradient(bool nudged) const {
    return nudged ? equilibrium_propagation<double>(energy, cost, s, rule, solver).parameters
                  : recurrent_backpropagation<double>(energy, cost, s, linear_solver()).parameters;
  }
  Report give(bool nudged, ParameterSink<double>& sink) const {
    const auto gradient =
        nudged ? equilibrium_propagation<double>(energy, cost, s, rule, solver, sink)
               : recurrent_backpropagation<double>(energy, cost, s, linear_solver(), sink);
    EXPECT_EQ(gradient.parameters.size(), 0);
    return gradient.report;
  }
  ///@}
  LinearSolver linear_solver() const { return GMRES{{1e-12, 1000}}; }

  static constexpr Index batch = 3;
  const FixedPointIteration solver{{1e-12, 20000}, 0.6};
  const NudgingRule<double> rule = centered<double>(0.2);
  HopfieldNetwork<double> network;
  Random random{25};
  AnyEnergy<double> energy;
  AnyCost<double> cost;
  State<double> s;
};

/// Calls check(probe) for the zoo, its vector fields, and networks with diagonal couplings.
template <class Check>
void for_each_network(const Check& check) {
  for (const auto& cases :
       {zoo(), fields(), diagonal_cases(Feedback::tied), diagonal_cases(Feedback::separate)})
    for_each_of<Probe>(cases, is_any, check);
}

TEST(Sink, ReceivesEveryParameterOnce) {
  for_each_network([](const Probe& probe) {
    for (const bool nudged : {true, false}) {
      Count count(probe.energy.num_parameters());
      probe.give(nudged, count);
      EXPECT_TRUE((count.times.array() == 1).all()) << count.times.transpose();
    }
  });
}

TEST(Sink, OfAProgramDescends) {
  for_each_network([](Probe& probe) {
    for (const bool nudged : {true, false})
      for (const Index columns : {1, 2, 100}) {
        const Parameters<double> gradient = probe.gradient(nudged);
        Parameters<double> theta = probe.network.parameters();
        DescendSigns<double> sink(theta, 0.125, columns);
        EXPECT_TRUE((probe.give(nudged, sink).status == Status::converged).all());
        for (Index i = 0; i < theta.size(); ++i) {
          if (std::abs(gradient(i)) < 1e-10) continue;  // the sign of a rounding error
          const double step = gradient(i) > 0 ? -0.125 : 0.125;
          EXPECT_EQ(theta(i), probe.network.parameters()(i) + step) << "parameter " << i;
        }
      }
  });
}

TEST(Sink, OfAProgramIsSparedSumsThatAreNotFinite) {
  for_each_network([](Probe& probe) {
    probe.s(0, 1) = std::nan("");
    for (const bool nudged : {true, false}) {
      Parameters<double> theta = probe.network.parameters();
      DescendSigns<double> sink(theta, 0.125, 2);
      EXPECT_EQ(probe.give(nudged, sink).status(1), Status::diverged);
      expect_identical(theta, probe.network.parameters(), "theta");
    }
  });
}

}  // namespace
}  // namespace equiprop::tests
