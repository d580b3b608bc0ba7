/// The batch in host memory: each operation against the functions of its energy and cost.

#include "support.hpp"

namespace equiprop::tests {
namespace {

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        energy(network.clamp(random_state(random, network.topology().num_inputs(), samples))),
        cost(SquaredError<double>(random_state(random, network.topology().num_outputs(), samples))),
        batch(energy, cost) {
    for (const Slot slot : {0, 1, 2, 3}) {
      states.push_back(interior_state(network, random, samples));
      batch.write(slot, states.back());
    }
  }

  static constexpr Index samples = 4;
  HopfieldNetwork<double> network;
  Random random{61};
  AnyEnergy<double> energy;
  AnyCost<double> cost;
  HostBatch<double> batch;
  std::vector<State<double>> states;  // one state per slot
};

TEST(HostBatch, RelaxesAsTheFunctionDoes) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const FixedPointIteration solver{{1e-10, 50}, 0.5};
    for (const double beta : {0.3, -0.2, 0.3}) {
      State<double> s = probe.states[2];
      const Report expected =
          relax<double>(TotalEnergy<double>(probe.energy, probe.cost, beta), solver, s);
      const Report& report = probe.batch.relax(solver, beta, 2, 3);
      expect_identical(probe.batch.state(3), s, "a nudged phase");
      expect_identical(probe.batch.state(2), probe.states[2], "where it began");
      EXPECT_TRUE((report.status == expected.status).all() &&
                  (report.iterations == expected.iterations).all());
    }
    State<double> s = probe.network.initial_state(Probe::samples);
    relax<double>(probe.energy, solver, s);
    probe.batch.relax_free(
        solver, [&](Index, StateRef<double> begin) { probe.network.rest(begin); }, 0);
    expect_identical(probe.batch.state(0), s, "the free phase");
  });
}

/// Delivers the derivatives to AddTo, to a descent, and with respect to the input.
TEST(HostBatch, DeliversTheDerivativesOfItsEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const auto& s = probe.states;
    const Index size = probe.energy.num_parameters(), inputs = probe.energy.num_inputs();
    const std::vector<double> weights{0.5, -2};
    Parameters<double> contrast = Parameters<double>::Zero(size), mixed = contrast;
    State<double> by_input = State<double>::Zero(inputs, Probe::samples), mixed_input = by_input;
    for (const std::size_t k : {0, 1}) {
      probe.energy.parameter_gradient(s[2 + k], weights[k], contrast);
      probe.energy.input_gradient(s[2 + k], weights[k], by_input);
    }
    probe.energy.mixed_derivative_product(s[0], s[1], 0.7, mixed);
    probe.energy.mixed_input_product(s[0], s[1], 0.7, mixed_input);

    Parameters<double> sum = Parameters<double>::Zero(size);
    AddTo<double> add(sum);
    EXPECT_TRUE(probe.batch.contrast(2, weights, add));
    expect_close(sum, contrast, rounding, "contrast");
    EXPECT_TRUE(probe.batch.mixed(0, 1, 0.7, add));
    expect_close(sum, contrast + mixed, rounding, "mixed, added");

    Parameters<double> theta = probe.network.parameters(), none;
    DescendSGD<double> descent(theta, none, {{0, 0.25}}, 0, 0);
    EXPECT_TRUE(probe.batch.contrast(2, weights, descent));
    expect_close(theta, probe.network.parameters() - 0.25 * contrast, rounding, "a step");

    State<double> out = State<double>::Zero(inputs, Probe::samples);
    probe.batch.input_contrast(2, weights, out);
    expect_close(out, by_input, rounding, "contrast by the input");
    probe.batch.mixed_input(0, 1, 0.7, out);
    expect_close(out, by_input + mixed_input, rounding, "mixed by the input, added");
  });
}

/// Judged as a batch, the error of a term is relative to the root mean square of the terms, in both second phases.
TEST(HostBatch, WeighsErrorsByTheSharesOfTheSamples) {
  constexpr Index samples = 6;
  Random random(5);
  HopfieldNetwork<double> network(
      {{"x", 4}, {"h", 9, tanh_activation()}, {"y", 3, tanh_activation()}}, chain(3));
  network.initialize(1);
  const AnyEnergy<double> energy = network.clamp(random_state(random, 4, samples));
  const SquaredError<double> cost(random_state(random, 3, samples));
  const auto errors = [&](Judging judging, bool nudged, PerSample<double>& sizes) {
    HostBatch<double> batch(energy, cost);
    batch.set_judging(judging);
    const BlockUpdate solver{{1e-6, 500}};
    batch.relax_free(
        solver, [&](Index, StateRef<double> s) { network.rest(s); }, free_slot);
    Report report;
    State<double> v = State<double>::Zero(energy.num_units(), samples);
    if (nudged) {
      const NudgingRule<double> rule = centered<double>(0.25);
      relax_nudged(batch, rule, solver, report);
      for (Slot k = 0; k < rule.size(); ++k) v += rule[k].weight * batch.state(nudged_slot + k);
    } else {
      report = batch.solve(ConjugateGradient{}, free_slot, adjoint_slot);
      v = batch.state(adjoint_slot);
    }
    sizes = v.cwiseAbs().colwise().maxCoeff();
    return report.error;
  };
  for (const bool nudged : {true, false}) {
    PerSample<double> sizes;
    const PerSample<double> alone = errors(Judging::samples, nudged, sizes);
    const PerSample<double> together = errors(Judging::batch, nudged, sizes);
    EXPECT_LT(alone.maxCoeff(), 0.8 * most_gradient_error) << "nothing is relaxed further";
    const PerSample<double> expected = alone * sizes / std::sqrt(sizes.square().mean());
    for (Index j = 0; j < samples; ++j) EXPECT_NEAR(together(j) / expected(j), 1, 1e-6);
  }
}

/// With a small beta in float32 the response is below the tolerance of the phases: they stop relative to it, `refine`
/// relaxes no sample further, and the estimate is not below the error of the response to a reference in float64.
TEST(HostBatch, NudgedPhasesStopRelativeToTheirResponse) {
  constexpr Index samples = 20;
  HopfieldNetwork<float> network({{"x", 16}, {"h", 24, tanh_activation()}, {"y", 5, linear()}},
                                 chain(3));
  network.initialize(3);
  Random random(8);
  const State<float> x = random_state(random, 16, samples).cast<float>();
  const State<float> y = random_state(random, 5, samples).cast<float>();
  const NudgingRule<float> rule = centered<float>(1.0 / 512);
  HostBatch<float> batch(network.clamp(x), SquaredError<float>(y));
  batch.set_judging(Judging::batch);
  const BlockUpdate solver{{1e-4, 500}};
  batch.relax_free(
      solver, [&](Index, StateRef<float> s) { network.rest(s); }, free_slot);
  Report report(samples);
  report.status.setConstant(Status::converged);
  batch.aim(rule, free_slot);
  PerSample<Index> steps = PerSample<Index>::Zero(samples);
  for (Slot k = 0; k < rule.size(); ++k) {
    report.merge(batch.relax(solver, rule[k].beta, free_slot, nudged_slot + k));
    steps += batch.report(nudged_slot + k).iterations;
  }
  EXPECT_LT(report.residual.maxCoeff(), 0.5e-4);
  batch.refine(rule, nudged_slot, report);
  for (Slot k = 0; k < rule.size(); ++k) steps -= batch.report(nudged_slot + k).iterations;
  EXPECT_TRUE((steps == 0).all()) << "samples were relaxed further";
  EXPECT_TRUE((report.status == Status::converged).all());

  HopfieldNetwork<double> exact_network(
      {{"x", 16}, {"h", 24, tanh_activation()}, {"y", 5, linear()}}, chain(3));
  exact_network.parameters() = network.parameters().cast<double>();
  HostBatch<double> exact(exact_network.clamp(x.cast<double>()),
                          SquaredError<double>(y.cast<double>()));
  const BlockUpdate exactly{{1e-13, 5000}};
  exact.relax_free(
      exactly, [&](Index, StateRef<double> s) { exact_network.rest(s); }, free_slot);
  State<double> response = State<double>::Zero(29, samples), expected = response;
  for (Slot k = 0; k < rule.size(); ++k) {
    exact.relax(exactly, static_cast<double>(rule[k].beta), free_slot, nudged_slot + k);
    const double weight = static_cast<double>(rule[k].weight);
    response += weight * batch.state(nudged_slot + k).cast<double>();
    expected += weight * exact.state(nudged_slot + k);
  }
  const double error = (response - expected).norm() / expected.norm();
  EXPECT_LT(error, most_gradient_error);
  EXPECT_LT(error, 2 * std::sqrt(report.error.square().mean()));
}

/// The bound of a sum may be much larger than the sum. If the sink rejects the bound but the sum is finite, the sum is
/// handed over; if the sum is not finite, nothing is.
TEST(HostBatch, HandsOverEverySumThatIsFinite) {
  HopfieldNetwork<float> network({{"x", 1}, {"y", 1, linear()}}, chain(2));
  const State<float> x = State<float>::Constant(1, 2, 1e16f);
  HostBatch<float> batch(network.clamp(x), SquaredError<float>(State<float>::Zero(1, 2)));
  const auto step = [&](float first, float second) {
    batch.write(0, (State<float>(1, 2) << first, second).finished());
    Parameters<float> theta = Parameters<float>::Zero(2), velocity;
    DescendSGD<float> descent(theta, velocity, {{0, 0.5f}}, 0, 0);
    const std::vector<float> weights{1};
    const bool given = batch.contrast(0, weights, descent);
    return std::pair{given, theta};
  };
  // dE/dw = -sum x s and dE/db = -sum s. The products exceed the bound, but their sum does not.
  const auto [given, theta] = step(1e16f, -9e15f);
  EXPECT_TRUE(given);
  EXPECT_NEAR(theta(0) / 5e30f, 1, 1e-5);
  EXPECT_NEAR(theta(1) / 5e14f, 1, 1e-5);
  const auto [overflown, untouched] = step(1e23f, 1e23f);
  EXPECT_FALSE(overflown);
  EXPECT_TRUE((untouched.array() == 0).all());
}

TEST(HostBatch, MarksTheSamplesWhoseShareIsNotFinite) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> broken = probe.states[3];
    broken(0, 2) = std::nan("");
    const std::vector<double> weights{0.5, -2};
    for (const bool contrast : {true, false}) {
      Report report(Probe::samples);
      report.status.setConstant(Status::converged);
      probe.batch.write(contrast ? 3 : 1, broken);
      if (contrast)
        probe.batch.mark_contrast(2, weights, report);
      else
        probe.batch.mark_mixed(0, 1, 0.7, report);
      for (Index j = 0; j < Probe::samples; ++j)
        EXPECT_EQ(report.status(j), j == 2 ? Status::diverged : Status::converged);
    }
  });
}

TEST(HostBatch, RefusesShapesThatDoNotFit) {
  Probe probe(zoo().back());
  const State<double>& s = probe.states[0];
  EXPECT_THROW(probe.batch.write(0, s.topRows(1)), InvalidArgument);
  EXPECT_THROW(probe.batch.write(0, s.leftCols(1)), InvalidArgument);
  EXPECT_THROW(probe.batch.write(0, s.leftCols(0)), InvalidArgument);
  EXPECT_THROW(
      HostBatch<double>(probe.energy, SquaredError<double>(State<double>::Zero(9, Probe::samples))),
      InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
