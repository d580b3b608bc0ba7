/// Couplings within a layer against the dense matrix of a coupling between two layers with the same weights, and the
/// identity coupling.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// A coupling within a layer of a random shape: dense, or a convolution that keeps the size.
struct Lateral {
  explicit Lateral(std::uint64_t seed) : random(seed) {
    const auto draw = [&](Index low, Index high) {
      return low + static_cast<Index>(random.below(static_cast<std::uint64_t>(high - low + 1)));
    };
    const Index groups = draw(1, 2);
    shape = seed % 3 == 0 ? Shape(draw(1, 9)) : Shape(groups * draw(1, 3), draw(1, 5), draw(1, 4));
    Windows windows;
    windows.groups = groups;
    windows.dilation = {draw(1, 2), draw(1, 2)};
    const auto kernel = [&](Index dilation) {  // an even one needs an even dilation
      return dilation == 2 ? draw(1, 3) : 2 * draw(0, 1) + 1;
    };
    windows.kernel = {kernel(windows.dilation.y), kernel(windows.dilation.x)};
    windows.padding = {windows.dilation.y * (windows.kernel.y - 1) / 2,
                       windows.dilation.x * (windows.kernel.x - 1) / 2};
    const auto coupling = [&](Index source) {
      return seed % 3 == 0 ? Coupling(Dense{source, 1})
                           : Coupling(Convolution{source, 1, windows, 1});
    };
    within = std::make_unique<Coupling>(coupling(1));
    between = std::make_unique<Coupling>(coupling(2));
    const WeightShape weights =
        between->weights_of(shape, shape);  // the edges are defined without an acting weight too
    block = {"W", 0, weights.rows, weights.columns};
    theta = random_parameters(random, block.size());
  }

  template <class S>
  std::unique_ptr<Edge<S>> bind(const Parameters<WeightOf<S>>& parameters, const Coupling& coupling,
                                bool conservative = true) const {
    const EdgeEnd target{1, 2, shape, 0.5};
    const EdgeEnd source =
        coupling.source() == 1 ? target : EdgeEnd{2, 2 + shape.units(), shape, 2};
    auto edge = coupling.bind<S>({parameters.data(), block, block, source, target, conservative});
    edge->pack();
    return edge;
  }
  /// Returns the pull on the target at each unit vector: the matrix of the edge.
  template <class S>
  State<S> matrix(const Edge<S>& edge) const {
    const State<S> units = State<S>::Identity(shape.units(), shape.units());
    State<S> out = State<S>::Zero(shape.units(), shape.units());
    edge.pull(End::target, {{S(1), units}, {S(1), units}}, out);
    return out;
  }
  /// Returns the matrix that acts, from that of the coupling between two layers.
  State<double> expected(bool conservative = true) const {
    State<double> a = matrix<double>(*bind<double>(theta, *between));
    if (conservative) a = 0.5 * (a + a.transpose().eval());
    a.diagonal().setZero();
    return a;
  }

  Random random;
  Shape shape;
  std::unique_ptr<Coupling> within, between;
  Block block;
  Parameters<double> theta;
};

template <class Check>
void for_each_lateral(const Check& check) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Lateral of(seed);
    check(of);
  }
}

TEST(LateralEdge, PullsWithTheSymmetricPartWithoutTheDiagonal) {
  for_each_lateral([](Lateral& of) {
    const auto edge = of.bind<double>(of.theta, *of.within);
    const State<double> w = of.matrix<double>(*edge);
    expect_close(w, of.expected(), rounding, "W");
    expect_close(w, w.transpose(), rounding, "symmetry");
    EXPECT_TRUE((w.diagonal().array() == 0).all());
    State<double> source = State<double>::Zero(w.rows(), w.cols());
    edge->pull(End::source, {{1.0, w}, {1.0, w}}, source);
    EXPECT_TRUE((source.array() == 0).all()) << "the pull is given once";
  });
}

/// A coupling is refused if none of its weights acts: its matrix is then 0 for all weights.
TEST(LateralEdge, IsRefusedWithoutAWeightThatActs) {
  Index refused = 0;
  for_each_lateral([&](Lateral& of) {
    if ((of.expected(false).array() != 0).any()) {
      EXPECT_EQ(of.within->weights_of(of.shape, of.shape).rows, of.block.rows);
      return;
    }
    EXPECT_THROW(of.within->weights_of(of.shape, of.shape), InvalidArgument);
    ++refused;
  });
  EXPECT_GE(refused, 3);
}

TEST(LateralEdge, NeedNotBeSymmetricWithSeparateFeedback) {
  for_each_lateral([](Lateral& of) {
    const auto edge = of.bind<double>(of.theta, *of.within, false);
    const State<double> expected = of.expected(false),
                        units = State<double>::Identity(expected.rows(), expected.cols());
    expect_close(of.matrix<double>(*edge), expected, rounding, "W");
    State<double> transposed = State<double>::Zero(expected.rows(), expected.cols());
    const EdgeSignals<double> u{{1.0, units}, {1.0, units}};
    edge->tangent_pull(End::target, Op::transpose, u, u, transposed);
    expect_close(transposed, expected.transpose(), rounding, "W^T");
  });
}

template <class S>
class LateralScalar : public ::testing::Test {};
using Scalars = ::testing::Types<float, D, Complex>;
TYPED_TEST_SUITE(LateralScalar, Scalars);

TYPED_TEST(LateralScalar, PullsAsInDoublePrecision) {
  using S = TypeParam;
  for_each_lateral([](Lateral& of) {
    const Parameters<WeightOf<S>> theta = of.theta.template cast<WeightOf<S>>();
    const State<S> w = of.matrix<S>(*of.bind<S>(theta, *of.within));
    const State<double> expected = of.expected();
    for (Index i = 0; i < w.size(); ++i)
      EXPECT_LE(magnitude(S(w(i) - S(static_cast<RealOf<S>>(expected(i))))),
                100 * std::numeric_limits<RealOf<S>>::epsilon());
  });
}

/// phi(u, u) = <u, W u> / 2 along a direction in the weights, from the matrices of both.
TEST(LateralEdge, HandsOverTheDerivativeByTheWeights) {
  for_each_lateral([](Lateral& of) {
    const auto edge = of.bind<double>(of.theta, *of.within);
    const State<double> u = random_state(of.random, of.shape.units(), 3),
                        v = random_state(of.random, of.shape.units(), 3);
    const EdgeSignals<double> signals{{0.5, u}, {0.5, u}}, tangents{{1.0, v}, {1.0, v}};
    Parameters<double> first = Parameters<double>::Zero(of.theta.size()), second = first;
    AddTo<double> by_phi(first), by_pull(second);
    edge->add_products({&signals, 1}, by_phi);
    edge->add_tangent_products(2, signals, tangents, by_pull);
    for (Index k = 0; k < of.theta.size(); ++k) {
      const Parameters<double> one = Parameters<double>::Unit(of.theta.size(), k);
      const State<double> w = of.matrix<double>(*of.bind<double>(one, *of.within));
      EXPECT_NEAR(first(k), 0.5 * 0.25 * (w * u).cwiseProduct(u).sum(), rounding);
      EXPECT_NEAR(second(k), 2 * 0.5 * (w * u).cwiseProduct(v).sum(), rounding);
    }
    Parameters<double> projected = first;
    of.within->lateral_weights(of.shape)->project(true, projected.data());
    EXPECT_TRUE((projected.array() == first.array()).all()) << "symmetric to the last bit";
    Bound<double> bound(nullptr, 0);
    edge->add_products({&signals, 1}, bound);
    EXPECT_GE(bound.value() * (1 + rounding), first.cwiseAbs().maxCoeff());
  });
}

TEST(LateralEdge, BoundsItsNorm) {
  for_each_lateral([](Lateral& of) {
    const auto edge = of.bind<double>(of.theta, *of.within);
    const State<double> w = of.expected();
    const double norm = std::max(largest_eigenvalue(w), largest_eigenvalue(-w));
    EXPECT_GE(edge->norm_bound() * (1 + rounding), norm);
    if (of.within->kind() == "dense") {  // never worse than two simple bounds
      const double root = std::sqrt(std::sqrt((w * w).squaredNorm()));
      EXPECT_LE(edge->norm_bound(),
                1.002 * std::min(w.cwiseAbs().rowwise().sum().maxCoeff(), root));
      EXPECT_LE(edge->norm_bound(), 1.002 * w.norm());
    }
    EXPECT_EQ(of.bind<double>(of.theta, *of.between)->norm_bound(), 0);
  });
}

/// The kernels' plan adds the pull of the layer's linear signal, also for no samples.
TEST(LateralEdge, IsPlannedOnce) {
  for_each_lateral([](Lateral& of) {
    Layout state;
    state.append("before", 2);
    state.append("layer", of.shape.units());
    LayerPlan<double> plan(state);
    const auto edge = of.bind<double>(of.theta, *of.within);
    ASSERT_TRUE(edge->plan(plan));
    plan.pack();
    PlanScratch<double> scratch;
    for (const Index batch : {0, 3}) {
      const State<double> s = random_state(of.random, state.size(), batch);
      State<double> out = State<double>::Zero(state.size(), batch);
      plan.step(1, s, State<double>(), nullptr, out, nullptr, scratch);
      expect_close(out.bottomRows(of.shape.units()),
                   0.5 * of.expected() * s.bottomRows(of.shape.units()), rounding, "pull");
    }
  });
}

TEST(IdentityEdge, PullsWithItsGainInBothDirections) {
  const EdgeEnd source{0, 0, 5, 0.5}, target{1, 5, 5, 2};
  const Parameters<double> none(0);
  const Block empty{"W1", 0, 0, 0};
  const auto edge =
      Coupling(Identity{1, 2, 0.25}).bind<double>({none.data(), empty, empty, source, target});
  Random random(3);
  const State<double> s = random_state(random, 10, 3);
  const EdgeSignals<double> u{{0.5, s.topRows(5)}, {2.0, s.bottomRows(5)}};
  State<double> out = s;
  edge->pull(End::target, u, out.bottomRows(5));
  edge->pull(End::source, u, out.topRows(5));
  expect_close(out.bottomRows(5), s.bottomRows(5) + 0.125 * s.topRows(5), rounding, "target");
  expect_close(out.topRows(5), s.topRows(5) + 0.5 * s.bottomRows(5), rounding, "source");
  Layout state;
  state.append("a", 5);
  state.append("b", 5);
  LayerPlan<double> plan(state);
  ASSERT_TRUE(edge->plan(plan));
  plan.pack();
  PlanScratch<double> scratch;
  State<double> planned(10, 3);
  for (const std::size_t layer : {0, 1}) plan.step(layer, s, s, nullptr, planned, nullptr, scratch);
  expect_close(planned, out, rounding, "plan");
}

}  // namespace
}  // namespace equiprop::tests
