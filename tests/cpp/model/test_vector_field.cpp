/// Separate feedback weights: a vector field, compared with the energy of tied weights.

#include "support.hpp"

namespace equiprop::tests {
namespace {

struct Probe {
  explicit Probe(const Case& c_)
      : c(c_),
        field(make_network(c)),
        x(random_state(random, field.topology().num_inputs(), batch)),
        s(interior_state(field, random, batch)),
        v(random_state(random, s.rows(), batch)) {}

  /// Returns the tied network with the W and b of `field`.
  HopfieldNetwork<double> tied() const {
    HopfieldNetwork<double> network(c.layers, c.couplings, c.potential);
    const Layout& wide = field.topology().parameters();
    for (const Block& block : network.topology().parameters().blocks())
      for (const Block& same : wide.blocks())
        if (same.name == block.name)
          network.parameters().segment(block.offset, block.size()) =
              field.parameters().segment(same.offset, same.size());
    return network;
  }
  void tie() {
    for (const auto e : field.topology().inner()) {
      if (const auto within = field.topology().lateral_weights(e))
        within->project(true, segment(field.topology().weights(e)).data());
      segment(field.topology().feedback_weights(e)) = segment(field.topology().weights(e)).eval();
    }
  }
  Eigen::Ref<Parameters<double>> segment(const Block& block) {
    return field.parameters().segment(block.offset, block.size());
  }

  static constexpr Index batch = 3;
  Case c;
  HopfieldNetwork<double> field;
  Random random{21};
  State<double> x, s, v;
};

using Method = std::function<void(const AnyEnergy<double>&, StateRef<double>)>;

/// Returns every function of a state that an energy and a vector field have in common.
std::vector<std::pair<std::string, Method>> methods(const Probe& probe) {
  const State<double>&s = probe.s, &v = probe.v;
  std::vector<std::pair<std::string, Method>> all{
      {"gradient", [&](const auto& e, auto out) { e.gradient(s, out); }},
      {"hessian_vector_product",
       [&](const auto& e, auto out) { e.hessian_vector_product(s, v, out); }},
      {"transposed_hessian_vector_product",
       [&](const auto& e, auto out) { e.transposed_hessian_vector_product(s, v, out); }},
      {"fixed_point_map", [&](const auto& e, auto out) { e.fixed_point_map(s, {}, out); }},
      {"mobility", [&](const auto& e, auto out) { e.mobility(s, {}, out); }},
      {"transposed_map_product",
       [&](const auto& e, auto out) { e.transposed_map_product(s, {}, v, out); }},
      {"block updates", [&](const auto& e, auto out) {
         out = s;
         for (Index block = 0; block < e.num_blocks(); ++block) e.block_update(block, {}, out);
       }}};
  return all;
}

TEST(VectorField, StartsWithFeedbackEqualToTheWeights) {
  for (const Case& c : fields()) {
    HopfieldNetwork<double> network(c.layers, c.couplings, c.potential, c.feedback);
    network.initialize(4, 0.7);
    const Topology& topology = network.topology();
    for (const auto e : topology.inner()) {
      const Block &forth = topology.weights(e), &back = topology.feedback_weights(e);
      EXPECT_EQ(forth.offset == back.offset,
                topology.lateral_weights(e).has_value() || forth.size() == 0);
      expect_identical(network.parameters().segment(back.offset, back.size()),
                       network.parameters().segment(forth.offset, forth.size()), c.name);
    }
  }
}

/// Both compute the same products of the same numbers. Transposed products are summed in another order, because only
/// tied weights are packed for both directions.
TEST(VectorField, WithEqualWeightsIsTheTiedNetwork) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    probe.tie();
    const AnyEnergy<double> field = probe.field.clamp(probe.x),
                            energy = probe.tied().clamp(probe.x);
    EXPECT_FALSE(field.conservative());
    EXPECT_TRUE(energy.conservative());
    State<double> a(probe.s.rows(), Probe::batch), b = a;
    for (const auto& [name, method] : methods(probe)) {
      method(field, a);
      method(energy, b);
      if (std::string_view(name).starts_with("transposed"))
        expect_close(a, b, rounding, name);
      else
        expect_identical(a, b, name);
    }
    State<double> p = State<double>::Zero(probe.x.rows(), Probe::batch), q = p;
    field.mixed_input_product(probe.s, probe.v, 0.7, p);
    energy.mixed_input_product(probe.s, probe.v, 0.7, q);
    expect_identical(p, q, "mixed_input_product");
  });
}

/// A single NaN rejects the step, even if later sums are finite.
TEST(VectorField, AStepOfSumsThatAreNotFiniteTouchesNothing) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const auto tied = probe.tied();
    const AnyEnergy<double> energy = tied.clamp(probe.x);
    Parameters<double> theta = tied.parameters(), velocity = theta;
    DescendSGD<double> descent(theta, velocity, {{0, 0.1}}, 0.9, 0.01);
    State<double> broken = probe.s;
    broken(0, 1) = std::nan("");
    const std::vector<State<double>> states{probe.s, broken}, sound{probe.s, 2 * probe.s};
    const std::vector<double> weights{-1, 1};
    EXPECT_FALSE(energy.contrast(states, weights, descent));
    EXPECT_FALSE(energy.mixed_derivative(probe.s, broken, 1, descent));
    expect_identical(theta, tied.parameters(), "theta");
    expect_identical(velocity, tied.parameters(), "velocity");
    EXPECT_TRUE(energy.contrast(sound, weights, descent));
    EXPECT_FALSE(theta == tied.parameters());
  });
}

/// dE/dW of tied weights acts in both directions of a coupling: its mixed derivative is the sum of those of both
/// directions.
TEST(VectorField, ItsMixedDerivativesSplitThoseOfTiedWeights) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    probe.tie();
    const auto tied = probe.tied();
    Parameters<double> both = Parameters<double>::Zero(probe.field.parameters().size());
    Parameters<double> sum = Parameters<double>::Zero(tied.parameters().size());
    probe.field.clamp(probe.x).mixed_derivative_product(probe.s, probe.v, 0.7, both);
    tied.clamp(probe.x).mixed_derivative_product(probe.s, probe.v, 0.7, sum);
    const Topology& topology = probe.field.topology();
    for (const auto e : topology.inner()) {
      const Block &forth = topology.weights(e), &back = topology.feedback_weights(e);
      if (const auto within = topology.lateral_weights(e)) {
        within->project(true, both.data() + forth.offset);  // a tied one has its symmetric part
        continue;
      }
      both.segment(forth.offset, forth.size()) += both.segment(back.offset, back.size()).eval();
    }
    const Index weights = topology.weights(topology.couplings().size() - 1).offset +
                          topology.weights(topology.couplings().size() - 1).size();
    const Index biases = topology.state().size();
    expect_close(both.head(weights), sum.head(weights), rounding, "weights");
    expect_close(both.tail(biases), sum.tail(biases), rounding, "biases");
  });
}

TEST(VectorField, ItsHessianIsNotSymmetric) {
  std::size_t different = 0, coupled = 0;
  for (const Case& c : fields()) coupled += c.layers.size() > 2;
  for_each_of<Probe>(fields(), is_any, [&](Probe& probe) {
    const AnyEnergy<double> field = probe.field.clamp(probe.x);
    State<double> a(probe.s.rows(), Probe::batch), b = a;
    field.hessian_vector_product(probe.s, probe.v, a);
    field.transposed_hessian_vector_product(probe.s, probe.v, b);
    different += (a - b).norm() > 1e-3 * a.norm();
  });
  // A network with one free layer has no inner coupling.
  EXPECT_EQ(different, coupled);
}

TEST(VectorField, EverySolverFindsTheSameFixedPoint) {
  for_each_of<Probe>(fields(), is_any, [](Probe& probe) {
    const AnyEnergy<double> field = probe.field.clamp(probe.x);
    const State<double> expected = fixed_point(field, probe.field.initial_state(Probe::batch));
    const StoppingRule exact{1e-14, 20000};
    std::vector<Solver> solvers{Euler{exact, 0.04}};
    if (field.num_blocks() > 0) solvers.emplace_back(BlockUpdate{exact});
    for (const auto& solver : solvers) {
      State<double> s = probe.field.initial_state(Probe::batch);
      EXPECT_TRUE((relax<double>(field, solver, s).status == Status::converged).all());
      expect_close(s, expected, rounding, "fixed point");
    }
  });
}

TEST(VectorField, CastsKeepTheFeedback) {
  const auto network = make_network(fields().back());
  const auto single = network.cast<float>();
  EXPECT_EQ(single.topology().feedback(), Feedback::separate);
  expect_identical(single.parameters().cast<double>(),
                   network.parameters().cast<float>().cast<double>(), "parameters");
}

}  // namespace
}  // namespace equiprop::tests
