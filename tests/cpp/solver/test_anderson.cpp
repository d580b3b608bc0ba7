/// Anderson acceleration, on maps with known fixed points and on slowly converging networks.

#include <Eigen/Eigenvalues>

#include "support.hpp"

namespace equiprop::tests {
namespace {

using Map = std::function<State<double>(const State<double>&)>;

/// The step s <- map(s) of each sample separately, inside a box.
class MapStepper final : public Stepper<double> {
 public:
  explicit MapStepper(Map map, double upper = HUGE_VAL) : map_(std::move(map)), upper_(upper) {}

  void step(StateRef<double> s, PerSample<double>* change) override {
    EXPECT_FALSE((s.array() > upper_).any()) << "a step from outside the box";
    accept<double>(image(s), s, change);
  }
  void residual(const ConstStateRef<double>& s, bool, PerSample<double>& out) override {
    max_difference<double>(image(s), s, out);
  }
  void project(StateRef<double> s) const override { s = s.cwiseMin(upper_); }
  bool separable() const override { return true; }
  std::unique_ptr<Stepper<double>> select(Samples) const override {
    return std::make_unique<MapStepper>(*this);
  }

 private:
  State<double> image(const State<double>& s) const {
    State<double> out = s;
    for (Index j = 0; j < s.cols(); ++j) out.col(j) = map_(s.col(j));
    return out;
  }
  Map map_;
  double upper_;
};

Report run(const MapStepper& map, Index memory, const StoppingRule& rule, StateRef<double> s) {
  auto accelerated = std::make_unique<Anderson<double>>(std::make_unique<MapStepper>(map), memory);
  return Iteration<double>(rule, 1, PerSample<double>::Ones(s.cols()), std::move(accelerated))
      .run(s, {});
}

/// Returns a stepper that adds `step` of each unit to it.
MapStepper by_steps(const std::function<double(double)>& step, double upper = HUGE_VAL) {
  return MapStepper(
      [=](const State<double>& s) {
        return State<double>(s.unaryExpr([=](double v) { return std::min(v + step(v), upper); }));
      },
      upper);
}

/// The map s <- A s + b with a symmetric A of this spectrum.
struct Linear {
  Linear(Index n, double least, double most) {
    State<double> spectrum = State<double>::Constant(n, 1, most);
    for (Index i = 0; i + 1 < n; ++i)
      spectrum(i) = least + (most - least) * static_cast<double>(i) / static_cast<double>(n - 1);
    a = random_symmetric(random, spectrum);
    b = random_state(random, n, 1);
    solution = (State<double>::Identity(n, n) - a).partialPivLu().solve(b);
  }
  MapStepper map() const {
    return MapStepper([this](const State<double>& s) { return State<double>(a * s + b); });
  }
  Random random{3};
  State<double> a, b, solution;
};

/// GMRES needs n dimensions: n + 1 steps to find them, one step from the fixed point, and one more if rounding errors
/// left the residual above the tolerance.
TEST(Anderson, SolvesLinearMapsInAsManyStepsAsDimensions) {
  for (const Index n : {1, 2, 5, 9})
    for (const Index memory : {n, n + 3}) {
      Linear linear(n, -0.9, 0.9);
      State<double> s = random_state(linear.random, n, 3);
      const Report report = run(linear.map(), memory, {1e-12, 1000}, s);
      EXPECT_TRUE((report.status == Status::converged).all());
      EXPECT_LE(report.iterations.maxCoeff(), n + 3);
      EXPECT_TRUE((report.fallbacks == 0).all());
      expect_close(s, linear.solution.replicate(1, 3), 1e-11, "the solution");
    }
}

TEST(Anderson, NeedsFewerStepsTheMoreItRemembers) {
  const Linear linear(30, 0, 0.99);
  Index before = 100000;
  for (const Index memory : {1, 5, 20}) {
    State<double> s = State<double>::Zero(30, 1);
    const Report report = run(linear.map(), memory, {1e-10, 10000}, s);
    EXPECT_EQ(report.status(0), Status::converged);
    EXPECT_LT(report.iterations(0), before);
    before = report.iterations(0);
  }
  EXPECT_LT(before, 60) << "a plain iteration takes ln(1e-10) / ln(0.99), about 2300";
}

/// Returns a network of linear units whose map has the given spectral radius.
HopfieldNetwork<double> slow_network(double radius) {
  const Index n = 12;
  HopfieldNetwork<double> network({{"x", 1}, {"h", n, linear()}, {"y", n, linear()}}, chain(3));
  network.initialize(5, 1);
  const State<double> x = State<double>::Ones(1, 1), rest = network.initial_state(1);
  const State<double> jacobian =
      State<double>::Identity(2 * n, 2 * n) - dense_hessian(make_family(network, x), rest);
  network.parameters().segment(n, n * n) *= radius / largest_eigenvalue(jacobian);
  return network;
}

TEST(Anderson, IsFasterOnASlowNetworkWithEverySolver) {
  const HopfieldNetwork<double> network = slow_network(0.99);
  const AnyEnergy<double> energy = network.clamp(State<double>::Ones(1, 1));
  const StoppingRule rule{1e-9, 100000};
  for (Solver solver :
       {Solver(BlockUpdate{rule}), Solver(FixedPointIteration{rule, 0.2}), Solver(Euler{rule})}) {
    State<double> plain = network.initial_state(1), accelerated = plain;
    const Report slow = relax<double>(energy, solver, plain);
    std::visit([](auto& chosen) { chosen.anderson = 5; }, solver);
    const Report fast = relax<double>(energy, solver, accelerated);
    EXPECT_EQ(slow.status(0), Status::converged);
    EXPECT_EQ(fast.status(0), Status::converged);
    EXPECT_LT(5 * fast.iterations(0), slow.iterations(0)) << "solver " << solver.index();
    expect_close(accelerated, plain, 1e-6, "s*");  // 1e-9 / (1 - 0.99), with a margin
    EXPECT_EQ(slow.fallbacks(0), 0);
  }
}

/// If f does not change, nothing can be extrapolated: each step from the third on is a plain step.
TEST(Anderson, StepsPlainlyWhereNothingChanges) {
  State<double> s = State<double>::Zero(2, 1);
  const Report report = run(by_steps([](double) { return 1.0; }), 3, {0.0, 10}, s);
  expect_identical(s, State<double>::Constant(2, 1, 10), "ten plain steps");
  EXPECT_EQ(report.fallbacks(0), 8);
}

TEST(Anderson, AtRestItHasNothingToFallBackFrom) {
  State<double> s = State<double>::Ones(3, 1);
  const Report report = run(by_steps([](double v) { return -v; }), 2, {0.0, 10}, s);
  expect_identical(s, 0 * s, "the fixed point");
  EXPECT_EQ(report.fallbacks(0), 0);
}

/// Returns steps towards a root at 2 that lies beyond a kink at 1; after the kink, steps lead back or are not finite.
double before_the_kink(double v, double beyond) {
  return v < 1 ? 0.02 * (2 - v) : v < 1.2 ? 0.02 - 0.5 * (v - 1) : beyond;
}

TEST(Anderson, TakesBackAStepThatOvershoots) {
  for (const double beyond : {-0.9, std::nan(""), -HUGE_VAL})
    for (const Index memory : {1, 4}) {
      State<double> s{{0.0, 0.5}};
      const MapStepper map = by_steps([=](double v) { return before_the_kink(v, beyond); });
      const Report report = run(map, memory, {1e-12, 1000}, s);
      EXPECT_TRUE((report.status == Status::converged).all());
      expect_close(s, State<double>::Constant(1, 2, 1.04), 1e-10, "the fixed point");
      EXPECT_GT(report.fallbacks.minCoeff(), 3);
    }
}

/// |f| is smallest at 0, where a fixed point has almost appeared: the iteration must pass it and not converge to it.
TEST(Anderson, PassesABottleneck) {
  const MapStepper map = by_steps([](double v) { return std::min(0.002 + v * v, 0.5 * (1 - v)); });
  for (const Index memory : {1, 2, 5}) {
    State<double> s{{-0.5, -0.2, 0.01}};
    const Report report = run(map, memory, {1e-10, 200}, s);
    EXPECT_TRUE((report.status == Status::converged).all());
    expect_close(s, State<double>::Ones(1, 3), 1e-9, "the fixed point");
  }
}

TEST(Anderson, StartsEachStepInsideTheBox) {
  State<double> s = State<double>::Zero(1, 1);
  const Report report = run(by_steps([](double v) { return 0.1 * (2 - v); }, 1), 2, {1e-12, 50}, s);
  EXPECT_EQ(report.status(0), Status::converged);
  EXPECT_EQ(s(0, 0), 1);
  EXPECT_EQ(report.iterations(0), 3) << "two steps to see the root beyond, one from the bound";
}

TEST(Anderson, ReportsDivergence) {
  for (const double tolerance : {0.0, 1e-6}) {
    State<double> s{{0.0, 2.5, std::nan("")}};
    const auto step = [](double v) { return v < 3 ? 0.5 : v < 100 ? v : HUGE_VAL; };
    const Report report = run(by_steps(step), 2, {tolerance, 1000}, s);
    EXPECT_TRUE((report.status == Status::diverged).all());
    EXPECT_LT(report.iterations.maxCoeff(), 50);
  }
}

/// With a fixed number of steps the change is measured every 16 steps; with an unreachable tolerance, at each step.
TEST(Anderson, GivesTheSameBitsWhetherOrNotItLooks) {
  for (const double beyond : {-0.9, std::nan("")})
    for (const Index limit : {1, 2, 7, 40}) {
      State<double> blind{{0.0, 0.3, 0.9}}, looking = blind;
      const MapStepper map = by_steps([=](double v) { return before_the_kink(v, beyond); });
      const Report first = run(map, 3, {0.0, limit}, blind);
      const Report second = run(map, 3, {1e-300, limit}, looking);
      expect_identical(blind, looking, "s");
      EXPECT_TRUE((first.fallbacks == second.fallbacks).all());
    }
}

/// A sweep updates h and y first, from k alone: the numbers of h and y at its start have no effect on any bit.
TEST(Anderson, ExtrapolatesOnlyTheLayersThatTheNextSweepReads) {
  HopfieldNetwork<double> network({{"x", 6}, {"h", 37}, {"k", 21}, {"y", 5, linear()}}, chain(4));
  network.initialize(2, 0.9);
  Random random(7);
  const AnyEnergy<double> energy = network.clamp(random_state(random, 6, 4, 3));
  const BlockUpdate solver{{0.0, 12}, 3};
  State<double> first = network.initial_state(4), second = first;
  second.topRows(37).array() += 0.25;
  second.bottomRows(5).array() -= 1;
  relax<double>(energy, solver, first);
  relax<double>(energy, solver, second);
  expect_identical(second, first, "s");
}

/// With packed weights, samples that have stopped leave the group; the others keep their histories.
TEST(Anderson, ASampleAloneIsTheSameAsInABatch) {
  HopfieldNetwork<float> network(
      {{"x", 6}, {"h", 37, hard_sigmoid()}, {"k", 21, hard_sigmoid()}, {"y", 5, hard_sigmoid()}},
      chain(4));
  network.initialize(2, 0.9);
  Random random(7);
  const AnyEnergy<float> energy = network.clamp(random_state(random, 6, 50, 3).cast<float>());
  for (const Index memory : {1, 3, 20}) {
    const BlockUpdate solver{{1e-6, 500}, memory};
    State<float> together = network.initial_state(50);
    const Report report = relax<float>(energy, solver, together);
    EXPECT_LT(report.iterations.minCoeff(), report.iterations.maxCoeff());
    for (Index j = 0; j < 50; ++j) {
      State<float> alone = network.initial_state(1);
      const Report one = relax<float>(energy.samples(j, 1), solver, alone);
      EXPECT_TRUE(alone.cwiseEqual(together.col(j)).all()) << "sample " << j;
      EXPECT_EQ(one.iterations(0), report.iterations(j));
      EXPECT_EQ(one.fallbacks(0), report.fallbacks(j));
    }
  }
}

}  // namespace
}  // namespace equiprop::tests
