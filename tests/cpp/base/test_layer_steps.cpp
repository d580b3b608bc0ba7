/// Measurement of changes and fused descent in a step of the packed kernels, bit for bit, for every instruction set
/// that this machine supports.

#include <cstring>
#include <optional>
#include <utility>

#include "base/layers.hpp"

namespace equiprop::tests {
namespace {

/// Returns sizes that give full panels and every kind of partial panel.
std::vector<Size> sizes_around_panels(Size lanes) {
  return {1, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 2 * lanes + 1, 5 * lanes - 1};
}

template <class T>
std::vector<std::optional<Response<T>>> responses(const Strided<T>& force) {
  Response<T> box{.kind = ResponseKind::box, .gain = T(1.25), .lower = T(0.25), .upper = T(0.75)};
  Response<T> nudged = box;
  nudged.force = force.data();
  nudged.stride = force.stride;
  nudged.force_gain = T(0.5);
  nudged.curvature = T(1.5);
  return {std::nullopt, box, nudged, Response<T>{ResponseKind::tanh, T(1)},
          Response<T>{ResponseKind::logistic, T(3.7), T(0.4)}};
}

constexpr Size last_depth = 70;

/// A layer whose change is measured during a step, from `before` or, in place, from `out`.
template <class T>
struct Layer {
  const Kernels<T>& kernel;
  Size rows, batch;
  bool few;  ///< true for few units, which are packed by rows
  std::vector<Neighbour<T>> neighbours;
  Strided<T> start, force, before, out;
  std::vector<T> change;  ///< (lanes, batch)
  bool stored = true;

  /// The last neighbour can be so large that a layer of few units is packed by rows.
  Layer(const Kernels<T>& kernel, Random& random, Size rows, Size batch, Size num_pulls,
        bool deep = false)
      : kernel(kernel),
        rows(rows),
        batch(batch),
        few(deep && num_pulls > 0 && kernel.by_rows(rows, last_depth)),
        start(random, rows, batch, 1),
        force(random, rows, batch, 2),
        before(random, rows, batch, 3),
        out(rows, batch, 4),
        change(static_cast<std::size_t>(kernel.lanes * batch), T(0)) {
    for (Size i = 0; i < num_pulls; ++i)
      neighbours.emplace_back(kernel, random, rows,
                              deep && i == num_pulls - 1 ? last_depth : 3 + 4 * i, batch, i,
                              i % 2 == 1, T(0.5), few);
  }

  T& change_at(Size lane, Size j) {
    return change[static_cast<std::size_t>(j * kernel.lanes + lane)];
  }
  void step(const std::optional<Response<T>>& response, bool in_place, bool measured = true) {
    if (in_place)
      for (Size j = 0; j < batch; ++j) std::copy_n(&before.at(0, j), rows, &out.at(0, j));
    std::vector<Pull<T>> pulls;
    for (const auto& neighbour : neighbours) pulls.push_back(neighbour.pull());
    LayerStep<T> step{rows,
                      batch,
                      pulls.data(),
                      static_cast<Size>(pulls.size()),
                      start.data(),
                      start.stride,
                      response ? &*response : nullptr,
                      stored ? out.numbers.data() : nullptr,
                      out.stride};
    step.by_rows = few;
    if (measured) {
      step.before = in_place ? out.data() : before.data();
      step.before_stride = in_place ? out.stride : before.stride;
      step.change = change.data();
    }
    kernel.accumulate(step);
  }

  /// Returns the largest |new - old| of a sample, by definition.
  T moved(Size j) const {
    T largest = 0;
    for (Size i = 0; i < rows; ++i)
      largest = std::max(largest, std::abs(out.at(i, j) - before.at(i, j)));
    return largest;
  }
  T largest_change(Size j) {
    const T* begin = &change_at(0, j);
    return *std::max_element(begin, begin + kernel.lanes);
  }
  bool change_is_nan(Size j) {
    const T* begin = &change_at(0, j);
    return std::any_of(begin, begin + kernel.lanes, [](T x) { return std::isnan(x); });
  }
};

/// Calls check(layer, response, in place) for layers of every kind, and names the case in failures.
template <class T, class Check>
void for_each_step(const Check& check) {
  Random random(1);
  Size trial = 0;
  for (const auto& isa : isas()) {
    const Kernels<T>& kernel = kernels<T>(isa);
    for (const Size rows : sizes_around_panels(kernel.lanes))
      for (const Size batch : {1, 5, 13, 27}) {
        const bool deep = trial % 2 == 1;
        Layer<T> layer(kernel, random, rows, batch, trial++ % 6, deep);
        for (const auto& response : responses(layer.force))
          for (const bool in_place : {false, true}) {
            SCOPED_TRACE(isa + ' ' + std::to_string(rows) + 'x' + std::to_string(batch));
            check(layer, response, in_place);
          }
      }
  }
}

template <class T>
class LayerStepTest : public testing::Test {};
TYPED_TEST_SUITE(LayerStepTest, Numbers);

TYPED_TEST(LayerStepTest, ChangeIsTheLargestDifferenceOfEachSample) {
  using T = TypeParam;
  for_each_step<T>([](Layer<T>& layer, const auto& response, bool in_place) {
    std::fill(layer.change.begin(), layer.change.end(), T(0));
    layer.step(response, in_place);
    for (Size j = 0; j < layer.batch; ++j) ASSERT_EQ(layer.largest_change(j), layer.moved(j)) << j;
  });
}

TYPED_TEST(LayerStepTest, ChangeIsRaisedAndNeverLowered) {
  using T = TypeParam;
  Random random(2);
  for_each_step<T>([&](Layer<T>& layer, const auto& response, bool in_place) {
    for (T& number : layer.change) number = static_cast<T>(random.uniform());
    Layer<T> at_first = layer;
    layer.step(response, in_place);
    for (std::size_t i = 0; i < layer.change.size(); ++i)
      ASSERT_GE(layer.change[i], at_first.change[i]);
    for (Size j = 0; j < layer.batch; ++j)
      ASSERT_EQ(layer.largest_change(j), std::max(at_first.largest_change(j), layer.moved(j))) << j;
  });
}

TYPED_TEST(LayerStepTest, MeasuringChangesNoBitOfTheState) {
  using T = TypeParam;
  for_each_step<T>([](Layer<T>& layer, const auto& response, bool in_place) {
    layer.step(response, in_place, false);
    const Strided<T> expected = layer.out;
    layer.step(response, in_place);
    ASSERT_EQ(std::memcmp(layer.out.data(), expected.data(), sizeof(T) * expected.numbers.size()),
              0);
  });
}

TYPED_TEST(LayerStepTest, AChangeIsMeasuredWithoutStoringTheState) {
  using T = TypeParam;
  for_each_step<T>([](Layer<T>& layer, const auto& response, bool) {
    std::fill(layer.change.begin(), layer.change.end(), T(0));
    layer.step(response, false);
    const std::vector<T> expected =
        std::exchange(layer.change, std::vector<T>(layer.change.size()));
    layer.stored = false;
    layer.step(response, false);
    layer.stored = true;
    ASSERT_EQ(layer.change, expected);
  });
}

/// A partial panel is padded with zeros, whose responses are not 0: 1/2 for a logistic, the lower bound of a box. They
/// do not enter the change.
TYPED_TEST(LayerStepTest, NumbersBeyondTheLayerDoNotEnterItsChange) {
  using T = TypeParam;
  for_each_step<T>([](Layer<T>& layer, const auto& response, bool in_place) {
    layer.step(response, in_place, false);
    Layer<T> at_rest = layer;
    for (Size j = 0; j < layer.batch; ++j)
      std::copy_n(&layer.out.at(0, j), layer.rows, &at_rest.before.at(0, j));
    std::fill(at_rest.change.begin(), at_rest.change.end(), T(0));
    at_rest.step(response, in_place);
    for (const T number : at_rest.change) ASSERT_EQ(number, T(0));
  });
}

constexpr Size nan_sample = 1;  ///< one of three samples

/// Calls check(layer, number, nan, response) for every number of a sample and a NaN of either sign to store there.
template <class T, class Check>
void for_each_nan(const Check& check) {
  Random random(3);
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  for (const auto& isa : isas()) {
    const Kernels<T>& kernel = kernels<T>(isa);
    for (const Size rows : {2 * kernel.lanes, 3 * kernel.lanes - 1, 2 * kernel.lanes + 1}) {
      Layer<T> layer(kernel, random, rows, 3, 2);
      for (const auto& response : responses(layer.force))
        for (Size i = 0; i < rows; ++i)
          for (Strided<T>* numbers : {&layer.start, &layer.before})
            for (const T sign : {T(1), T(-1)}) {
              SCOPED_TRACE(isa + (sign < 0 ? ", a negative NaN" : ", a NaN") + " in unit " +
                           std::to_string(i) + " of " + std::to_string(rows));
              std::fill(layer.change.begin(), layer.change.end(), T(0));
              check(layer, numbers->at(i, nan_sample), std::copysign(nan, sign), response);
            }
    }
  }
}

TYPED_TEST(LayerStepTest, NaNIsLargerThanAnyChange) {
  using T = TypeParam;
  for_each_nan<T>([](Layer<T>& layer, T& number, T nan, const auto& response) {
    const T finite = std::exchange(number, nan);
    layer.step(response, true);
    number = finite;
    EXPECT_TRUE(layer.change_is_nan(nan_sample));
    for (const Size other : {0, 2}) EXPECT_EQ(layer.largest_change(other), layer.moved(other));
  });
}

/// A NaN stays in the change when a layer is computed in parts, or when several layers share a change.
TYPED_TEST(LayerStepTest, NaNStaysInAChangeThatFiniteStepsRaise) {
  using T = TypeParam;
  for_each_nan<T>([](Layer<T>& layer, T& number, T nan, const auto& response) {
    const T finite = std::exchange(number, nan);
    layer.step(response, true);
    number = finite;
    layer.step(response, true);
    EXPECT_TRUE(layer.change_is_nan(nan_sample));
  });
}

// ---------------------------------------------------------------------------- descent

/// Fills the matrix and its gaps, also behind the last column, with random numbers, so that any write changes a bit.
template <class T>
void fill(Random& random, Strided<T>& matrix) {
  matrix.numbers.resize(matrix.numbers.size() + 64);
  for (T& number : matrix.numbers) number = static_cast<T>(random.symmetric());
}

template <class T>
Eigen::Map<Parameters<T>> column(Strided<T>& matrix, Size j) {
  return {&matrix.at(0, j), matrix.rows};
}

template <class T>
void expect_same_bits(const Strided<T>& a, const Strided<T>& b) {
  ASSERT_EQ(std::memcmp(a.data(), b.data(), sizeof(T) * a.numbers.size()), 0);
}

/// Parameters that descend along a gradient, which is the sum of `layer`, inside the kernel.
template <class T>
struct Descender {
  Strided<T> theta, velocity;
  MomentumStep<T> step;

  Descender(Random& random, Size rows, Size columns, const MomentumStep<T>& step)
      : theta(rows, columns, static_cast<Size>(random.below(4))),
        velocity(rows, columns, static_cast<Size>(random.below(4))),
        step(step) {
    fill(random, theta);
    fill(random, velocity);
    if (step.momentum == 0) std::fill(velocity.numbers.begin(), velocity.numbers.end(), T(0));
  }
  void follow(Strided<T>& gradient) {
    for (Size j = 0; j < gradient.columns; ++j)
      step.apply(column(theta, j), column(gradient, j), column(velocity, j));
  }
  void run(const Kernels<T>& kernel, LayerStep<T> sums) {
    const Descent<T> descent{theta.numbers.data(), theta.stride, step.rate, step.momentum,
                             step.decay};
    sums.descent = &descent;
    sums.out = step.momentum == 0 ? nullptr : velocity.numbers.data();
    sums.out_stride = step.momentum == 0 ? 0 : velocity.stride;
    kernel.accumulate(sums);
  }
};

template <class T>
void expect_descent(const Kernels<T>& kernel, Random& random, Size rows, Size columns,
                    Size num_pulls, const MomentumStep<T>& step) {
  Layer<T> layer(kernel, random, rows, columns, num_pulls);
  std::vector<Pull<T>> pulls;
  for (const auto& neighbour : layer.neighbours) pulls.push_back(neighbour.pull());
  LayerStep<T> sums{rows,
                    columns,
                    pulls.data(),
                    num_pulls,
                    nullptr,
                    0,
                    nullptr,
                    layer.out.numbers.data(),
                    layer.out.stride};
  kernel.accumulate(sums);
  Descender<T> actual(random, rows, columns, step), expected = actual;
  expected.follow(layer.out);
  actual.run(kernel, sums);
  expect_same_bits(actual.theta, expected.theta);
  if (step.momentum != 0) expect_same_bits(actual.velocity, expected.velocity);
}

TYPED_TEST(LayerStepTest, DescendsBitForBitAsMomentumStepDoes) {
  using T = TypeParam;
  Random random(4);
  const MomentumStep<T> steps[] = {{T(0.1), T(0), T(0)},
                                   {T(0.1), T(0), T(0.3)},
                                   {T(0.1), T(0.9), T(0)},
                                   {T(0.1), T(0.9), T(0.3)}};
  for (const auto& isa : isas())
    for (int trial = 0; trial < 60; ++trial) {
      const auto rows = 1 + static_cast<Size>(random.below(100)),
                 columns = 1 + static_cast<Size>(random.below(40));
      for (const auto& step : steps) {
        SCOPED_TRACE(isa + ' ' + std::to_string(rows) + 'x' + std::to_string(columns));
        expect_descent(kernels<T>(isa), random, rows, columns, trial % 4, step);
      }
    }
}

TYPED_TEST(LayerStepTest, DescendsOnWholeAndPartialPanels) {
  using T = TypeParam;
  Random random(5);
  for (const auto& isa : isas()) {
    const Kernels<T>& kernel = kernels<T>(isa);
    for (const Size rows : sizes_around_panels(kernel.lanes))
      for (const Size columns : {1, 5, 12, 13, 25}) {
        SCOPED_TRACE(isa + ' ' + std::to_string(rows) + 'x' + std::to_string(columns));
        expect_descent<T>(kernel, random, rows, columns, 2, {T(0.1), T(0), T(0.3)});
        expect_descent<T>(kernel, random, rows, columns, 2, {T(0.1), T(0.9), T(0.3)});
      }
  }
}

}  // namespace
}  // namespace equiprop::tests
