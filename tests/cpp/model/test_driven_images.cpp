/// Networks whose input is the target of a convolution, against dense networks with the transposed matrix.

#include <filesystem>

#include "model/images.hpp"

namespace equiprop::tests {
namespace {

constexpr Index batch = 3;

/// Calls visit(weight of the kernel, row, column, factor) for each term of the matrix (layer, input) by which the input
/// drives the layer: W(row, column) is the sum of factor * weight.
template <class Visit>
void for_each_term(const Geometry& g, const Visit& visit) {
  for_each_tap(g, [&](Index to, Index weight, Index from) {
    const Index channel = to % g.to.channels, x = to / g.to.channels % g.width / g.pool,
                y = to / g.to.channels / g.width / g.pool;
    if (x >= g.to.width || y >= g.to.height) return;  // no window holds it
    visit(weight, from, (y * g.to.width + x) * g.to.channels + channel,
          1.0 / double(g.pool * g.pool));
  });
}

/// A network h - x with a convolution from h to x, and the equal network with a dense coupling from x to h.
struct Pair {
  Pair(std::uint64_t seed, Potential potential, Feedback feedback = Feedback::tied)
      : g(seed),
        random(seed + 50),
        images(network({Convolution{1, 0, g.windows, g.pool}, Dense{1, 2}}, potential, feedback)),
        dense(network({Dense{0, 1}, Dense{1, 2}}, potential, feedback)),
        x(random_state(random, g.to.units(), batch)),
        s(interior_state(images, random, batch)),
        v(random_state(random, s.rows(), batch)) {
    images.parameters() = random_parameters(random, images.parameters().size(), 0.3);
    const Block &w = images.topology().weights(0), &W = dense.topology().weights(0);
    dense.parameters().tail(rest()) = images.parameters().tail(rest());
    for_each_term(g, [&](Index weight, Index row, Index column, double factor) {
      dense.parameters()(W.offset + column * W.rows + row) +=
          factor * images.parameters()(w.offset + weight);
    });
  }

  HopfieldNetwork<double> network(std::vector<Coupling> couplings, Potential potential,
                                  Feedback feedback) const {
    return {{{"x", g.to}, {"h", g.from, sigmoid()}, {"y", 3, linear()}},
            std::move(couplings),
            potential,
            feedback};
  }
  /// Returns how many parameters follow the weights of the coupling with the input.
  Index rest() const { return images.parameters().size() - images.topology().weights(0).size(); }
  /// Returns a derivative by the parameters of the dense network as one by those of the convolution.
  template <class S>
  Parameters<S> pulled_back(const Parameters<S>& by_dense) const {
    const Block &w = images.topology().weights(0), &W = dense.topology().weights(0);
    Parameters<S> out = Parameters<S>::Zero(images.parameters().size());
    out.tail(rest()) = by_dense.tail(rest());
    for_each_term(g, [&](Index weight, Index row, Index column, double factor) {
      out(w.offset + weight) += S(RealOf<S>(factor)) * by_dense(W.offset + column * W.rows + row);
    });
    return out;
  }

  Geometry g;
  Random random;
  HopfieldNetwork<double> images, dense;
  State<double> x, s, v;
};

template <class Check>
void for_each_pair(const Check& check) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    for (const Potential potential : {Potential::legendre, Potential::quadratic})
      for (const Feedback feedback : {Feedback::tied, Feedback::separate}) {
        SCOPED_TRACE("seed " + std::to_string(seed) +
                     (potential == Potential::legendre ? "" : ", quadratic") +
                     (feedback == Feedback::tied ? "" : ", separate feedback"));
        Pair pair(seed, potential, feedback);
        check(pair);
      }
}

/// Returns numbers of scalar S; the second part of a complex or dual number is another random number.
template <class S>
State<S> as(const State<double>& a, Random& random) {
  if constexpr (std::floating_point<S>) {
    return a.cast<S>();
  } else {
    const State<double> second = random_state(random, a.rows(), a.cols(), 0.1);
    State<S> out(a.rows(), a.cols());
    for (Index i = 0; i < a.size(); ++i) out(i) = S(a(i), second(i));
    return out;
  }
}

template <class S>
void expect_equal(const State<S>& a, const State<S>& b, double tolerance, const std::string& what) {
  if constexpr (std::same_as<S, Complex>) {
    expect_close(a.real(), b.real(), tolerance, what + ", real part");
    expect_close(a.imag(), b.imag(), tolerance, what + ", imaginary part");
  } else if constexpr (std::same_as<S, D>) {
    expect_close(value(a), value(b), tolerance, what);
    expect_close(derivative(a), derivative(b), tolerance, what + ", derivative");
  } else {
    expect_close(a.template cast<double>(), b.template cast<double>(), tolerance, what);
  }
}

template <class S>
AnyEnergy<S> clamped(const HopfieldNetwork<double>& network, const State<S>& x) {
  const auto same = network.template cast<RealOf<S>>();
  return AnyEnergy<S>(
      ClampedHopfield<S>(std::make_shared<const Topology>(same.topology()),
                         std::make_shared<const Parameters<RealOf<S>>>(same.parameters()), x));
}

/// Expects equal values and derivatives of both networks with states and inputs of scalar S.
template <class S>
void expect_equal_models(Pair& p, double tolerance) {
  const State<S> x = as<S>(p.x, p.random), s = as<S>(p.s, p.random), v = as<S>(p.v, p.random);
  const AnyEnergy<S> a = clamped<S>(p.images, x), b = clamped<S>(p.dense, x);
  const auto expect_equal_results = [&](const std::string& what, Index rows, const auto& compute) {
    State<S> of_a = State<S>::Zero(rows, batch), of_b = of_a;
    compute(a, of_a);
    compute(b, of_b);
    expect_equal<S>(of_a, of_b, tolerance, what);
  };
  expect_equal_results("dE/ds", s.rows(),
                       [&](const auto& e, State<S>& out) { e.gradient(s, out); });
  expect_equal_results("H v", s.rows(),
                       [&](const auto& e, State<S>& out) { e.hessian_vector_product(s, v, out); });
  expect_equal_results("H^T v", s.rows(), [&](const auto& e, State<S>& out) {
    e.transposed_hessian_vector_product(s, v, out);
  });
  expect_equal_results("d/dx <v, dE/ds>", x.rows(), [&](const auto& e, State<S>& out) {
    e.mixed_input_product(s, v, S(RealOf<S>(0.7)), out);
  });
  const auto expect_equal_sums = [&](const std::string& what, const auto& compute) {
    Parameters<S> of_a = Parameters<S>::Zero(a.num_parameters()),
                  of_b = Parameters<S>::Zero(b.num_parameters());
    compute(a, of_a);
    compute(b, of_b);
    expect_equal<S>(of_a, p.pulled_back<S>(of_b), tolerance, what);
  };
  expect_equal_sums("d/dtheta <v, dE/ds>", [&](const auto& e, Parameters<S>& out) {
    e.mixed_derivative_product(s, v, S(RealOf<S>(0.7)), out);
  });
  if (!a.conservative()) return;
  expect_equal_sums("dE/dtheta", [&](const auto& e, Parameters<S>& out) {
    e.parameter_gradient(s, S(RealOf<S>(0.7)), out);
  });
  expect_equal_results("E", 1, [&](const auto& e, State<S>& out) {
    PerSample<S> energy(batch);
    e.energy(s, energy);
    out = energy.matrix().transpose();
  });
  expect_equal_results("dE/dx", x.rows(), [&](const auto& e, State<S>& out) {
    e.input_gradient(s, S(RealOf<S>(0.7)), out);
  });
}

TEST(DrivenImage, HasTheDerivativesOfTheTransposedMatrix) {
  for_each_pair([](Pair& p) {
    expect_equal_models<double>(p, rounding);
    expect_equal_models<Complex>(p, rounding);
    expect_equal_models<D>(p, rounding);
    expect_equal_models<float>(p, 1e-5);
  });
}

TEST(DrivenImage, RelaxesByThePackedKernels) {
  for_each_pair([](Pair& p) {
    p.images.parameters() *= 0.1;
    p.dense.parameters() *= 0.1;
    const AnyEnergy<double> a(p.images.clamp(p.x)), b(p.dense.clamp(p.x));
    EXPECT_TRUE(a.separable());
    expect_close(fixed_point(a, p.images.initial_state(batch)),
                 fixed_point(b, p.dense.initial_state(batch)), rounding, "fixed point");
  });
}

TEST(DrivenImage, SelectsSamplesAndTakesNewInputs) {
  for_each_pair([](Pair& p) {
    ClampedHopfield<double> a = p.images.clamp(p.x);
    const std::vector<Index> chosen{2, 0};
    State<double> x = p.x, s(p.s.rows(), 2);
    for (int time = 0; time < 2; ++time) {
      const AnyEnergy<double> some = AnyEnergy<double>(a).select(chosen);
      s << p.s.col(2), p.s.col(0);
      State<double> part(s.rows(), 2), of_x = State<double>::Zero(x.rows(), 2),
                                       all(s.rows(), batch),
                                       of_all = State<double>::Zero(x.rows(), batch);
      some.gradient(s, part);
      some.mixed_input_product(s, s, 1, of_x);
      const AnyEnergy<double> dense(p.dense.clamp(x));
      dense.gradient(p.s, all);
      dense.mixed_input_product(p.s, p.s, 1, of_all);
      for (Index j = 0; j < 2; ++j) {
        expect_close(part.col(j), all.col(chosen[static_cast<std::size_t>(j)]), rounding, "dE/ds");
        expect_close(of_x.col(j), of_all.col(chosen[static_cast<std::size_t>(j)]), rounding,
                     "d/dx <s, dE/ds>");
      }
      x = random_state(p.random, x.rows(), batch);
      a.reclamp(x);
    }
  });
}

/// A sink that must know a bound of the derivative before it receives it.
class Bounded final : public ParameterSink<double> {
 public:
  bool needs_bound() const override { return true; }
  bool bounded(double limit) override {
    bound = limit;
    return true;
  }
  void products(const Block& weights, std::span<const OuterProduct<double>> terms) override {
    Parameters<double> sum = Parameters<double>::Zero(weights.offset + weights.size());
    AddTo<double>(sum).products(weights, terms);
    largest = std::max(largest, sum.cwiseAbs().maxCoeff());
  }
  void numbers(Index, const ConstParametersRef<double>& sums) override {
    largest = std::max(largest, sums.cwiseAbs().maxCoeff());
  }

  double bound = 0, largest = 0;
};

TEST(DrivenImage, GivesABoundOfTheDerivativeByTheWeights) {
  for_each_pair([](Pair& p) {
    p.images.parameters() *= 0.1;
    const AnyEnergy<double> energy = p.images.clamp(100 * p.x);  // dE/dw is the largest
    Bounded mixed;
    EXPECT_TRUE(energy.mixed_derivative(p.s, p.v, 1, mixed));
    EXPECT_GT(mixed.largest, 0);
    EXPECT_LE(mixed.largest, mixed.bound * (1 + rounding));
    if (p.images.topology().feedback() == Feedback::separate) return;
    Bounded contrast;
    const std::vector<State<double>> states{p.s, p.v};
    const std::vector<double> weights{0.5, -0.5};
    EXPECT_TRUE(energy.contrast(states, weights, contrast));
    EXPECT_GT(contrast.largest, 0);
    EXPECT_LE(contrast.largest, contrast.bound * (1 + rounding));
  });
}

TEST(DrivenImage, IsSavedAndReadAgain) {
  for (const ImageFormat format : {ImageFormat::channels_first, ImageFormat::channels_last}) {
    const Geometry g(1);
    HopfieldNetwork<double> net(Topology({{"x", g.to}, {"h", g.from}, {"y", 3, linear()}},
                                         {Convolution{1, 0, g.windows, g.pool}, Dense{1, 2}},
                                         Potential::legendre, Feedback::tied, format));
    net.initialize(1);
    const auto path =
        std::filesystem::temp_directory_path() / ("driven_" + std::to_string(::getpid()));
    save(net, path);
    const auto read = load<double>(path);
    std::filesystem::remove(path);
    EXPECT_EQ(describe(read), describe(net));
    EXPECT_EQ(read.topology().couplings()[0].target(), 0);
    expect_identical(read.parameters(), net.parameters(), "parameters");
  }
}

TEST(DrivenImage, KeepsItsDirectionInTheTopology) {
  const Pair p(0, Potential::legendre, Feedback::separate);
  const Topology& topology = p.images.topology();
  EXPECT_EQ(topology.from_input(), (std::vector<std::size_t>{0}));
  EXPECT_EQ(topology.inner(), (std::vector<std::size_t>{1}));
  EXPECT_EQ(topology.couplings()[0].source(), 1);
  EXPECT_EQ(topology.couplings()[0].target(), 0);
  EXPECT_EQ(topology.feedback_weights(0).offset, topology.weights(0).offset);
}

/// A weight of a kernel may read only padding: it acts on nothing, and is checked all the same.
TEST(DrivenImage, RefusesAWeightThatIsNotFinite) {
  HopfieldNetwork<double> net({{"x", {1, 1, 1}}, {"h", {1, 1, 1}}, {"y", 3, linear()}},
                              {Convolution{1, 0, {{3, 3}, {1, 1}, {1, 1}}, 1}, Dense{1, 2}});
  const State<double> x = State<double>::Ones(1, 1);
  net.clamp(x);
  net.parameters()(0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(net.clamp(x), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
