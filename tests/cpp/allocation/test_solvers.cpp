/// Iteration loops allocate nothing after the first step.
///
/// The layers are so large that Eigen's own products would allocate.

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

template <class S>
struct Large {
  static constexpr Index width = std::floating_point<S> ? 512 : 96;
  static constexpr Index batch = 8;

  Large(const Activation& activation, Potential potential,
        const std::vector<Coupling>& couplings = chain(3))
      : network({{"x", width}, {"h", width, activation}, {"y", width, activation}}, couplings,
                potential) {
    network.initialize(1, 0.2);
    energy = network.template clamp_as<S>(State<RealOf<S>>::Constant(width, batch, 0.1));
    cost = SquaredError<S>(State<S>::Constant(width, batch, S(0.3)));
  }
  State<S> initial_state() const { return network.initial_state(batch).template cast<S>(); }

  HopfieldNetwork<RealOf<S>> network;
  AnyEnergy<S> energy = network.template clamp_as<S>(State<RealOf<S>>::Zero(width, 1));
  AnyCost<S> cost = SquaredError<S>(State<S>::Zero(width, 1));
};

/// Returns the number of allocations between observations, from the end of the second step on.
template <class S>
long allocations_in_steps(const AnyEnergy<S>& energy, const Solver& solver, State<S> s) {
  long last = 0, most = 0;
  Index seen = 0;
  relax<S>(energy, solver, s, [&](Index iteration, const ConstStateRef<S>&) {
    const long now = allocations;
    if (iteration > 1) most = std::max(most, now - last);
    ++seen;
    last = allocations;
  });
  EXPECT_EQ(seen, 7);
  return most;
}

template <class S>
void check_relaxation(const Activation& activation, Potential potential,
                      const std::vector<Coupling>& couplings = chain(3)) {
  const Large<S> large(activation, potential, couplings);
  const AnyEnergy<S> nudged = TotalEnergy<S>(large.energy, large.cost, S(0.2));
  const StoppingRule six{0.0, 6};
  std::vector<Solver> solvers{FixedPointIteration{six, 0.1}, Euler{six, 0.1}};
  if (nudged.num_blocks() > 0) solvers.emplace_back(BlockUpdate{six});
  add_accelerated(solvers, {2});
  for (const auto& solver : solvers)
    for (const auto& energy : {large.energy, nudged})
      EXPECT_EQ(allocations_in_steps<S>(energy, solver, large.initial_state()), 0)
          << "solver " << solver.index();
}

TEST(Relax, DoesNotAllocateInItsLoop) {
  for (const auto potential : {Potential::legendre, Potential::quadratic})
    for (const auto& [name, activation] : activations()) {
      SCOPED_TRACE(name);
      check_relaxation<double>(activation, potential);
      check_relaxation<float>(activation, potential);
    }
}

TEST(Relax, DoesNotAllocateInItsLoopOnComplexAndDualNumbers) {
  for (const auto potential : {Potential::legendre, Potential::quadratic}) {
    check_relaxation<Complex>(tanh_activation(), potential);
    check_relaxation<D>(tanh_activation(), potential);
    check_relaxation<D>(hard_sigmoid(), potential);
  }
}

TEST(Relax, DoesNotAllocateInItsLoopWithCouplingsWithinLayersAndIdentities) {
  const std::vector<Coupling> couplings{{0, 1}, {1, 1}, {1, 2}, Identity{1, 2, 0.2}, {2, 2}};
  for (const auto potential : {Potential::legendre, Potential::quadratic}) {
    for (const Activation& activation : {tanh_activation(), hard_sigmoid()}) {
      check_relaxation<double>(activation, potential, couplings);
      check_relaxation<float>(activation, potential, couplings);
      check_relaxation<D>(activation, potential, couplings);
    }
    check_relaxation<Complex>(tanh_activation(), potential, couplings);
  }
}

TEST(Relax, DoesNotAllocateInItsLoopForALayerOfManyNeighbours) {
  std::vector<Layer> layers{{"x", 64}};
  std::vector<Coupling> couplings;
  for (Index k = 1; k <= 7; ++k) {
    layers.push_back({"hidden" + std::to_string(k), 64});
    couplings.insert(couplings.end(), {{0, k}, {k, 8}});
  }
  layers.push_back({"y", 64, linear()});
  HopfieldNetwork<double> network(layers, couplings);
  network.initialize(1, 0.2);
  const State<double> x = State<double>::Constant(64, 8, 0.1);
  const StoppingRule six{0.0, 6};
  for (const Solver& solver :
       {Solver(BlockUpdate{six}), Solver(BlockUpdate{six, 2}), Solver(FixedPointIteration{six})})
    EXPECT_EQ(allocations_in_steps<double>(network.clamp(x), solver, network.initial_state(8)), 0)
        << "solver " << solver.index();
}

/// Returns the number of allocations between products with the Hessian, from the second product on.
template <class S>
long allocations_in_solve(const Large<S>& large, const LinearSolver& solver) {
  State<S> s = large.initial_state();
  relax<S>(large.energy, FixedPointIteration{{0.0, 5}}, s);
  State<S> mobility(s.rows(), s.cols()), force(s.rows(), s.cols()), x(s.rows(), s.cols());
  large.energy.mobility(s, {}, mobility);
  cost_gradient<S>(large.cost, s, force);
  long last = 0, most = 0;
  Index seen = 0;
  const LinearOperator<S> hessian = [&](const ConstStateRef<S>& v, StateRef<S> out) {
    if (++seen > 2) most = std::max(most, allocations - last);
    const long before = allocations;
    large.energy.hessian_vector_product(s, v, out);
    if (seen > 1) most = std::max(most, allocations - before);
    last = allocations;
  };
  const LinearSystem<S> system{hessian, mobility, force};
  std::visit([&](const auto& chosen) { chosen.template solve<S>(system, x); }, solver);
  EXPECT_GE(seen, 6);
  return most;
}

template <class S>
void check_side_network(const Activation& activation, Potential potential) {
  const Large<S> large(activation, potential);
  const StoppingRule six{0.0, 6};
  for (const LinearSolver& solver :
       {LinearSolver(ConjugateGradient{six}), LinearSolver(Richardson{six}),
        LinearSolver(Neumann{six}), LinearSolver(GMRES{six})})
    EXPECT_EQ(allocations_in_solve(large, solver), 0) << "solver " << solver.index();
}

TEST(LinearSolvers, DoNotAllocateInTheirLoops) {
  for (const auto potential : {Potential::legendre, Potential::quadratic}) {
    check_side_network<double>(tanh_activation(), potential);
    check_side_network<double>(hard_sigmoid(), potential);
    check_side_network<float>(tanh_activation(), potential);
  }
}

}  // namespace
}  // namespace equiprop::tests
