/// The dense edge against dense algebra, on every scalar.

#include "support.hpp"

namespace equiprop::tests {
namespace {

template <class S>
State<S> random_numbers(Random& random, Index rows, Index columns) {
  const State<double> first = random_state(random, rows, columns);
  if constexpr (std::floating_point<S>)
    return first.template cast<S>();
  else
    return first.binaryExpr(random_state(random, rows, columns),
                            [](double a, double b) { return S(a, b); });
}

/// A dense coupling from 5 units to 3 units, bound to weights for both directions.
template <class S>
struct BoundEdge {
  using W = WeightOf<S>;

  BoundEdge()
      : theta(random_numbers<W>(random, 40, 1)),
        edge(Coupling(0, 1).bind<S>(
            {theta.data(), forward, backward, {0, 2, 5, 0.5}, {1, 7, 3, 2}})) {}

  State<S> weights(const Block& block) const {
    return Eigen::Map<const State<W>>(theta.data() + block.offset, 3, 5).template cast<S>();
  }
  void expect(const State<S>& actual, const State<S>& expected, const std::string& what) const {
    ASSERT_EQ(actual.rows(), expected.rows());
    for (Index i = 0; i < actual.size(); ++i)
      EXPECT_LE(magnitude(S(actual(i) - expected(i))), 100 * std::numeric_limits<W>::epsilon())
          << what;
  }

  static constexpr Index batch = 4;
  const Block forward{"W1", 2, 3, 5}, backward{"B1", 20, 3, 5};
  Random random{43};
  Parameters<W> theta;
  std::unique_ptr<const Edge<S>> edge;
};

template <class S>
class DenseEdge : public ::testing::Test {};
using Scalars = ::testing::Types<float, double, D, Complex>;
TYPED_TEST_SUITE(DenseEdge, Scalars);

TYPED_TEST(DenseEdge, PullsOnEitherEndByTheWeightsOfThatDirection) {
  using S = TypeParam;
  BoundEdge<S> of;
  const State<S> u = random_numbers<S>(of.random, 5, of.batch),
                 v = random_numbers<S>(of.random, 3, of.batch),
                 before = random_numbers<S>(of.random, 5, of.batch);
  const S scale(0.75);
  for (const Op op : {Op::none, Op::transpose}) {
    const State<S> to_target = of.weights(op == Op::none ? of.forward : of.backward),
                   to_source = of.weights(op == Op::none ? of.backward : of.forward);
    const EdgeSignals<S> signals{{scale, u}, {scale, v}};
    const auto pull = [&](End end, State<S> out) {
      of.edge->tangent_pull(end, op, signals, signals, out);
      return out;
    };
    const State<S> target = pull(End::target, before.topRows(3)),
                   source = pull(End::source, before);
    of.expect(target, before.topRows(3) + scale * to_target * u, "pull on the target");
    of.expect(source, before + scale * to_source.transpose() * v, "pull on the source");
    if (op == Op::transpose) continue;
    State<S> on_target = before.topRows(3), on_source = before;
    of.edge->pull(End::target, signals, on_target);
    of.edge->pull(End::source, signals, on_source);
    of.expect(on_target, target, "the pull is its own tangent");
    of.expect(on_source, source, "the pull is its own tangent");
  }
}

TYPED_TEST(DenseEdge, DrivesItsTargetFromABias) {
  using S = TypeParam;
  BoundEdge<S> of;
  const State<S> x = random_numbers<S>(of.random, 5, of.batch);
  const Parameters<WeightOf<S>> bias = random_numbers<WeightOf<S>>(of.random, 3, 1);
  State<S> out = State<S>::Constant(3, of.batch, S(9)), by_default = out;
  of.edge->drive(x, bias, out);
  const State<S> pulls = of.weights(of.forward) * x;
  of.expect(out, pulls.colwise() + Parameters<S>(bias.template cast<S>()), "drive");
  of.edge->Edge<S>::drive(x, bias, by_default);
  of.expect(by_default, out, "what an edge without a drive of its own has");
}

TYPED_TEST(DenseEdge, HandsItsProductsOver) {
  using S = TypeParam;
  BoundEdge<S> of;
  const State<S> a = random_numbers<S>(of.random, 3, of.batch),
                 b = random_numbers<S>(of.random, 5, of.batch);
  const std::vector<EdgeSignals<S>> terms{{{S(0.5), b}, {S(2), a}}, {{S(-2), b}, {S(1), a}}};
  Parameters<S> sum = Parameters<S>::Zero(40), expected = sum;
  AddTo<S> sink(sum);
  of.edge->add_products(terms, sink);
  expected.segment(2, 15) = State<S>(S(-1) * a * b.transpose()).reshaped();
  of.expect(sum, expected, "the forward weights alone");
  const State<S> da = random_numbers<S>(of.random, 3, of.batch),
                 db = random_numbers<S>(of.random, 5, of.batch);
  sum.setZero();
  of.edge->add_tangent_products(S(0.5), {{S(1), b}, {S(1), a}}, {{S(1), db}, {S(1), da}}, sink);
  expected.segment(2, 15) = State<S>(S(0.5) * da * b.transpose()).reshaped();
  expected.segment(20, 15) = State<S>(S(0.5) * a * db.transpose()).reshaped();
  of.expect(sum, expected, "the weights of both directions");
}

/// In the plan, the pull of each layer has the gain of its linear signal.
template <class S>
class PlannedEdge : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(PlannedEdge, Reals);

TYPED_TEST(PlannedEdge, PlansBothDirections) {
  using S = TypeParam;
  BoundEdge<S> of;
  Layout state;
  state.append("before", 2);
  state.append("source", 5);
  state.append("target", 3);
  LayerPlan<S> plan(state);
  const EdgeEnds<S> ends{of.theta.data(), of.forward, of.backward, {1, 2, 5, 0.5}, {2, 7, 3, 2}};
  ASSERT_TRUE(Coupling(1, 2).bind<S>(ends)->plan(plan));
  plan.pack();
  const State<S> s = random_numbers<S>(of.random, 10, of.batch);
  State<S> out = State<S>::Zero(10, of.batch);
  PlanScratch<S> scratch;
  for (const std::size_t layer : {1, 2})
    plan.step(layer, s, State<S>(), nullptr, out, nullptr, scratch);
  of.expect(out.bottomRows(3), S(0.5) * of.weights(of.forward) * s.middleRows(2, 5), "target");
  of.expect(out.middleRows(2, 5), S(2) * of.weights(of.backward).transpose() * s.bottomRows(3),
            "source");
}

TEST(DenseCoupling, IsAValueWithItsGeometry) {
  const Coupling coupling(2, 5);
  EXPECT_EQ(coupling.kind(), "dense");
  EXPECT_EQ(coupling.source(), 2);
  EXPECT_EQ(coupling.target(), 5);
  EXPECT_EQ(coupling.reversed().source(), 5);
  EXPECT_EQ(coupling.reversed().target(), 2);
  EXPECT_EQ(coupling.source(), 2) << "unchanged";
  ASSERT_NE(coupling.as<Dense>(), nullptr);
  EXPECT_EQ(coupling.as<Dense>()->target, 5);
  const WeightShape shape = coupling.weights_of(7, 3);
  EXPECT_EQ(shape.rows, 3);
  EXPECT_EQ(shape.columns, 7);
  EXPECT_EQ(shape.fan_in, 7);
  EXPECT_EQ(shape.fan_out, 3);
}

}  // namespace
}  // namespace equiprop::tests
