/// The laws of the sums that a Batch delivers and of both second phases, on the host and on a device alike: against dense
/// algebra in double precision.

#include "batches.hpp"

namespace equiprop::device_tests {
namespace {

template <class B>
class BatchSums : public testing::Test {};
TYPED_TEST_SUITE(BatchSums, Batches, NameOf);

/// Expects that sums are those of the reference, relative to their largest number.
template <class T>
void expect_sums(const Parameters<T>& parameters, const State<T>& inputs,
                 const Reference::Sums& expected, double tolerance) {
  EXPECT_LT(relative(parameters, expected.parameters), tolerance);
  EXPECT_LT(relative(inputs, expected.inputs), tolerance);
}

/// The contrast of states is linear in its weights, also in those of the samples; it is delivered to every sink.
TYPED_TEST(BatchSums, TheContrastIsTheWeightedSumOfGradients) {
  using T = typename TypeParam::Scalar;
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    if (!probe.batch.conservative()) return;
    const std::vector<State<double>> s{probe.write_near(2, 1), probe.write_near(3, 2)};
    for (const std::vector<T>& weights : {std::vector<T>{T(0.5), T(-2)}, {T(1), T(0.25)}})
      for (const bool weighted : {false, true}) {
        const PerSample<double> of_samples = probe.weigh(weighted);
        Reference::Sums expected = probe.reference.gradient(s[0], double(weights[0]) * of_samples);
        const Reference::Sums second =
            probe.reference.gradient(s[1], double(weights[1]) * of_samples);
        expected.parameters += second.parameters;
        expected.inputs += second.inputs;
        Parameters<T> sum = Parameters<T>::Zero(probe.size), none;
        State<T> inputs = State<T>::Zero(probe.data.x.rows(), probe.samples);
        AddTo<T> add(sum);
        EXPECT_TRUE(probe.batch.contrast(2, weights, add));
        probe.batch.input_contrast(2, weights, inputs);
        expect_sums(sum, inputs, expected, 10 * rounding<T>());

        Parameters<T> theta = probe.of.network.parameters();
        const Parameters<double> step = theta.template cast<double>() - 0.25 * expected.parameters;
        DescendSGD<T> descent(theta, none, {{0, T(0.25)}}, T(0), T(0));
        EXPECT_TRUE(probe.batch.contrast(2, weights, descent));
        EXPECT_LT(relative(theta, step), 10 * rounding<T>());
      }
  });
}

TYPED_TEST(BatchSums, TheMixedDerivativeIsThatOfDenseAlgebra) {
  using T = typename TypeParam::Scalar;
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    const State<double> s = probe.write_near(0, 1), v = probe.write_near(1, 2);
    for (const bool weighted : {false, true}) {
      const T weight(0.7);
      const PerSample<double> weights = double(weight) * probe.weigh(weighted);
      Parameters<T> sum = Parameters<T>::Ones(probe.size);
      State<T> inputs = State<T>::Ones(probe.data.x.rows(), probe.samples);
      AddTo<T> add(sum);
      EXPECT_TRUE(probe.batch.mixed(0, 1, weight, add));
      probe.batch.mixed_input(0, 1, weight, inputs);
      sum.array() -= T(1);  // both are added to what was there
      inputs.array() -= T(1);
      expect_sums(sum, inputs, probe.reference.mixed(s, v, weights), 10 * rounding<T>());
    }
  });
}

TYPED_TEST(BatchSums, DisplacementAndObjectiveAreThoseOfTheirDefinitions) {
  using T = typename TypeParam::Scalar;
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    const State<double> s = probe.write_near(0, 1), a = probe.write_near(2, 2),
                        b = probe.write_near(3, 3);
    const std::vector<T> weights{T(0.5), T(-2)};
    probe.batch.displacement(1, 2, 0, weights);
    EXPECT_LT(difference(probe.state(1), State<double>(0.5 * (a - s) - 2 * (b - s))),
              rounding<T>());
    for (const bool weighted : {false, true}) {
      const PerSample<double> of_samples = probe.weigh(weighted);
      PerSample<double> values(probe.samples);
      probe.reference.cost().value(a.bottomRows(probe.data.y.rows()), values);
      EXPECT_NEAR(static_cast<double>(probe.batch.objective(2)), (values * of_samples).mean(),
                  10 * rounding<T>());
    }
  });
}

/// EqProp delivers the contrast of its nudged states, or for a vector field the mixed derivative by their displacement.
TYPED_TEST(BatchSums, EquilibriumPropagationIsTheContrastOfItsPhases) {
  using T = typename TypeParam::Scalar;
  const Solver solver = with(BlockUpdate{}, 0, 6);
  on_the_zoo<TypeParam>([&](Probe<TypeParam>& probe) {
    const std::vector<NudgingRule<T>> rules{centered<T>(0.25), one_sided<T>(0.25),
                                            one_sided<T>(-0.25)};
    for (std::size_t r = 0; r < rules.size(); ++r) {
      SCOPED_TRACE("rule " + std::to_string(r));
      const PerSample<double> of_samples = probe.weigh(r > 0) / double(probe.samples);
      probe.batch.relax_free(solver);
      Parameters<T> sum = Parameters<T>::Zero(probe.size);
      State<T> inputs = State<T>::Zero(probe.data.x.rows(), probe.samples);
      AddTo<T> add(sum);
      Report report;
      std::vector<T> weights;
      equilibrium_propagation(probe.batch, rules[r], solver, add, report, weights);
      add_input_contrast(probe.batch, std::span<const T>(weights), StateRef<T>(inputs));

      const State<double> free = probe.state(free_slot).template cast<double>();
      State<double> response = State<double>::Zero(free.rows(), free.cols());
      Reference::Sums expected = probe.reference.mixed(free, response, of_samples);
      for (const auto& [beta, weight] : rules[r]) {
        State<double> s = free;
        probe.reference.relax(solver, double(beta), s);
        response += double(weight) * (s - free);
        if (!probe.batch.conservative()) continue;
        const auto term = probe.reference.gradient(s, double(weight) * of_samples);
        expected.parameters += term.parameters;
        expected.inputs += term.inputs;
      }
      if (!probe.batch.conservative()) expected = probe.reference.mixed(free, response, of_samples);
      EXPECT_LT(relative(sum, expected.parameters), 10 * rounding<T>());
      EXPECT_LT(difference(inputs, expected.inputs), rounding<T>());  // it cancels in deep networks
    }
  });
}

/// Relaxes to rounding errors; returns the free state.
template <class B>
State<double> relax_exactly(Probe<B>& probe) {
  using T = typename B::Scalar;
  const double tolerance = std::same_as<T, float> ? 1e-6 : 1e-14;
  probe.batch.relax_free(with(BlockUpdate{}, tolerance, 1000));
  return probe.state(free_slot).template cast<double>();
}

/// The implicit function theorem: dJ/dtheta = -<lambda, d2E/dtheta ds>, H^T lambda = dC/ds.
TYPED_TEST(BatchSums, RecurrentBackpropagationIsTheImplicitDerivative) {
  using T = typename TypeParam::Scalar;
  ConjugateGradient linear;
  linear.tolerance = std::same_as<T, float> ? 1e-6 : 1e-13;
  on_the_zoo<TypeParam>([&](Probe<TypeParam>& probe) {
    const State<double> s = relax_exactly(probe);
    if (!probe.batch.conservative()) {
      EXPECT_THROW(probe.batch.solve(linear, free_slot, adjoint_slot), InvalidArgument);
      return;
    }
    const PerSample<double> of_samples = probe.weigh(true) / -double(probe.samples);
    Parameters<T> sum = Parameters<T>::Zero(probe.size);
    State<T> inputs = State<T>::Zero(probe.data.x.rows(), probe.samples);
    AddTo<T> add(sum);
    Report report;
    recurrent_backpropagation(probe.batch, linear, add, report);
    probe.batch.mixed_input(free_slot, adjoint_slot, T(-1) / T(probe.samples), inputs);
    const State<double> lambda = probe.reference.side_network(s, true);
    EXPECT_TRUE((report.status == Status::converged).all());
    EXPECT_LT(relative(probe.state(adjoint_slot), lambda), 100 * rounding<T>());
    expect_sums(sum, inputs, probe.reference.mixed(s, lambda, of_samples), 100 * rounding<T>());
  });
}

/// Laws of small differences, which need double precision.
template <class B>
class BatchLimits : public testing::Test {};
TYPED_TEST_SUITE(BatchLimits, BatchesInDouble, NameOf);

/// EqProp with a small beta is the implicit derivative up to O(beta^2), for a vector field with H in place of H^T; so it is
/// that of RBP where there is an energy.
TYPED_TEST(BatchLimits, EquilibriumPropagationTendsToTheImplicitDerivative) {
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    const State<double> s = relax_exactly(probe);
    const PerSample<double> of_samples = probe.weigh(true) / -double(probe.samples);
    Parameters<double> sum = Parameters<double>::Zero(probe.size);
    AddTo<double> add(sum);
    Report report;
    std::vector<double> weights;
    equilibrium_propagation(probe.batch, centered<double>(1e-4), with(BlockUpdate{}, 1e-14, 1000),
                            add, report, weights);
    const bool transposed = probe.batch.conservative();
    const Reference::Sums expected =
        probe.reference.mixed(s, probe.reference.side_network(s, transposed), of_samples);
    EXPECT_LT(relative(sum, expected.parameters), 1e-7);
  });
}

TYPED_TEST(BatchSums, SamplesWithoutAFiniteShareAreMarked) {
  using T = typename TypeParam::Scalar;
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    const std::vector<T> weights{T(0.5), T(-2)};
    for (Slot slot = 0; slot < 4; ++slot) probe.write_near(slot, static_cast<unsigned>(slot));
    for (const bool contrast : {true, false}) {
      if (contrast && !probe.batch.conservative()) continue;
      State<T> broken = probe.state(contrast ? 3 : 1);
      broken(0, 2) = std::numeric_limits<T>::quiet_NaN();
      probe.batch.write(contrast ? 3 : 1, broken);
      Report report(probe.samples);
      report.status.setConstant(Status::converged);
      if (contrast)
        probe.batch.mark_contrast(2, weights, report);
      else
        probe.batch.mark_mixed(0, 1, T(0.7), report);
      for (Index j = 0; j < probe.samples; ++j)
        EXPECT_EQ(report.status(j), j == 2 ? Status::diverged : Status::converged);
    }
  });
}

/// A sink that changes parameters receives nothing if the sum is not finite.
TYPED_TEST(BatchSums, AGradientThatIsNotFiniteIsNotDelivered) {
  using T = typename TypeParam::Scalar;
  Probe<TypeParam> probe(zoo<T>()[5]);
  const Index units = probe.reference.units();
  probe.batch.write(free_slot,
                    State<T>::Constant(units, probe.samples, std::numeric_limits<T>::max() / T(2)));
  Parameters<T> theta = probe.of.network.parameters(), none(0);
  DescendSGD<T> sink(theta, none, {{0, T(0.1)}}, T(0), T(0));
  const std::vector<T> weights{T(1)};
  EXPECT_FALSE(probe.batch.contrast(free_slot, weights, sink));
  EXPECT_EQ(theta, probe.of.network.parameters());
  Report report(probe.samples);
  report.status.setConstant(Status::converged);
  probe.batch.mark_contrast(free_slot, weights, report);
  EXPECT_TRUE((report.status == Status::diverged).all());
}

}  // namespace
}  // namespace equiprop::device_tests
