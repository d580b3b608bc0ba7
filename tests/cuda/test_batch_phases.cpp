/// The laws of phases of a Batch, on the host and on a device alike: against dense algebra in double precision.

#include "batches.hpp"

namespace equiprop::device_tests {
namespace {

template <class B>
class BatchPhases : public testing::Test {};
TYPED_TEST_SUITE(BatchPhases, Batches, NameOf);

std::vector<Solver> solvers(double tolerance, Index limit) {
  FixedPointIteration damped;
  damped.damping = 0.25;
  Euler euler;
  euler.step_size = 0.02;  // a larger one leaves the range of a steep logistic function
  return {with(BlockUpdate{}, tolerance, limit), with(damped, tolerance, limit),
          with(euler, tolerance, limit)};
}

std::string name_of(const Solver& solver) {
  return "solver " + std::to_string(solver.index());
}

TYPED_TEST(BatchPhases, FixedStepsAreThoseOfDenseAlgebra) {
  using T = typename TypeParam::Scalar;
  on_the_zoo<TypeParam>([](Probe<TypeParam>& probe) {
    const State<T> rest = probe.of.network.initial_state(probe.samples);
    const State<T> other = State<T>::Constant(rest.rows(), probe.samples, T(0.4));
    for (const Solver& solver : solvers(0, 7)) {
      SCOPED_TRACE(name_of(solver));
      for (const bool from_rest : {false, true}) {
        const Report report = probe.batch.relax_free(solver, from_rest ? State<T>() : other);
        State<double> s = (from_rest ? rest : other).template cast<double>();
        probe.reference.relax(solver, {}, s);
        EXPECT_LT(difference(probe.state(free_slot), s), rounding<T>());
        EXPECT_TRUE((report.status == Status::fixed_steps).all());
        EXPECT_TRUE((report.iterations == 7).all());
      }
      for (const T beta : {T(0.3), T(-0.3), T(0)}) {
        const Report report = probe.batch.relax(solver, beta, free_slot, nudged_slot);
        State<double> s = probe.state(free_slot).template cast<double>();
        probe.reference.relax(solver, static_cast<double>(beta), s);
        EXPECT_LT(difference(probe.state(nudged_slot), s), rounding<T>()) << "beta " << beta;
        EXPECT_TRUE((report.status == Status::fixed_steps).all());
        EXPECT_TRUE((report.iterations == 7).all());
      }
    }
  });
}

/// Status and number of steps of each sample are those of dense algebra; the residual is that of the state.
TYPED_TEST(BatchPhases, SamplesStopAtTheTolerance) {
  using T = typename TypeParam::Scalar;
  const double tolerance = std::same_as<T, float> ? 1e-3 : 1e-7;
  Index converged = 0, unfinished = 0;
  on_the_zoo<TypeParam>([&](Probe<TypeParam>& probe) {
    for (const Solver& solver :
         {with(BlockUpdate{}, tolerance, 60), with(FixedPointIteration{}, tolerance, 60)}) {
      for (const T beta : {T(0), T(0.2)}) {
        SCOPED_TRACE(name_of(solver) + ", beta " + std::to_string(beta));
        const bool free = beta == T(0);
        const State<T> start =
            free ? probe.of.network.initial_state(probe.samples) : probe.state(free_slot);
        const Report report = free ? probe.batch.relax_free(solver)
                                   : probe.batch.relax(solver, beta, free_slot, nudged_slot);
        State<double> s = start.template cast<double>();
        const auto nudge = free ? std::nullopt : std::optional(static_cast<double>(beta));
        const Report expected = probe.reference.relax(solver, nudge, s);
        EXPECT_TRUE((report.status == expected.status).all());
        EXPECT_TRUE((report.iterations == expected.iterations).all())
            << report.iterations.transpose() << "\n"
            << expected.iterations.transpose();
        const State<T> state = probe.state(free ? free_slot : nudged_slot);
        const PerSample<double> residual =
            probe.reference.residual(static_cast<double>(beta), state.template cast<double>());
        EXPECT_LT(difference(report.residual, residual), rounding<T>());
        converged += (report.status == Status::converged).count();
        unfinished += (report.status == Status::max_iterations).count();
      }
    }
  });
  EXPECT_GT(converged, 400);
  EXPECT_GT(unfinished, 20);
}

/// All nodes of a rule side by side have the bits of phases that are relaxed one after the other.
TYPED_TEST(BatchPhases, NudgedPhasesDoNotDependOnOneAnother) {
  using T = typename TypeParam::Scalar;
  const NudgingRule<T> rule{{T(-0.3), T(-1)}, {T(0), T(0.5)}, {T(0.2), T(0.5)}};
  const Solver solver = with(BlockUpdate{}, 1e-4, 40);
  on_the_zoo<TypeParam>([&](Probe<TypeParam>& probe) {
    probe.batch.relax_free(solver);
    Report report;
    relax_nudged(probe.batch, rule, solver, report);
    std::vector<State<T>> together;
    for (Slot k = 0; k < rule.size(); ++k) together.push_back(probe.state(nudged_slot + k));
    Report merged(probe.samples);
    merged.status.setConstant(Status::converged);
    for (Slot k = 0; k < rule.size(); ++k) {
      merged.merge(probe.batch.relax(solver, rule[k].beta, free_slot, nudged_slot));
      EXPECT_EQ(together[k], probe.state(nudged_slot)) << "node " << k;
    }
    EXPECT_TRUE((report.iterations == merged.iterations).all());
    EXPECT_TRUE((report.residual == merged.residual).all());
  });
}

/// The results of both phases and of the side network, sample by sample.
template <class B>
struct Results {
  using T = typename B::Scalar;
  Results(const Case<T>& of, const Data<T>& data) {
    B batch(of, data);
    const Index units = of.network.topology().state().size();
    const Solver solver = with(BlockUpdate{}, 1e-4, 40);
    status = batch.relax_free(solver).status;
    free = state_in(batch, free_slot, units);
    batch.relax(solver, T(0.25), free_slot, nudged_slot);
    nudged = state_in(batch, nudged_slot, units);
    if (!batch.conservative()) return;
    batch.solve(ConjugateGradient{}, free_slot, adjoint_slot);
    lambda = state_in(batch, adjoint_slot, units);
  }
  PerSample<Status> status;
  State<T> free, nudged, lambda;
};

TYPED_TEST(BatchPhases, BitsOfASampleDoNotDependOnItsBatchMates) {
  using T = typename TypeParam::Scalar;
  for (const Case<T>& of : some_networks<T>()) {
    SCOPED_TRACE(of.name);
    const Data<T> data = data_of(of.network, 9);
    const Results<TypeParam> all(of, data);
    for (const Index j : {0, 8}) {
      const Results<TypeParam> one(of, {data.x.middleCols(j, 1), data.y.middleCols(j, 1)});
      EXPECT_EQ(one.free, all.free.col(j));
      EXPECT_EQ(one.nudged, all.nudged.col(j));
      if (one.lambda.size() > 0) {
        EXPECT_EQ(one.lambda, all.lambda.col(j));
      }
    }
  }
}

TYPED_TEST(BatchPhases, ASampleThatDivergesStaysFiniteAndItsMatesKeepTheirBits) {
  using T = typename TypeParam::Scalar;
  for (const Case<T>& of : some_networks<T>()) {
    SCOPED_TRACE(of.name);
    Data<T> data = data_of(of.network, 5);
    const Results<TypeParam> expected(of, data);
    data.x(3, 2) = std::numeric_limits<T>::quiet_NaN();
    const Results<TypeParam> found(of, data);
    EXPECT_TRUE(found.free.allFinite());
    for (Index j = 0; j < 5; ++j) {
      EXPECT_EQ(found.status(j) == Status::diverged, j == 2);
      if (j == 2) continue;
      EXPECT_EQ(found.free.col(j), expected.free.col(j));
      EXPECT_EQ(found.nudged.col(j), expected.nudged.col(j));
    }
  }
}

TYPED_TEST(BatchPhases, StatesAreKept) {
  using T = typename TypeParam::Scalar;
  Probe<TypeParam> probe(zoo<T>()[0]);
  EXPECT_EQ(probe.batch.samples(), probe.samples);
  std::vector<State<double>> written;
  for (Slot slot = 0; slot < 4; ++slot)
    written.push_back(probe.write_near(slot, static_cast<unsigned>(slot)));
  for (Slot slot = 0; slot < 4; ++slot)
    EXPECT_EQ(probe.state(slot).template cast<double>(), written[slot]);
  const State<T> small = State<T>::Zero(2, probe.samples);
  EXPECT_THROW(probe.batch.write(0, small), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::device_tests
