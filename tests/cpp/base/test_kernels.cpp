/// The packed kernels of every instruction set that this machine supports, against plain loops in double precision.

#include <array>
#include <cstring>
#include <utility>

#include "base/layers.hpp"

namespace equiprop::tests {
namespace {

template <class T>
struct Problem {
  Size rows, batch;
  std::vector<Neighbour<T>> neighbours;
  bool few;  ///< true for few units, which are packed by rows
  Strided<T> start, force, out;
  Response<T> box;

  Problem(const Kernels<T>& kernels, Random& random, Size rows, Size batch,
          const std::vector<Size>& depths, Size gap)
      : rows(rows),
        batch(batch),
        few(by_rows(kernels, rows, depths)),
        start(random, rows, batch, gap),
        force(random, rows, batch, gap + 2),
        out(rows, batch, gap + 1),
        box{.kind = ResponseKind::box,
            .gain = T(1.25),
            .lower = T(-0.5),
            .upper = T(0.75),
            .force = force.data(),
            .stride = force.stride,
            .force_gain = T(0.5),
            .curvature = T(1.5)} {
    for (const Size depth : depths)
      neighbours.emplace_back(kernels, random, rows, depth, batch, gap, neighbours.size() % 2 == 1,
                              neighbours.size() % 2 == 1 ? T(1) : T(0.75), few);
  }

  void run(const Kernels<T>& kernels, const T* begin, Size begin_stride,
           const Response<T>* response) {
    run(kernels, begin, begin_stride, response, 0, batch);
  }
  /// Runs the samples [first, first + count) only.
  void run(const Kernels<T>& kernels, const T* begin, Size begin_stride,
           const Response<T>* response, Size first, Size count) {
    std::vector<Pull<T>> pulls;
    for (const auto& neighbour : neighbours) {
      pulls.push_back(neighbour.pull());
      pulls.back().signal += first * pulls.back().stride;
    }
    Response<T> part = response ? *response : Response<T>{};
    if (part.force) part.force += first * part.stride;
    LayerStep<T> step{rows,
                      count,
                      pulls.data(),
                      static_cast<Size>(pulls.size()),
                      begin ? begin + first * begin_stride : nullptr,
                      begin_stride,
                      response ? &part : nullptr,
                      out.numbers.data() + first * out.stride,
                      out.stride};
    step.by_rows = few;
    kernels.accumulate(step);
  }

  /// Returns the exact drive and a bound of the error: each product and each addition of an entry rounds once, by at
  /// most eps / 2 of a partial sum that is not larger than the sum of the magnitudes.
  std::pair<double, double> drive(Size i, Size j, double begin) const {
    double sum = begin, magnitude = std::abs(begin), roundings = 2;
    for (const auto& neighbour : neighbours)
      for (Size k = 0; k < neighbour.signal.rows; ++k) {
        const double term = static_cast<double>(neighbour.scale) * neighbour.weight(i, k) *
                            static_cast<double>(neighbour.signal.at(k, j));
        sum += term;
        magnitude += std::abs(term);
        roundings += 1;
      }
    return {sum, (roundings + 4) * std::numeric_limits<T>::epsilon() * magnitude};
  }

  enum class Begin { zero, drive, bias };
  void expect(Begin begin, const Response<T>* response, const std::string& what) const {
    for (Size j = 0; j < batch; ++j)
      for (Size i = 0; i < rows; ++i) {
        const T first = begin == Begin::zero ? T(0) : start.at(i, begin == Begin::bias ? 0 : j);
        auto [expected, error] = drive(i, j, static_cast<double>(first));
        if (response) std::tie(expected, error) = respond(*response, i, j, expected, error);
        ASSERT_NEAR(static_cast<double>(out.at(i, j)), expected, error)
            << what << ' ' << rows << 'x' << batch << " at " << i << ',' << j;
      }
    expect_gaps_untouched(what);
  }

  std::pair<double, double> respond(const Response<T>& response, Size i, Size j, double p,
                                    double error) const {
    const auto d = [](T x) { return static_cast<double>(x); };
    double s = d(response.gain) * p;
    error *= d(response.gain);
    if (response.force)
      s = (s + d(response.force_gain) * d(force.at(i, j))) / d(response.curvature);
    error += 4 * std::numeric_limits<T>::epsilon() * (std::abs(s) + 1);
    return {std::min(std::max(s, d(response.lower)), d(response.upper)), error};
  }

  void expect_gaps_untouched(const std::string& what) const {
    for (Size j = 0; j + 1 < batch; ++j)
      for (Size i = rows; i < out.stride; ++i)
        ASSERT_TRUE(std::isnan(out.at(i, j))) << what << ": wrote between columns";
  }
};

template <class T>
void expect_every_kind_of_step(const std::string& isa, Problem<T>& problem) {
  using Begin = typename Problem<T>::Begin;
  const auto& kernel = kernels<T>(isa);
  Response<T> free = problem.box;
  free.force = nullptr;
  problem.run(kernel, nullptr, 0, nullptr);
  problem.expect(Begin::zero, nullptr, isa + " from zero");
  problem.run(kernel, problem.start.data(), 0, nullptr);
  problem.expect(Begin::bias, nullptr, isa + " from a bias");
  problem.run(kernel, problem.start.data(), problem.start.stride, nullptr);
  problem.expect(Begin::drive, nullptr, isa + " from a drive");
  problem.run(kernel, problem.start.data(), problem.start.stride, &free);
  problem.expect(Begin::drive, &free, isa + " clipped");
  problem.run(kernel, problem.start.data(), problem.start.stride, &problem.box);
  problem.expect(Begin::drive, &problem.box, isa + " nudged");
}

template <class T>
void expect_identical(const Strided<T>& a, const Strided<T>& b, const std::string& what) {
  for (Size j = 0; j < a.columns; ++j)
    for (Size i = 0; i < a.rows; ++i) ASSERT_EQ(a.at(i, j), b.at(i, j)) << what << ' ' << i;
}

template <class T>
class KernelTest : public testing::Test {};
TYPED_TEST_SUITE(KernelTest, Numbers);

TYPED_TEST(KernelTest, AgreesWithPlainLoopsForRandomSizes) {
  Random random(1);
  const auto size = [&] { return 1 + static_cast<Size>((random.symmetric() + 1) * 34.999); };
  for (const auto& isa : isas())
    for (int trial = 0; trial < 60; ++trial) {
      std::vector<Size> depths(static_cast<std::size_t>(trial % 4));
      for (Size& depth : depths) depth = size();
      const Size rows = size(), batch = size();
      Problem<TypeParam> problem(kernels<TypeParam>(isa), random, rows, batch, depths,
                                 1 + trial % 5);
      expect_every_kind_of_step(isa, problem);
    }
}

TYPED_TEST(KernelTest, AgreesWithPlainLoopsForEveryNumberOfRowsAndSamples) {
  Random random(2);
  for (const auto& isa : isas())
    for (Size n = 1; n <= 40; ++n)
      for (const auto& [rows, batch] : {std::pair<Size, Size>{n, 13}, {35, n}}) {
        Problem<TypeParam> problem(kernels<TypeParam>(isa), random, rows, batch, {7, 3}, 0);
        expect_every_kind_of_step(isa, problem);
      }
}

TYPED_TEST(KernelTest, AgreesWithPlainLoopsForTheOutputLayerAndItsPull) {
  Random random(3);
  for (const auto& isa : isas())
    for (const auto& [rows, depth] : {std::pair<Size, Size>{10, 512}, {512, 10}}) {
      Problem<TypeParam> problem(kernels<TypeParam>(isa), random, rows, 5, {depth}, 3);
      expect_every_kind_of_step(isa, problem);
    }
}

TYPED_TEST(KernelTest, AgreesWithPlainLoopsForFewUnitsUnderMany) {
  Random random(11);
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<TypeParam>(isa);
    Size seen = 0;
    for (Size rows = 1; rows <= 2 * kernel.lanes; ++rows)
      for (const Size depth : {4 * kernel.lanes, 6 * kernel.lanes - 1, 9 * kernel.lanes + 1}) {
        const std::vector<Size> depths{depth, 3, kernel.lanes + 2};
        if (!by_rows(kernel, rows, depths)) continue;
        ++seen;
        for (const Size batch : {1, 2, 13}) {
          Problem<TypeParam> problem(kernel, random, rows, batch, depths, 1);
          expect_every_kind_of_step(isa, problem);
        }
      }
    EXPECT_GT(seen, 0) << isa;
  }
}

TYPED_TEST(KernelTest, EmptyBatchesLayersAndNeighboursAreNothing) {
  Random random(4);
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<TypeParam>(isa);
    Problem<TypeParam> no_samples(kernel, random, 20, 0, {7}, 1);
    no_samples.run(kernel, no_samples.start.data(), no_samples.start.stride, &no_samples.box);
    Problem<TypeParam> no_units(kernel, random, 0, 9, {7}, 1);
    no_units.run(kernel, no_units.start.data(), no_units.start.stride, &no_units.box);
    Problem<TypeParam> no_depth(kernel, random, 20, 9, {0, 0}, 1);
    expect_every_kind_of_step(isa, no_depth);
  }
}

TYPED_TEST(KernelTest, AddsInPlace) {
  Random random(5);
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<TypeParam>(isa);
    Problem<TypeParam> problem(kernel, random, 37, 19, {11, 6}, 2);
    problem.run(kernel, problem.start.data(), problem.start.stride, nullptr);
    const auto expected = problem.out;
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i) problem.out.at(i, j) = problem.start.at(i, j);
    problem.run(kernel, problem.out.data(), problem.out.stride, nullptr);
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i) EXPECT_EQ(problem.out.at(i, j), expected.at(i, j)) << isa;
  }
}

TYPED_TEST(KernelTest, BitsOfASampleDoNotDependOnTheBatchAroundIt) {
  using T = TypeParam;
  Random random(6);
  for (const auto& isa : isas())
    for (const auto& [rows, depth] :
         {std::pair<Size, Size>{10, 33}, {37, 33}, {64, 33}, {9, 150}}) {
      const auto& kernel = kernels<T>(isa);
      Problem<T> problem(kernel, random, rows, 61, {depth, 10}, 1);
      const auto run = [&](Size first, Size count) {
        problem.run(kernel, problem.start.data(), problem.start.stride, &problem.box, first, count);
      };
      run(0, problem.batch);
      const auto whole = problem.out;
      for (const Size part : {1, 2, 3, 5, 7, 8, 11, 12, 13, 25, 60}) {
        problem.out = Strided<T>(rows, problem.batch, 2);
        for (Size first = 0; first < problem.batch; first += part)
          run(first, std::min(part, problem.batch - first));
        for (Size j = 0; j < problem.batch; ++j)
          ASSERT_EQ(std::memcmp(&problem.out.at(0, j), &whole.at(0, j),
                                static_cast<std::size_t>(rows) * sizeof(T)),
                    0)
              << isa << ": sample " << j << " in parts of " << part;
      }
    }
}

TYPED_TEST(KernelTest, RespondsBitForBitAsUnitsDo) {
  using T = TypeParam;
  Random random(7);
  const Units units(Clip{1.7, -0.3, 0.6}, Potential::legendre);
  const T stiffness = T(0.3);
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<T>(isa);
    Problem<T> problem(kernel, random, 37, 19, {}, 0);
    problem.box.gain = problem.box.force_gain = T(1.7);
    problem.box.lower = T(-0.3), problem.box.upper = T(0.6);
    problem.box.curvature = T(1) + T(1.7) * stiffness;
    problem.run(kernel, problem.start.data(), problem.start.stride, &problem.box);
    State<T> drive(37, 19), force(37, 19), expected(37, 19);
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i)
        drive(i, j) = problem.start.at(i, j), force(i, j) = problem.force.at(i, j);
    units.respond<T>(drive, drive, &force, stiffness, expected);
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i) EXPECT_EQ(problem.out.at(i, j), expected(i, j)) << isa;
  }
}

TYPED_TEST(KernelTest, SmoothUnitsRespondAsTheFunctionsOfTheirDrive) {
  using T = TypeParam;
  Random random(9);
  const Response<T> tanh{ResponseKind::tanh, T(1)};
  const Response<T> logistic{ResponseKind::logistic, T(3.7), T(0.4)};
  for (const auto& isa : isas())
    for (const auto& [rows, depth] :
         {std::pair<Size, Size>{1, 33}, {10, 33}, {16, 33}, {37, 33}, {64, 33}, {9, 150}})
      for (const Size batch : {1, 7, 25}) {
        const auto& kernel = kernels<T>(isa);
        Problem<T> problem(kernel, random, rows, batch, {depth, 10}, 1);
        const auto run = [&](const Response<T>* response) {
          problem.run(kernel, problem.start.data(), problem.start.stride, response);
          problem.expect_gaps_untouched(isa);
          return problem.out;
        };
        const Strided<T> drive = run(nullptr), tanhs = run(&tanh), logistics = run(&logistic);
        Strided<T> expected = drive;
        for (Size j = 0; j < batch; ++j) kernel.tanh(rows, &drive.at(0, j), &expected.at(0, j));
        expect_identical(tanhs, expected, isa + " tanh");
        for (Size j = 0; j < batch; ++j)
          kernel.logistic(rows, logistic.gain, logistic.shift, &drive.at(0, j), &expected.at(0, j));
        expect_identical(logistics, expected, isa + " logistic");
      }
}

TYPED_TEST(KernelTest, SmoothUnitsRespondBitForBitAsUnitsDo) {
  using T = TypeParam;
  Random random(10);
  for (const Activation& activation : {Activation(Tanh{}), Activation(Logistic{3.7, 0.4})}) {
    const Units units(activation, Potential::legendre);
    const auto response = units.template kernel_response<T>(nullptr, T(0));
    ASSERT_TRUE(response);
    Problem<T> problem(kernels<T>(), random, 37, 19, {}, 0);
    problem.run(kernels<T>(), problem.start.data(), problem.start.stride, &*response);
    State<T> drive(37, 19), expected(37, 19);
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i) drive(i, j) = problem.start.at(i, j);
    units.template respond<T>(drive, drive, nullptr, T(0), expected);
    for (Size j = 0; j < 19; ++j)
      for (Size i = 0; i < 37; ++i) EXPECT_EQ(problem.out.at(i, j), expected(i, j));
  }
}

TYPED_TEST(KernelTest, UnitsThatReadTheirOldStateHaveNoResponseInTheKernel) {
  using T = TypeParam;
  const State<T> force(3, 2);
  const auto response = [&](const Activation& activation, Potential potential,
                            const State<T>* outside) {
    return Units(activation, potential).template kernel_response<T>(outside, T(0));
  };
  EXPECT_FALSE(response(Tanh{}, Potential::legendre, &force));
  EXPECT_FALSE(response(Logistic{}, Potential::legendre, &force));
  EXPECT_FALSE(response(Tanh{}, Potential::quadratic, nullptr));
  EXPECT_FALSE(response(Softplus{}, Potential::legendre, nullptr));
  EXPECT_TRUE(response(Clip{}, Potential::quadratic, &force));
}

TYPED_TEST(KernelTest, NaNPassesTheClip) {
  Random random(8);
  for (const auto& isa : isas()) {
    const auto& kernel = kernels<TypeParam>(isa);
    Problem<TypeParam> problem(kernel, random, 33, 2, {4}, 0);
    problem.start.at(5, 1) = std::numeric_limits<TypeParam>::quiet_NaN();
    problem.start.at(32, 1) = std::numeric_limits<TypeParam>::quiet_NaN();
    problem.run(kernel, problem.start.data(), problem.start.stride, &problem.box);
    for (Size i = 0; i < 33; ++i)
      EXPECT_EQ(std::isnan(problem.out.at(i, 1)), i == 5 || i == 32) << isa << ' ' << i;
  }
}

TEST(Kernels, AnyInstructionSetOfThisProcessorCanBeForced) {
  EXPECT_EQ(choose_kernel_isa(""), kernel_isas().back());
  for (const auto& isa : isas()) EXPECT_EQ(choose_kernel_isa(isa), isa);
  EXPECT_EQ(kernel_isas().front(), "generic");
  EXPECT_EQ(&kernels<float>(), &kernels<float>(kernel_isa()));
  EXPECT_EQ(&kernels<double>(), &kernels<double>(kernel_isa()));
}

TEST(Kernels, AnUnknownInstructionSetIsRefused) {
  try {
    choose_kernel_isa("x86-64-v9");
    FAIL();
  } catch (const InvalidArgument& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.rfind("[EQUIPROP_ISA] The instruction set is one that this processor", 0), 0U)
        << message;
    EXPECT_NE(message.find(". Received x86-64-v9."), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace equiprop::tests
