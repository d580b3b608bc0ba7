/// The sum over all neighbours of a layer, against dense algebra.

#include <deque>

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// A plan of three layers: the second layer pulls on the first, directly and transposed; all layers pull on the second;
/// none pulls on the third.
template <class T>
struct Plan {
  explicit Plan(Index width)
      : plan((state.append("a", width), state.append("b", 5), state.append("c", 17), state)) {
    s = numbers(state.size(), batch);
    start = numbers(state.size() + 3, batch);  // as for a padded drive
    add(0, 1, false, 1);
    add(0, 1, true, 0.5);
    add(1, 0, true, 1);
    add(1, 1, false, -2);
    add(1, 2, false, 1);
    plan.pack();
  }

  State<T> numbers(Index rows, Index columns) {
    return random_state(random, rows, columns).template cast<T>();
  }
  void add(Index to, Index from, bool transposed, double gain) {
    const Block &rows = state[static_cast<std::size_t>(to)],
                &columns = state[static_cast<std::size_t>(from)];
    weights.push_back(transposed ? numbers(columns.rows, rows.rows)
                                 : numbers(rows.rows, columns.rows));
    plan.add(to, {columns.offset, columns.rows, weights.back().data(), transposed,
                  static_cast<T>(gain)});
    pulls.push_back({to, from, transposed, gain});
  }
  /// Returns start + sum_i gain_i op(W_i) u_i in double, (layer's units, batch).
  State<double> sum(std::size_t layer, bool with_start) const {
    State<double> out = State<double>::Zero(state[layer].rows, batch);
    if (with_start)
      out = start.middleRows(state[layer].offset, state[layer].rows).template cast<double>();
    for (std::size_t i = 0; i < pulls.size(); ++i) {
      if (static_cast<std::size_t>(pulls[i].to) != layer) continue;
      const Block& from = state[static_cast<std::size_t>(pulls[i].from)];
      const State<double> w = weights[i].template cast<double>();
      const State<double> u = s.middleRows(from.offset, from.rows).template cast<double>();
      out += pulls[i].gain * (pulls[i].transposed ? State<double>(w.transpose()) : w) * u;
    }
    return out;
  }

  struct Pulled {
    Index to, from;
    bool transposed;
    double gain;
  };
  static constexpr Index batch = 6;
  static constexpr double few_roundings =
      100 * static_cast<double>(std::numeric_limits<T>::epsilon());
  Random random{41};
  Layout state;
  LayerPlan<T> plan;
  std::deque<State<T>> weights;  // the plan refers to these weights
  std::vector<Pulled> pulls;
  State<T> s, start;
  PlanScratch<T> scratch;
};

template <class T>
class Plans : public ::testing::Test {
 public:
  /// Calls check for a layer that is packed by columns and for one so narrow that it is packed by rows.
  template <class Check>
  void for_each_width(const Check& check) {
    for (const Index width : {1, 3, 40}) {
      SCOPED_TRACE(width);
      Plan<T> plan(width);
      check(plan);
    }
  }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Plans, Reals);

TYPED_TEST(Plans, AStepStoresTheSumOfAllPulls) {
  using T = TypeParam;
  this->for_each_width([](Plan<T>& p) {
    for (const bool with_start : {true, false})
      for (std::size_t layer = 0; layer < 3; ++layer) {
        State<T> out = State<T>::Constant(p.state.size(), p.batch, 9);
        p.plan.step(layer, p.s, with_start ? p.start : State<T>(), nullptr, out, nullptr,
                    p.scratch);
        State<double> expected = State<double>::Constant(p.state.size(), p.batch, 9);
        expected.middleRows(p.state[layer].offset, p.state[layer].rows) = p.sum(layer, with_start);
        expect_close(out.template cast<double>(), expected, p.few_roundings, "the layer alone");
      }
  });
}

/// With a box as the response, in place and out of place; the change of each sample is that of the stored numbers.
TYPED_TEST(Plans, AStepRespondsAndMeasures) {
  using T = TypeParam;
  const Response<T> box{ResponseKind::box, T(0.5), T(0), T(-0.25), T(0.75)};
  this->for_each_width([&](Plan<T>& p) {
    for (std::size_t layer = 0; layer < 3; ++layer) {
      const Block& block = p.state[layer];
      State<T> change = State<T>::Zero(kernels<T>().lanes, p.batch), measured = change, out = p.s;
      p.plan.step(layer, p.s, p.start, &box, out, change.data(), p.scratch);
      const State<T> rows = out.middleRows(block.offset, block.rows);
      expect_close(rows.template cast<double>(),
                   (0.5 * p.sum(layer, true)).cwiseMax(-0.25).cwiseMin(0.75), p.few_roundings,
                   "response");
      PerSample<T> moved(p.batch);
      max_difference<T>(out, p.s, moved);
      const PerSample<T> largest = change.colwise().maxCoeff().transpose();
      EXPECT_TRUE((largest == moved).all()) << largest << " for " << moved;

      p.plan.measure(layer, p.s, p.start, box, measured.data(), p.scratch);
      EXPECT_TRUE(measured == change) << "measured without storing";

      if (layer == 1) continue;  // this layer pulls on itself
      State<T> s = p.s;
      p.plan.step(layer, s, p.start, &box, s, nullptr, p.scratch);
      EXPECT_TRUE(s == out) << "in place";
    }
  });
}

/// The plan uses the weights of the last `pack`.
TYPED_TEST(Plans, PackTakesTheWeightsAsTheyAre) {
  using T = TypeParam;
  this->for_each_width([](Plan<T>& p) {
    const auto stepped = [&] {
      State<T> out(p.state.size(), p.batch);
      for (std::size_t layer = 0; layer < 3; ++layer)
        p.plan.step(layer, p.s, State<T>(), nullptr, out, nullptr, p.scratch);
      return out;
    };
    const State<T> before = stepped();
    for (State<T>& w : p.weights) w *= T(2);
    EXPECT_TRUE(stepped() == before);
    p.plan.pack();
    EXPECT_TRUE(stepped() == T(2) * before);
  });
}

}  // namespace
}  // namespace equiprop::tests
