/// Products against three loops, for every scalar, orientation and kind of block.

#include "support.hpp"

namespace equiprop::tests {
namespace {

template <class S>
S random_scalar(Random& random) {
  if constexpr (std::same_as<S, Complex>)
    return {random.symmetric(), random.symmetric()};
  else if constexpr (std::same_as<S, D>)
    return {random.symmetric(), random.symmetric()};
  else
    return static_cast<S>(random.symmetric());
}

template <class S>
State<S> random_matrix(Random& random, Index rows, Index columns) {
  State<S> out(rows, columns);
  for (Index i = 0; i < out.size(); ++i) out(i) = random_scalar<S>(random);
  return out;
}

template <class S>
State<S> naive(S scale, const State<S>& a, Op op_a, const State<S>& b, Op op_b, State<S> out) {
  const Index depth = op_a == Op::none ? a.cols() : a.rows();
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j)
      for (Index k = 0; k < depth; ++k)
        out(i, j) +=
            scale * (op_a == Op::none ? a(i, k) : a(k, i)) * (op_b == Op::none ? b(k, j) : b(j, k));
  return out;
}

template <class S>
void expect_product(const State<S>& actual, const State<S>& expected, Index depth) {
  // Each entry is a sum of depth + 1 terms of order one, in another order of summation.
  const auto tolerance =
      8 * static_cast<double>(depth + 2) * std::numeric_limits<RealOf<S>>::epsilon();
  for (Index i = 0; i < actual.size(); ++i)
    ASSERT_LE(magnitude(S(actual(i) - expected(i))), tolerance) << "depth " << depth;
}

/// The operands are blocks of larger matrices, whose other entries must neither be read nor written.
template <class S>
State<S> framed(Random& random, Index rows, Index columns) {
  State<S> frame = State<S>::Constant(rows + 3, columns + 2, S(std::nanf("")));
  frame.block(1, 1, rows, columns) = random_matrix<S>(random, rows, columns);
  return frame;
}

template <class S>
void expect_frame_untouched(const State<S>& frame, Index inside) {
  Index untouched = 0;
  for (Index i = 0; i < frame.size(); ++i) untouched += std::isnan(magnitude(frame(i)));
  EXPECT_EQ(untouched, frame.size() - inside);
}

template <class S>
void check_shape(Random& random, Index m, Index n, Index k, Op op_a, Op op_b) {
  const Index a_rows = op_a == Op::none ? m : k, a_columns = op_a == Op::none ? k : m;
  const Index b_rows = op_b == Op::none ? k : n, b_columns = op_b == Op::none ? n : k;
  const State<S> a = framed<S>(random, a_rows, a_columns);
  const State<S> b = framed<S>(random, b_rows, b_columns);
  State<S> out = framed<S>(random, m, n);
  const S scale = random_scalar<S>(random);
  const State<S> expected = naive<S>(scale, a.block(1, 1, a_rows, a_columns), op_a,
                                     b.block(1, 1, b_rows, b_columns), op_b, out.block(1, 1, m, n));
  add_product<S>(scale, a.block(1, 1, a_rows, a_columns), op_a, b.block(1, 1, b_rows, b_columns),
                 op_b, out.block(1, 1, m, n));
  expect_product<S>(out.block(1, 1, m, n), expected, k);
  expect_frame_untouched<S>(out, m * n);
}

/// A real matrix times a dual or complex matrix agrees with the loops on dual or complex numbers.
template <class S>
void check_real_shape(Random& random, Index m, Index n, Index k, Op op) {
  const Index rows = op == Op::none ? m : k, columns = op == Op::none ? k : m;
  const State<double> a = framed<double>(random, rows, columns);
  const State<S> b = framed<S>(random, k, n);
  State<S> out = framed<S>(random, m, n);
  const S scale = random_scalar<S>(random);  // its second part is not 0
  const State<S> wide = a.block(1, 1, rows, columns).template cast<S>();
  const State<S> expected =
      naive<S>(scale, wide, op, b.block(1, 1, k, n), Op::none, out.block(1, 1, m, n));
  add_real_product<S>(scale, a.block(1, 1, rows, columns), op, b.block(1, 1, k, n),
                      out.block(1, 1, m, n));
  expect_product<S>(out.block(1, 1, m, n), expected, k);
  expect_frame_untouched<S>(out, m * n);
}

std::vector<std::array<Index, 3>> shapes(Random& random) {
  std::vector<std::array<Index, 3>> all{{1, 1, 1}, {1, 7, 3}, {5, 1, 2}, {4, 6, 1},    {0, 3, 2},
                                        {3, 0, 2}, {3, 2, 0}, {0, 0, 0}, {65, 33, 129}};
  for (int i = 0; i < 6; ++i)
    all.push_back(
        {1 + Index(random.below(40)), 1 + Index(random.below(40)), 1 + Index(random.below(40))});
  return all;
}

template <class S>
class AddProduct : public ::testing::Test {};
using Scalars = ::testing::Types<float, double, Complex, D>;
TYPED_TEST_SUITE(AddProduct, Scalars);

TYPED_TEST(AddProduct, IsThreeLoops) {
  Random random(1);
  for (const auto& [m, n, k] : shapes(random))
    for (const Op op_a : {Op::none, Op::transpose})
      for (const Op op_b : {Op::none, Op::transpose})
        check_shape<TypeParam>(random, m, n, k, op_a, op_b);
}

/// Tall results of a shallow product are computed a few columns at a time; the last panel is narrower.
TYPED_TEST(AddProduct, ComputesTallResultsInPanels) {
  Random random(5);
  for (const Op op_a : {Op::none, Op::transpose})
    for (const Op op_b : {Op::none, Op::transpose})
      check_shape<TypeParam>(random, 1500, 50, 3, op_a, op_b);
}

/// Products larger than one block of Eigen's kernel in each direction, after smaller ones, so that the buffers must
/// grow.
TYPED_TEST(AddProduct, GrowsItsBuffers) {
  Random random(2);
  for (const Index size : {3, 300, 20})
    check_shape<TypeParam>(random, size, 5, 2 * size, Op::none, Op::transpose);
}

template <class S>
class AddRealProduct : public ::testing::Test {};
using TwoParts = ::testing::Types<Complex, D>;
TYPED_TEST_SUITE(AddRealProduct, TwoParts);

TYPED_TEST(AddRealProduct, IsThreeLoops) {
  Random random(3);
  for (const auto& [m, n, k] : shapes(random))
    for (const Op op : {Op::none, Op::transpose}) check_real_shape<TypeParam>(random, m, n, k, op);
}

/// After a larger product, the buffers still hold its numbers.
TYPED_TEST(AddRealProduct, GrowsItsBuffers) {
  Random random(4);
  for (const Index size : {3, 300, 20})
    check_real_shape<TypeParam>(random, size, 5, 2 * size, Op::transpose);
}

TEST(AddProductComplex, DoesNotConjugate) {
  const State<Complex> i = State<Complex>::Constant(1, 1, Complex(0, 1));
  for (const Op op_a : {Op::none, Op::transpose})
    for (const Op op_b : {Op::none, Op::transpose}) {
      State<Complex> out = State<Complex>::Zero(1, 1);
      add_product<Complex>(1, i, op_a, i, op_b, out);
      EXPECT_EQ(out(0), Complex(-1, 0));
    }
}

// ---------------------------------------------------------------------------- on the packed kernels

/// Random products of matrices (m, k_i) and (n, k_i) with random scales; OuterProduct refers to the matrices.
template <class S>
struct Factors {
  std::vector<State<S>> a, b;
  std::vector<S> scales;

  Factors(Random& random, Index m, Index n, const std::vector<Index>& depths) {
    for (const Index k : depths) {
      a.push_back(framed<S>(random, m, k));
      b.push_back(framed<S>(random, n, k));
      scales.push_back(random_scalar<S>(random));
    }
  }
  Index depth() const {
    Index sum = 0;
    for (const auto& frame : a) sum += frame.cols() - 2;
    return sum;
  }
  std::vector<OuterProduct<S>> products() const {
    std::vector<OuterProduct<S>> all;
    for (std::size_t i = 0; i < a.size(); ++i)
      all.push_back({scales[i], inside(a[i]), inside(b[i])});
    return all;
  }
  State<S> add_to(State<S> sum) const {
    for (const auto& [scale, left, right] : products()) sum += scale * (left * right.transpose());
    return sum;
  }
  static auto inside(const State<S>& frame) {
    return frame.block(1, 1, frame.rows() - 3, frame.cols() - 2);
  }
};

/// Returns shapes around those of a panel, and batches that are computed in several parts.
std::vector<std::array<Index, 3>> packed_shapes(Random& random) {
  auto all = shapes(random);
  all.push_back({37, 29, 1100});
  all.push_back({33, 1100, 20});
  return all;
}

/// Returns lists with one number of samples for each product.
std::vector<std::vector<Index>> depths(Index depth) {
  return {{depth},
          {1},
          {0},
          {depth, 1},
          {depth, 0, 5},
          {depth, depth, depth, depth},
          {0, 3, 1, 2, depth}};
}

template <class S>
class PackedProduct : public ::testing::Test {
 public:
  void TearDown() override { set_num_threads(0); }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(PackedProduct, Reals);

TYPED_TEST(PackedProduct, AffineIsEigens) {
  using S = TypeParam;
  Random random(6);
  for (const auto& [m, n, k] : packed_shapes(random)) {
    const State<S> w = framed<S>(random, m, k), u = framed<S>(random, k, n);
    const Parameters<S> bias = random_matrix<S>(random, m, 1);
    State<S> out = framed<S>(random, m, n);
    const State<S> expected = (w.block(1, 1, m, k) * u.block(1, 1, k, n)).colwise() + bias;
    affine<S>(w.block(1, 1, m, k), u.block(1, 1, k, n), bias, out.block(1, 1, m, n));
    expect_product<S>(out.block(1, 1, m, n), expected, k);
    expect_frame_untouched<S>(out, m * n);
  }
}

TYPED_TEST(PackedProduct, OuterProductsAreEigens) {
  using S = TypeParam;
  Random random(7);
  for (const auto& [m, n, k] : packed_shapes(random))
    for (const auto& of_each : depths(k)) {
      const Factors<S> factors(random, m, n, of_each);
      State<S> out = framed<S>(random, m, n);
      const State<S> expected = factors.add_to(out.block(1, 1, m, n));
      add_outer_products<S>(factors.products(), out.block(1, 1, m, n));
      expect_product<S>(out.block(1, 1, m, n), expected, factors.depth());
      expect_frame_untouched<S>(out, m * n);
    }
}

template <class S>
void check_descent(Random& random, Index m, Index n, const std::vector<Index>& of_each,
                   S momentum) {
  const Index begin = 5, size = m * n;
  const Factors<S> factors(random, m, n, of_each);
  const MomentumStep<S> step{S(0.1), momentum, S(0.3)};
  Parameters<S> theta = random_matrix<S>(random, begin + size + 7, 1), velocity = theta;
  if (momentum == 0) velocity.resize(0);
  Parameters<S> expected = theta, average = velocity;
  State<S> gradient = factors.add_to(State<S>::Zero(m, n));
  Descending<S>{step, expected, average}.apply(begin, gradient.reshaped());
  descend<S>(factors.products(), Descending<S>{step, theta, velocity}, begin);
  expect_product<S>(theta, expected, factors.depth());
  expect_product<S>(velocity, average, factors.depth());
  EXPECT_TRUE(theta.head(begin) == expected.head(begin) && theta.tail(7) == expected.tail(7));
}

TYPED_TEST(PackedProduct, DescentFollowsEigensGradient) {
  Random random(8);
  for (const auto& [m, n, k] : packed_shapes(random))
    for (const auto& of_each : depths(k))
      for (const TypeParam momentum : {TypeParam(0), TypeParam(0.9)})
        check_descent<TypeParam>(random, m, n, of_each, momentum);
}

/// Expects that `compute` returns the same bits for 1, 2 and 3 threads.
template <class Compute>
void expect_same_for_any_threads(const Compute& compute) {
  set_num_threads(1);
  const auto alone = compute();
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    EXPECT_TRUE(compute() == alone) << threads << " threads";
  }
}

TYPED_TEST(PackedProduct, HasTheSameBitsForAnyNumberOfThreads) {
  using S = TypeParam;
  Random random(9);
  const Index m = 309, n = 517, k = 23;
  const Factors<S> factors(random, m, n, {k, 1, k});
  const State<S> w = random_matrix<S>(random, m, n), u = random_matrix<S>(random, n, k);
  const Parameters<S> bias = random_matrix<S>(random, m, 1);
  expect_same_for_any_threads([&] {
    State<S> out(m, k);
    affine<S>(w, u, bias, out);
    return out;
  });
  expect_same_for_any_threads([&] {
    State<S> out = w;
    add_outer_products<S>(factors.products(), out);
    return out;
  });
  for (const Index kept : {Index{0}, m * n})  // without momentum, with momentum
    expect_same_for_any_threads([&] {
      Parameters<S> theta = w.reshaped(), velocity = theta.head(kept);
      descend<S>(factors.products(), Descending<S>{{S(0.1), S(0.9), S(0.3)}, theta, velocity}, 0);
      Parameters<S> both(theta.size() + kept);
      both << theta, velocity;
      return both;
    });
}

}  // namespace
}  // namespace equiprop::tests
