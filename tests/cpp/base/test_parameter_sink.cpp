/// Sinks: each changes its parameters exactly like the plain sum followed by the plain update.

#include "support.hpp"

namespace equiprop::tests {
namespace {

template <class S>
constexpr double few_roundings = 200 * static_cast<double>(std::numeric_limits<S>::epsilon());

/// Parameters with two blocks of weights and one of biases, and a derivative with respect to them, as outer products
/// and as numbers.
template <class S>
struct Problem {
  explicit Problem(std::uint64_t seed) : random(seed) {
    layout.append("W1", 7, 5);
    layout.append("W2", 33, 18);
    layout.append("b1", 40);
    for (const Index samples : {6, 3})
      for (std::size_t block : {0, 1}) {
        a[block].push_back(numbers(layout[block].rows, samples));
        b[block].push_back(numbers(layout[block].columns, samples));
      }
    biases = numbers(40, 1);
  }

  State<S> numbers(Index rows, Index columns) {
    return random_state(random, rows, columns).template cast<S>();
  }
  Index size() const { return layout.size(); }
  std::vector<OuterProduct<S>> terms(std::size_t block) const {
    return {{S(0.75), a[block][0], b[block][0]}, {S(-1.5), a[block][1], b[block][1]}};
  }
  /// Hands the derivative to a sink, as a model does.
  void give(ParameterSink<S>& sink) const {
    for (const std::size_t block : {0, 1}) sink.products(layout[block], terms(block));
    sink.numbers(layout[2].offset, biases);
  }
  /// Returns the derivative by dense algebra, in double.
  Parameters<double> expected() const {
    Parameters<double> sum(size());
    for (const std::size_t block : {0, 1}) {
      State<double> product = State<double>::Zero(layout[block].rows, layout[block].columns);
      for (const auto& [scale, left, right] : terms(block))
        product += static_cast<double>(scale) * left.template cast<double>() *
                   right.template cast<double>().transpose();
      sum.segment(layout[block].offset, product.size()) = product.reshaped();
    }
    sum.tail(biases.size()) = biases.template cast<double>();
    return sum;
  }
  /// Returns the derivative with the rounding of AddTo.
  Parameters<S> sum() const {
    Parameters<S> out = Parameters<S>::Zero(size());
    AddTo<S> sink(out);
    give(sink);
    return out;
  }
  /// Returns one learning rate for each block.
  BlockRates<S> rates() const {
    return {{0, S(0.1)}, {layout[1].offset, S(0.02)}, {layout[2].offset, S(0.5)}};
  }
  S rate_of(Index parameter) const {
    return parameter < layout[1].offset ? S(0.1) : parameter < layout[2].offset ? S(0.02) : S(0.5);
  }

  Random random;
  Layout layout;
  std::vector<State<S>> a[2], b[2];
  Parameters<S> biases;
};

template <class S>
class Sink : public ::testing::Test {
 public:
  void TearDown() override { set_num_threads(0); }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Sink, Reals);

template <class S>
State<double> wide(const Parameters<S>& a) {
  return a.template cast<double>();
}

TYPED_TEST(Sink, AddToAddsTheDerivative) {
  using S = TypeParam;
  const Problem<S> problem(1);
  Parameters<S> sum = Parameters<S>::Ones(problem.size());
  AddTo<S> sink(sum);
  problem.give(sink);
  problem.give(sink);
  EXPECT_FALSE(sink.needs_bound());
  expect_close(wide<S>(sum), (2 * problem.expected()).array() + 1, few_roundings<S>,
               "twice the sum");
}

/// Checks that products of dual or complex numbers are not conjugated.
template <class S>
void check_two_parts() {
  Random random(2);
  const auto numbers = [&](Index rows, Index columns) {
    return State<S>(random_state(random, rows, columns)
                        .binaryExpr(random_state(random, rows, columns),
                                    [](double first, double second) { return S(first, second); }));
  };
  const Block block{"W", 3, 6, 4};
  const State<S> a = numbers(6, 5), b = numbers(4, 5);
  const std::vector<OuterProduct<S>> terms{{S(0.5, 0.25), a, b}};
  Parameters<S> sum = Parameters<S>::Zero(30);
  AddTo<S> sink(sum);
  sink.products(block, terms);
  for (Index i = 0; i < 30; ++i) {
    S expected(0);
    if (i >= 3 && i < 27)
      for (Index j = 0; j < 5; ++j)
        expected += S(0.5, 0.25) * a((i - 3) % 6, j) * b((i - 3) / 6, j);
    EXPECT_LE(magnitude(S(sum(i) - expected)), rounding);
  }
}

TEST(AddToTwoParts, IsTheSumWithoutConjugation) {
  check_two_parts<D>();
  check_two_parts<Complex>();
}

/// Checks DescendSGD against MomentumStep with the rate of each block on the plain sum.
template <class S>
void check_sgd(S momentum, S decay) {
  Problem<S> problem(3);
  Parameters<S> theta = problem.numbers(problem.size(), 1), expected = theta;
  Parameters<S> velocity = problem.numbers(momentum != 0 ? problem.size() : 0, 1);
  Parameters<S> average =
      momentum != 0 ? velocity : Parameters<S>(Parameters<S>::Zero(problem.size()));
  const Parameters<S> sum = problem.sum();
  for (Index i = 0; i < problem.size(); ++i)
    MomentumStep<S>{problem.rate_of(i), momentum, decay}.apply(
        expected.segment(i, 1), sum.segment(i, 1), average.segment(i, 1));
  DescendSGD<S> sink(theta, velocity, problem.rates(), momentum, decay);
  EXPECT_TRUE(sink.needs_bound());
  EXPECT_TRUE(sink.bounded(1e3));
  problem.give(sink);
  expect_close(wide<S>(theta), wide<S>(expected), few_roundings<S>, "theta");
  expect_identical(wide<S>(theta.tail(40)), wide<S>(expected.tail(40)), "numbers, theta");
  if (momentum == 0) return;
  expect_close(wide<S>(velocity), wide<S>(average), few_roundings<S>, "velocity");
  expect_identical(wide<S>(velocity.tail(40)), wide<S>(average.tail(40)), "numbers, velocity");
}

TYPED_TEST(Sink, DescendSGDIsTheSumAndThenTheStep) {
  for (const TypeParam momentum : {TypeParam(0), TypeParam(0.9)})
    for (const TypeParam decay : {TypeParam(0), TypeParam(0.01)})
      check_sgd<TypeParam>(momentum, decay);
}

/// Products update the parameters like the library's fused step, bit for bit.
TYPED_TEST(Sink, DescendSGDFusesTheStepIntoTheSum) {
  using S = TypeParam;
  Problem<S> problem(4);
  Parameters<S> theta = problem.numbers(problem.size(), 1), expected = theta;
  Parameters<S> velocity = problem.numbers(problem.size(), 1), average = velocity;
  DescendSGD<S> sink(theta, velocity, problem.rates(), S(0.9), S(0.01));
  for (const std::size_t block : {0, 1}) {
    const Block& at = problem.layout[block];
    const MomentumStep<S> step{problem.rate_of(at.offset), S(0.9), S(0.01)};
    sink.products(at, problem.terms(block));
    descend<S>(problem.terms(block), Descending<S>{step, expected, average}, at.offset);
  }
  expect_identical(wide<S>(theta), wide<S>(expected), "theta");
  expect_identical(wide<S>(velocity), wide<S>(average), "velocity");
}

TYPED_TEST(Sink, DescendAdamIsTheSumAndThenTheStep) {
  using S = TypeParam;
  Problem<S> problem(5);
  const AdamStep<S> step{0, S(0.9), S(0.99), S(1e-6), S(0.1), S(0.19), S(0.02)};
  Parameters<S> theta = problem.numbers(problem.size(), 1), expected = theta;
  Parameters<S> mean = problem.numbers(problem.size(), 1), other_mean = mean;
  Parameters<S> square = problem.numbers(problem.size(), 1).cwiseAbs2(), other_square = square;
  const Parameters<S> sum = problem.sum();
  for (std::size_t block = 0; block < 3; ++block) {
    const Block& at = problem.layout[block];
    AdamStep<S> with_rate = step;
    with_rate.rate = problem.rate_of(at.offset);
    with_rate.apply(expected.segment(at.offset, at.size()), sum.segment(at.offset, at.size()),
                    other_mean.segment(at.offset, at.size()),
                    other_square.segment(at.offset, at.size()));
  }
  DescendAdam<S> sink(theta, mean, square, problem.rates(), step);
  EXPECT_TRUE(sink.needs_bound());
  problem.give(sink);
  expect_identical(wide<S>(theta), wide<S>(expected), "theta");
  expect_identical(wide<S>(mean), wide<S>(other_mean), "mean");
  expect_identical(wide<S>(square), wide<S>(other_square), "square");
}

TYPED_TEST(Sink, ClipToScalesADerivativeThatIsTooLarge) {
  using S = TypeParam;
  const Problem<S> problem(8);
  const Parameters<S> sum = problem.sum();
  const double norm = wide<S>(sum).norm();
  for (const double share : {0.25, 0.999, 1.001, std::numeric_limits<double>::infinity()}) {
    Parameters<S> out = Parameters<S>::Zero(problem.size());
    AddTo<S> add(out);
    ClipTo<S> sink(add, share * norm);
    EXPECT_TRUE(sink.needs_bound());
    EXPECT_FALSE(sink.bounded(1));
    EXPECT_THROW(sink.products(problem.layout[0], problem.terms(0)), InvalidArgument);
    sink.numbers(0, sum);
    EXPECT_NEAR(sink.norm(), norm, norm * 1e-14);
    if (share >= 1)
      expect_identical(wide<S>(out), wide<S>(sum), "a derivative within the limit");
    else
      expect_close(wide<S>(out), share * wide<S>(sum), few_roundings<S>, "a clipped derivative");
  }
}

/// The norm of finite numbers can be infinite in double precision.
TYPED_TEST(Sink, ClipToHandsOverNothingWithoutAFiniteNorm) {
  using S = TypeParam;
  Parameters<S> sum = Parameters<S>::Ones(20), out = Parameters<S>::Zero(20);
  AddTo<S> add(out);
  for (const S number : {std::numeric_limits<S>::infinity(), std::numeric_limits<S>::quiet_NaN(),
                         std::numeric_limits<S>::max()}) {
    sum(7) = number;
    for (const double limit : {1.0, std::numeric_limits<double>::infinity()}) {
      ClipTo<S> sink(add, limit);
      sink.numbers(0, sum);
      if (std::isfinite(sink.norm()))
        continue;  // the largest float has a square in double precision
      EXPECT_TRUE((out.array() == 0).all()) << number;
    }
  }
  const bool overflows = std::same_as<S, double>;
  EXPECT_EQ((out.array() == 0).all(), overflows);
}

/// Numbers may arrive in pieces or all at once, across the limits of the rates: each parameter gets its own rate.
TYPED_TEST(Sink, RatesBelongToParametersHoweverTheyComeIn) {
  using S = TypeParam;
  Problem<S> problem(6);
  const Parameters<S> sum = problem.sum(), start = problem.numbers(problem.size(), 1);
  const auto descended = [&](const std::vector<Index>& cuts) {
    Parameters<S> theta = start, velocity = start;
    DescendSGD<S> sink(theta, velocity, problem.rates(), S(0.9), S(0.01));
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      sink.numbers(cuts[i], sum.segment(cuts[i], cuts[i + 1] - cuts[i]));
    return theta;
  };
  const State<double> whole = wide<S>(descended({0, problem.size()}));
  expect_identical(wide<S>(descended({0, 1, 34, 36, 600, problem.size()})), whole, "theta");
  Parameters<S> expected = start;
  for (Index i = 0; i < expected.size(); ++i)
    expected(i) -= problem.rate_of(i) * (S(0.9) * start(i) + (S(0.01) * start(i) + sum(i)));
  expect_identical(whole, wide<S>(expected), "the formula");
}

TYPED_TEST(Sink, DescentsRefuseSumsThatMayOverflow) {
  using S = TypeParam;
  Parameters<S> theta = Parameters<S>::Ones(3), average = theta, square = theta;
  DescendSGD<S> sgd(theta, average, {{0, S(0.1)}}, S(0.9), S(0));
  DescendAdam<S> adam(theta, average, square, {{0, S(0.1)}}, AdamStep<S>{});
  const double largest = static_cast<double>(std::numeric_limits<S>::max());
  for (ParameterSink<S>* sink :
       {static_cast<ParameterSink<S>*>(&sgd), static_cast<ParameterSink<S>*>(&adam)}) {
    for (const double bound : {std::nan(""), HUGE_VAL, largest, 1e-3 * largest})
      EXPECT_FALSE(sink->bounded(bound)) << bound;
    EXPECT_TRUE(sink->bounded(0));
    EXPECT_TRUE(sink->bounded(1e20));
  }
  EXPECT_TRUE((theta.array() == 1).all() && (average.array() == 1).all());
}

TYPED_TEST(Sink, BoundIsAtLeastEveryNumber) {
  using S = TypeParam;
  for (std::uint64_t seed = 10; seed < 30; ++seed) {
    Problem<S> problem(seed);
    const State<S>& x = problem.b[1][0];
    for (const auto& [known, largest] :
         {std::pair<const S*, double>{nullptr, 0},
          {x.data(), static_cast<double>(x.cwiseAbs().maxCoeff())}}) {
      Bound<S> bound(known, largest);
      problem.give(bound);
      const double reached = problem.expected().cwiseAbs().maxCoeff();
      EXPECT_GE(bound.value(), reached);
      EXPECT_LE(bound.value(), 100 * reached) << "far off";
    }
  }
}

/// The known size of a factor is used without a search.
TYPED_TEST(Sink, BoundTakesTheSizeThatIsKnown) {
  using S = TypeParam;
  const State<S> a = State<S>::Constant(2, 3, S(0.5)), x = State<S>::Constant(4, 3, S(2));
  const std::vector<OuterProduct<S>> terms{{S(-3), a, x}};
  Bound<S> bound(x.data(), 5);
  bound.products({"W", 0, 2, 4}, terms);
  EXPECT_EQ(bound.value(), 3 * 3 * 0.5 * 5);
}

TYPED_TEST(Sink, BoundKeepsNaN) {
  using S = TypeParam;
  for (const bool in_products : {true, false}) {
    Problem<S> problem(7);
    (in_products ? problem.a[0][1](2, 1) : problem.biases(3)) = std::numeric_limits<S>::quiet_NaN();
    Bound<S> bound(nullptr, 0);
    problem.give(bound);
    problem.give(bound);
    EXPECT_TRUE(std::isnan(bound.value()));
  }
}

TYPED_TEST(Sink, HasTheSameBitsForAnyNumberOfThreads) {
  using S = TypeParam;
  Random random(8);
  const State<S> a = random_state(random, 300, 9).template cast<S>(),
                 b = random_state(random, 400, 9).template cast<S>();
  const std::vector<OuterProduct<S>> terms{{S(0.75), a, b}};
  const Block block{"W", 0, 300, 400};
  const Parameters<S> start = random_parameters(random, block.size()).template cast<S>();
  const auto descended = [&](int threads) {
    set_num_threads(threads);
    Parameters<S> theta = start, mean = start, square = start.cwiseAbs2();
    const AdamStep<S> step{0, S(0.9), S(0.99), S(1e-6), S(0), S(0.19), S(0.02)};
    DescendAdam<S> sink(theta, mean, square, {{0, S(0.1)}}, step);
    sink.products(block, terms);
    return wide<S>(theta);
  };
  const State<double> alone = descended(1);
  for (const int threads : {2, 3}) expect_identical(descended(threads), alone, "theta");
}

TEST(Descents, RefuseRatesAndSizesThatDoNotFit) {
  Parameters<double> theta(5), velocity(5), none, other(4);
  const auto sgd = [&](Parameters<double>& kept, BlockRates<double> rates, double momentum) {
    DescendSGD<double>(theta, kept, std::move(rates), momentum, 0);
  };
  EXPECT_THROW(sgd(velocity, {}, 0.9), InvalidArgument);
  EXPECT_THROW(sgd(velocity, {{1, 0.1}}, 0.9), InvalidArgument);
  EXPECT_THROW(sgd(velocity, {{0, 0.1}, {4, 0.1}, {2, 0.1}}, 0.9), InvalidArgument);
  EXPECT_THROW(sgd(other, {{0, 0.1}}, 0.9), InvalidArgument);
  EXPECT_THROW(sgd(none, {{0, 0.1}}, 0.9), InvalidArgument);
  EXPECT_NO_THROW(sgd(none, {{0, 0.1}}, 0));
  const auto adam = [&](Parameters<double>& mean, Parameters<double>& square,
                        BlockRates<double> rates) {
    DescendAdam<double>(theta, mean, square, std::move(rates), AdamStep<double>{});
  };
  EXPECT_THROW(adam(velocity, other, {{0, 0.1}}), InvalidArgument);
  EXPECT_THROW(adam(other, velocity, {{0, 0.1}}), InvalidArgument);
  EXPECT_THROW(adam(velocity, velocity, {}), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
