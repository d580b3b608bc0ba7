/// A kind of coupling that one header adds: all laws, solvers and second phases hold for networks with it.

#include <array>
#include <filesystem>

#include "extension/diagonal_networks.hpp"
#include "second_phase/implicit.hpp"

namespace equiprop::tests {
namespace {

static_assert(CouplingKind<Diagonal>);

struct Probe {
  explicit Probe(const Case& c_)
      : c(c_),
        network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        family(diagonal_family(network, x)) {}

  State<double> fixed_point() const {
    return tests::fixed_point(family.energy(), network.initial_state(batch));
  }

  static constexpr Index batch = 3;
  const Case c;
  const HopfieldNetwork<double> network;
  Random random{21};
  const State<double> x;
  const EnergyFamily family;
};

TEST(DiagonalCoupling, IsInTheTopologyByItsKindAndShape) {
  const Probe probe(diagonal_cases(Feedback::separate).front());
  const Topology& topology = probe.network.topology();
  EXPECT_EQ(topology.couplings()[1].kind(), "diagonal");
  ASSERT_NE(topology.couplings()[1].as<Diagonal>(), nullptr);
  EXPECT_EQ(topology.couplings()[1].as<Dense>(), nullptr);
  EXPECT_EQ(topology.weights(1).size(), 3);
  EXPECT_EQ(topology.feedback_weights(1).size(), 3);
  EXPECT_NE(topology.feedback_weights(1).offset, topology.weights(1).offset);
  EXPECT_EQ(topology.fans(1), 2);
  EXPECT_EQ(topology.from_input(), (std::vector<std::size_t>{0, 3}));
}

TEST(DiagonalCoupling, FromALaterLayerToTheInputIsTurned) {
  const Topology topology({{"x", 3}, {"y", 3}}, {Diagonal{1, 0}}, Potential::legendre);
  EXPECT_EQ(topology.couplings()[0].source(), 0);
  EXPECT_EQ(topology.couplings()[0].target(), 1);
  EXPECT_NE(topology.couplings()[0].as<Diagonal>(), nullptr);
}

/// An edge that claims to depend on the state of its source, for a kind that is not turned.
struct Bent : Diagonal {
  static constexpr bool directed = true;
  template <Scalar S>
  struct BentEdge final : DiagonalEdge<S> {
    using DiagonalEdge<S>::DiagonalEdge;
    bool bilinear() const override { return false; }
  };
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const {
    return std::make_unique<BentEdge<S>>(ends);
  }
};

TEST(DiagonalCoupling, ThatIsNotBilinearIsRefusedWithTheInputAsItsTarget) {
  const HopfieldNetwork<double> network({{"x", 3}, {"y", 3}}, {Bent{{1, 0}}});
  EXPECT_THROW(network.clamp(State<double>::Zero(3, 1)), InvalidArgument);
}

TEST(DiagonalCoupling, OfLayersThatDifferInSizeIsRefused) {
  EXPECT_THROW(Topology({{"x", 3}, {"y", 4}}, {Diagonal{0, 1}}, Potential::legendre),
               InvalidArgument);
}

TEST(DiagonalCoupling, ObeysEveryLaw) {
  for (const Feedback feedback : {Feedback::tied, Feedback::separate})
    for_each_of<Probe>(diagonal_cases(feedback), is_any, [](Probe& probe) {
      check_energy(probe.family, interior_state(probe.network, probe.random, Probe::batch));
    });
}

/// Without a plan for the kernels, the network relaxes with `pull` and offers every capability that needs no plan.
TEST(DiagonalCoupling, LeavesTheNetworkWithoutPackedKernels) {
  for_each_of<Probe>(diagonal_cases(Feedback::tied), is_any, [](Probe& probe) {
    const AnyEnergy<double> energy = probe.family.energy();
    EXPECT_EQ(energy.one_pass_residual(), nullptr);
    EXPECT_FALSE(energy.separable());
    EXPECT_TRUE(energy.divisible());
    EXPECT_NE(energy.block_updates(), nullptr);
  });
}

TEST(DiagonalCoupling, RelaxesToOneFixedPointByEverySolver) {
  for (const Feedback feedback : {Feedback::tied, Feedback::separate})
    for_each_of<Probe>(diagonal_cases(feedback), is_any, [](Probe& probe) {
      const AnyEnergy<double> energy = probe.family.energy();
      const AnyEnergy<double> dense =
          DenseEquivalent<double>(probe.network.topology(), probe.network.parameters(), probe.x);
      const State<double> expected =
          tests::fixed_point(dense, probe.network.initial_state(Probe::batch));
      const StoppingRule exact{1e-14, 20000};
      std::vector<Solver> solvers{FixedPointIteration{exact, 0.6}, Euler{exact, 0.08}};
      if (energy.num_blocks() > 0) solvers.emplace_back(BlockUpdate{exact});
      add_accelerated(solvers, {3});
      for (const Solver& solver : solvers) {
        State<double> s = probe.network.initial_state(Probe::batch);
        EXPECT_TRUE((relax<double>(energy, solver, s).status == Status::converged).all());
        expect_close(s, expected, 100 * rounding, "solver " + std::to_string(solver.index()));
      }
    });
}

/// Recurrent Backpropagation and the exact limit of Equilibrium Propagation agree with the implicit function theorem.
TEST(DiagonalCoupling, HasTheGradientOfDenseAlgebra) {
  constexpr double agreement = 1e-10;
  for_each_of<Probe>(diagonal_cases(Feedback::tied), is_any, [](Probe& probe) {
    const State<double> s = probe.fixed_point();
    const Targets targets(random_targets(probe.random, 3, Probe::batch));
    const auto free = [&](Index j) { return free_units(probe.c, s.col(j)); };
    for (const auto& [cost, dual_cost] : targets.costs) {
      const DenseGradient expected = implicit_gradient(probe.family, cost, s, free);
      for (const LinearSolver& solver :
           {LinearSolver(ConjugateGradient{{1e-13, 1000}}), LinearSolver(GMRES{{1e-13, 1000}})}) {
        const auto rbp = recurrent_backpropagation<double>(probe.family.energy(), cost, s, solver);
        EXPECT_TRUE((rbp.report.status == Status::converged).all());
        expect_close(rbp.parameters, expected.parameters, agreement, "RBP, parameters");
        expect_close(rbp.inputs, expected.inputs, agreement, "RBP, inputs");
      }
      const auto limit =
          equilibrium_propagation_limit(probe.network.clamp_as<D>(probe.x), dual_cost, s,
                                        FixedPointIteration{{1e-14, 20000}, 0.6});
      EXPECT_TRUE((limit.report.status == Status::converged).all());
      expect_close(limit.parameters, expected.parameters, agreement, "EqProp, parameters");
      expect_close(limit.inputs, expected.inputs, agreement, "EqProp, inputs");
    }
  });
}

TEST(DiagonalCoupling, IsHolomorphicUnderComplexStates) {
  for_each_of<Probe>(diagonal_cases(Feedback::tied), is_smooth, [](Probe& probe) {
    const State<double> s = probe.fixed_point(), y = random_state(probe.random, 3, Probe::batch);
    const auto circle = holomorphic_equilibrium_propagation(
        probe.network.clamp_as<Complex>(probe.x), SquaredError<Complex>(y.cast<Complex>()), s,
        holomorphic(0.02, 8), FixedPointIteration{{1e-14, 20000}, 0.6});
    const auto rbp = recurrent_backpropagation<double>(
        probe.family.energy(), SquaredError<double>(y), s, ConjugateGradient{{1e-13, 1000}});
    expect_close(circle.parameters, rbp.parameters, 1e-9, "parameters");
  });
}

// ---------------------------------------------------------------------------- training

enum class Method { equilibrium_propagation, recurrent_backpropagation };

/// A network that learns to map fixed inputs to the outputs of another network.
template <class S>
class Pupil {
 public:
  explicit Pupil(Method method)
      : method_(method), network_(make_network(case_, 5).template cast<S>()) {
    Random random(31);
    const HopfieldNetwork<double> teacher = make_network(case_, 6);
    const State<double> x = random_state(random, 3, samples);
    const State<double> s = fixed_point(teacher.clamp(x), teacher.initial_state(samples));
    x_ = x.cast<S>();
    y_ = s.bottomRows(3).cast<S>();
  }

  /// Takes steps of SGD and returns the objective before the first and after the last step.
  std::pair<double, double> learn(int steps) {
    Parameters<S> velocity = Parameters<S>::Zero(network_.parameters().size());
    DescendSGD<S> descent(network_.parameters(), velocity, {{0, S(0.2)}}, S(0.8), S(0));
    double first = 0, last = 0;
    for (int step = 0; step <= steps; ++step) {
      last = step_by(descent);
      if (step == 0) first = last;
    }
    return {first, last};
  }
  const Parameters<S>& parameters() const { return network_.parameters(); }

 private:
  double step_by(ParameterSink<S>& sink) {
    const AnyEnergy<S> energy = network_.clamp(x_);
    const AnyCost<S> cost = SquaredError<S>(y_);
    const Solver solver = BlockUpdate{{1e-6, 1000}};
    State<S> s = network_.initial_state(samples);
    EXPECT_TRUE((relax<S>(energy, solver, s).status == Status::converged).all());
    const auto gradient =
        method_ == Method::equilibrium_propagation
            ? equilibrium_propagation<S>(energy, cost, s, centered<S>(0.1), solver, sink)
            : recurrent_backpropagation<S>(energy, cost, s, ConjugateGradient{{1e-6, 100}}, sink);
    EXPECT_TRUE((gradient.report.status == Status::converged).all());
    return static_cast<double>(gradient.objective);
  }

  static constexpr Index samples = 12;
  const Case case_ =
      diagonal_case({"tanh", tanh_activation()}, Potential::legendre, Feedback::tied);
  Method method_;
  HopfieldNetwork<S> network_;
  State<S> x_, y_;
};

template <class S>
class DiagonalTraining : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(DiagonalTraining, Reals);

TYPED_TEST(DiagonalTraining, LowersTheCostByEitherSecondPhase) {
  for (const Method method : {Method::equilibrium_propagation, Method::recurrent_backpropagation}) {
    Pupil<TypeParam> pupil(method);
    const Parameters<TypeParam> before = pupil.parameters();
    const auto [first, last] = pupil.learn(200);
    EXPECT_LT(last, 0.1 * first) << "from " << first;
    // Every weight is updated, also the diagonal ones.
    EXPECT_TRUE((pupil.parameters().array() != before.array()).all());
  }
}

TEST(DiagonalTraining, TakesTheSameWayInBothPrecisions) {
  Pupil<float> narrow(Method::recurrent_backpropagation);
  Pupil<double> wide(Method::recurrent_backpropagation);
  narrow.learn(20);
  wide.learn(20);
  expect_close(narrow.parameters().cast<double>(), wide.parameters(), 1e-4, "parameters");
}

/// Two kinds of coupling may join one pair of layers, the input among them: together they are one dense coupling whose
/// diagonal has both weights.
TEST(DiagonalCoupling, JoinsLayersBesideADenseOne) {
  const std::vector<Layer> layers = {
      {"x", 3, hard_sigmoid()}, {"a", 3, hard_sigmoid()}, {"y", 3, linear()}};
  HopfieldNetwork<double> both(layers, {Dense{0, 1}, Diagonal{0, 1}, Diagonal{2, 1}, Dense{1, 2}});
  HopfieldNetwork<double> one(layers, {Dense{0, 1}, Dense{1, 2}});
  Random random(5);
  both.parameters() = random_parameters(random, both.parameters().size(), 0.3);
  const auto block = [](auto& network, std::size_t coupling) {
    const Block& at = network.topology().weights(coupling);
    return network.parameters().segment(at.offset, at.size());
  };
  const std::array<std::array<std::size_t, 3>, 2> sums = {
      {{0, 0, 1}, {1, 3, 2}}};  // one = dense + diagonal
  for (const auto& [sum, dense, diagonal] : sums) {
    block(one, sum) = block(both, dense);
    for (Index i = 0; i < 3; ++i) block(one, sum)(4 * i) += block(both, diagonal)(i);
  }
  one.parameters().tail(6) = both.parameters().tail(6);
  const State<double> x = random_state(random, 3, 4), s = random_state(random, 6, 4);
  const AnyEnergy<double> a(both.clamp(x)), b(one.clamp(x));
  State<double> of_both(6, 4), of_one(6, 4);
  a.gradient(s, of_both);
  b.gradient(s, of_one);
  expect_close(of_both, of_one, rounding, "dE/ds");
  Parameters<double> grad = Parameters<double>::Zero(a.num_parameters()),
                     of_sum = Parameters<double>::Zero(b.num_parameters());
  a.parameter_gradient(s, 1, grad);
  b.parameter_gradient(s, 1, of_sum);
  for (const auto& [sum, dense, diagonal] : sums) {
    const Index at = one.topology().weights(sum).offset;
    const Block &w = both.topology().weights(dense), &d = both.topology().weights(diagonal);
    expect_close(grad.segment(w.offset, 9), of_sum.segment(at, 9), rounding, "dE/dW");
    for (Index i = 0; i < 3; ++i)
      EXPECT_NEAR(grad(d.offset + i), of_sum(at + 4 * i), rounding) << "dE/dw";
  }
}

/// A network file can hold only dense couplings; another kind is rejected, and the error names it.
TEST(DiagonalCoupling, IsNotSaved) {
  const Probe probe(diagonal_cases(Feedback::tied).front());
  const auto path =
      std::filesystem::temp_directory_path() / ("diagonal_" + std::to_string(::getpid()));
  try {
    save(probe.network, path);
    ADD_FAILURE() << "saved";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("Received diagonal"), std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace equiprop::tests
