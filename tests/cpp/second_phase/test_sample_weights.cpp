/// Weights of samples scale the terms of these samples in objective and derivatives, and nothing else.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Forwards to a model without its contrast with weights, and without the selection of samples unless `divisible`.
template <class S>
class Plain : public EnergyDecorator<S> {
 public:
  Plain(const AnyEnergy<S>& model, bool divisible)
      : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(model)), divisible_(divisible) {}
  const WeightedContrast<S>* sample_weighting() const override { return nullptr; }
  const Selection<S>* selection() const override {
    return divisible_ ? this->model().selection() : nullptr;
  }

 private:
  bool divisible_;
};

/// A model in three forms: with a contrast with weights, with a selection of samples only, and with neither.
template <class S>
std::vector<AnyEnergy<S>> forms_of(const AnyEnergy<S>& energy) {
  return {energy, Plain<S>(energy, true), Plain<S>(energy, false)};
}

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        y(random_state(random, network.topology().num_outputs(), batch)),
        family(make_family(network, x)),
        start(fixed_point(family.energy(), network.initial_state(batch))) {}

  template <class S>
  AnyCost<S> cost() const {
    return SquaredError<S>(y.cast<S>());
  }
  /// Checks a weighted gradient against the sum of the gradients of single samples, gradient_of(energy, cost, start).
  template <class S, class GradientOf>
  void check(const AnyEnergy<S>& given, const GradientOf& gradient_of) const {
    State<double> sum = State<double>::Zero(given.num_parameters(), 1), inputs = 0 * x;
    double objective = 0;
    for (Index j = 0; j < batch; ++j) {
      const Gradient<double> one =
          gradient_of(given.samples(j, 1), cost<S>().samples(j, 1), start.middleCols(j, 1));
      sum += weights(j) / batch * one.parameters;
      inputs.col(j) = weights(j) / batch * one.inputs;
      objective += weights(j) / batch * one.objective;
    }
    const Gradient<double> plain = gradient_of(given, cost<S>(), start);
    for (const AnyEnergy<S>& energy : forms_of(given)) {
      const Gradient<double> weighted = gradient_of(energy, cost<S>().weighted(weights), start);
      expect_close(weighted.parameters, sum, rounding, "parameters");
      expect_close(weighted.inputs, inputs, rounding, "inputs");
      EXPECT_NEAR(weighted.objective, objective, rounding);
      EXPECT_TRUE((weighted.report.status == plain.report.status).all());
    }
    const PerSample<double> ones = PerSample<double>::Ones(batch);
    const Gradient<double> same = gradient_of(given, cost<S>().weighted(ones), start);
    expect_identical(same.parameters, plain.parameters, "weights of one, parameters");
    expect_identical(same.inputs, plain.inputs, "weights of one, inputs");
    EXPECT_EQ(same.objective, plain.objective);
    EXPECT_TRUE((same.report.error == plain.report.error).all());
  }

  static constexpr Index batch = 4;
  FixedPointIteration solver{{1e-14, 20000}, 0.3};
  HopfieldNetwork<double> network;
  Random random{19};
  State<double> x, y;
  EnergyFamily family;
  State<double> start;
  PerSample<double> weights = (PerSample<double>(4) << 2, 0, 0.5, 3).finished();
};

TEST(SampleWeights, ScaleTheTermsOfTheNudgedRules) {
  for (const auto& cases : {zoo(), fields()})
    for_each_of<Probe>(cases, is_any, [](Probe& probe) {
      for (const auto& rule : {one_sided<double>(0.2), centered<double>(0.2)})
        probe.check<double>(probe.family.energy(), [&](const auto& energy, const auto& cost,
                                                       const ConstStateRef<double>& s) {
          return equilibrium_propagation<double>(energy, cost, s, rule, probe.solver);
        });
      probe.check<D>(probe.family.dual_energy(),
                     [&](const auto& energy, const auto& cost, const ConstStateRef<double>& s) {
                       return equilibrium_propagation_limit(energy, cost, s, probe.solver);
                     });
    });
}

TEST(SampleWeights, ScaleTheTermsOfTheHolomorphicRule) {
  for_each<Probe>(is_smooth, [](Probe& probe) {
    const AnyEnergy<Complex> energy = probe.network.clamp_as<Complex>(probe.x);
    probe.check<Complex>(energy, [&](const auto& of, const auto& cost,
                                     const ConstStateRef<double>& s) {
      return holomorphic_equilibrium_propagation(of, cost, s, holomorphic(0.2, 4), probe.solver);
    });
  });
}

TEST(SampleWeights, ScaleTheTermsOfRecurrentBackpropagation) {
  for (const auto& cases : {zoo(), fields()})
    for_each_of<Probe>(cases, is_any, [](Probe& probe) {
      probe.check<double>(probe.family.energy(), [](const auto& energy, const auto& cost,
                                                    const ConstStateRef<double>& s) {
        return recurrent_backpropagation<double>(energy, cost, s, GMRES{{1e-14, 200}});
      });
    });
}

TEST(SampleWeights, ScaleTheTermsThatASinkReceives) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const AnyEnergy<double> energy = probe.family.energy();
    const AnyCost<double> cost = probe.cost<double>().weighted(probe.weights);
    const auto rule = centered<double>(0.2);
    const Gradient<double> gradient = equilibrium_propagation<double>(
        energy, cost, probe.start, rule, probe.solver, Wanted::parameters);
    const Parameters<double> before = probe.network.parameters();
    for (const AnyEnergy<double>& form : forms_of(energy)) {
      Parameters<double> theta = before, none;
      DescendSGD<double> descent(theta, none, {{0, 0.5}}, 0, 0);
      const Gradient<double> given =
          equilibrium_propagation<double>(form, cost, probe.start, rule, probe.solver, descent);
      expect_close(theta, before - 0.5 * gradient.parameters, rounding, "a step");
      EXPECT_NEAR(given.objective, gradient.objective, rounding);
    }
  });
}

/// A batch takes other weights in place, as for the next mini-batch, and a selection of a cost has those of its samples.
TEST(SampleWeights, AreReplacedAndSelected) {
  Probe probe(zoo().back());
  const AnyCost<double> cost = probe.cost<double>().weighted(probe.weights);
  const std::vector<Index> which{3, 0};
  EXPECT_TRUE(
      (cost.select(which).sample_weights() == (PerSample<double>(2) << 3, 2).finished()).all());
  HostBatch<double> batch(probe.family.energy(), cost);
  batch.write(free_slot, probe.start);
  const double weighted = batch.objective(free_slot);
  batch.set_sample_weights(2 * probe.weights);
  EXPECT_NEAR(batch.objective(free_slot), 2 * weighted, rounding);
  batch.set_sample_weights({});
  PerSample<double> values(Probe::batch);
  cost.value(probe.start.bottomRows(cost.num_rows()), values);
  EXPECT_NEAR(batch.objective(free_slot), values.mean(), rounding);
}

TEST(SampleWeights, AreOneFiniteNumberForEachSampleAndNotNegative) {
  Probe probe(zoo().back());
  HostBatch<double> batch(probe.family.energy(), probe.cost<double>());
  const PerSample<double> three = PerSample<double>::Ones(3);
  for (const double bad : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    PerSample<double> weights = probe.weights;
    weights(2) = bad;
    EXPECT_THROW(probe.cost<double>().weighted(weights), InvalidArgument);
    EXPECT_THROW(batch.set_sample_weights(weights), InvalidArgument);
  }
  EXPECT_THROW(probe.cost<double>().weighted(three), InvalidArgument);
  EXPECT_THROW(batch.set_sample_weights(three), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
