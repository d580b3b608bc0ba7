/// A scaling computes (x - offset) * factor in double precision, and stays with its network.

#include "equiprop/model/hopfield.hpp"
#include "equiprop/model/scaling.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

using Vector = Scaling::Vector;

const Vector offset{{1e9, -2, 0.1}}, factor{{3, 1e-3, 7}};

template <class S>
void expect_the_formula() {
  const State<double> x = State<double>::Random(3, 5) * 100;
  const State<S> all = Scaling(offset, factor).apply<S>(x);
  const State<S> one = Scaling(offset.tail(1), factor.tail(1)).apply<S>(x);
  for (Index j = 0; j < x.cols(); ++j)
    for (Index i = 0; i < x.rows(); ++i) {
      EXPECT_EQ(all(i, j), static_cast<S>((x(i, j) - offset(i)) * factor(i)));
      EXPECT_EQ(one(i, j), static_cast<S>((x(i, j) - offset(2)) * factor(2)));
    }
}

TEST(Scaling, ComputesInDoublePrecisionAndRoundsOnce) {
  expect_the_formula<double>();
  expect_the_formula<float>();
}

TEST(Scaling, RefusesInputsOfAnotherNumber) {
  EXPECT_THROW(Scaling(offset, factor).apply<double>(State<double>::Zero(4, 1)), InvalidArgument);
}

TEST(Scaling, RefusesNumbersThatAreNoScaling) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {0.0, -1.0, inf, nan}) {
    EXPECT_THROW(Scaling(offset, Vector{{1, bad, 1}}), InvalidArgument) << bad;
    EXPECT_FALSE(Scaling::valid(offset, Vector{{1, bad, 1}}));
  }
  for (const double bad : {-inf, inf, nan})
    EXPECT_THROW(Scaling(Vector{{bad}}, Vector{{1}}), InvalidArgument) << bad;
  EXPECT_THROW(Scaling(offset, factor.head(1)), InvalidArgument);
  EXPECT_THROW(Scaling(Vector(), Vector()), InvalidArgument);
  EXPECT_NO_THROW(Scaling(offset, factor));
}

TEST(Scaling, StaysWithItsNetwork) {
  HopfieldNetwork<double> network({{"x", 3}, {"y", 1}}, chain(2));
  EXPECT_FALSE(network.scaling());
  network.set_scaling(Scaling(offset, factor));
  const auto single = network.cast<float>();
  EXPECT_EQ(single.scaling()->offset(), offset);
  EXPECT_EQ(single.scaling()->factor(), factor);
  network.set_scaling({});
  EXPECT_FALSE(network.scaling());
  EXPECT_THROW(network.set_scaling(Scaling(offset.head(2), factor.head(2))), InvalidArgument);
  EXPECT_NO_THROW(network.set_scaling(Scaling(Vector{{0}}, Vector{{2}})));
}

}  // namespace
}  // namespace equiprop::tests
