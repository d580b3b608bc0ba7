/// Couplings of images: their pulls and derivatives against loops over their definition, and their laws.

#include <filesystem>

#include "model/images.hpp"

namespace equiprop::tests {
namespace {

constexpr double rounding = 1e-12, step = 1e-6;  // of central differences

enum class Kind { mean, max, soft };
constexpr double sharpness = 1.5;

/// phi = <u_target, pool(w * u_source)> of each sample, by its definition.
PerSample<double> phi(const Geometry& g, Kind kind, const double* w, const State<double>& source,
                      const State<double>& target) {
  const State<double> a = convolved(g, w, source);
  PerSample<double> sum = PerSample<double>::Zero(source.cols());
  for (Index n = 0; n < source.cols(); ++n)
    for (Index Y = 0; Y < g.to.height; ++Y)
      for (Index X = 0; X < g.to.width; ++X)
        for (Index c = 0; c < g.to.channels; ++c) {
          double mean = 0, largest = -1e300, weighted = 0, total = 0;
          for (Index i = 0; i < g.pool; ++i)
            for (Index j = 0; j < g.pool; ++j) {
              const double v =
                  a(((Y * g.pool + i) * g.width + X * g.pool + j) * g.to.channels + c, n);
              mean += v / double(g.pool * g.pool);
              largest = std::max(largest, v);
              weighted += v * std::exp(sharpness * v);
              total += std::exp(sharpness * v);
            }
          const double pooled = kind == Kind::mean  ? mean
                                : kind == Kind::max ? largest
                                                    : weighted / total;
          sum(n) += target((Y * g.to.width + X) * g.to.channels + c, n) * pooled;
        }
  return sum;
}

Coupling coupling_of(const Geometry& g, Kind kind, Index source, Index target) {
  if (kind == Kind::mean) return Convolution{source, target, g.windows, g.pool};
  if (kind == Kind::max) return MaxPooled{source, target, g.windows, g.pool};
  return SoftPooled{source, target, g.windows, g.pool, sharpness};
}

/// An edge between two images and random signals of two samples.
struct Probe {
  Probe(std::uint64_t seed, Kind of_kind)
      : g(seed),
        kind(of_kind),
        coupling(coupling_of(g, kind, 1, 2)),
        shape(coupling.weights_of(g.from, g.to)),
        random(seed + 100),
        theta(random_parameters(random, shape.rows * shape.columns, 0.5)),
        source(random_state(random, g.from.units(), 2)),
        target(random_state(random, g.to.units(), 2)),
        block{"W", 0, shape.rows, shape.columns},
        edge(coupling.bind<double>(
            {theta.data(), block, block, {0, 0, g.from, 1}, {1, g.from.units(), g.to, 1}})) {
    edge->pack();
  }

  EdgeSignals<double> signals() const { return {{1.0, source}, {1.0, target}}; }
  PerSample<double> value() const { return phi(g, kind, theta.data(), source, target); }

  Geometry g;
  Kind kind;
  Coupling coupling;
  WeightShape shape;
  Random random;
  Parameters<double> theta;
  State<double> source, target;
  Block block;
  std::unique_ptr<Edge<double>> edge;
};

template <class Check>
void for_each_edge(const Check& check) {
  for (std::uint64_t seed = 0; seed < 12; ++seed)
    for (const Kind kind : {Kind::mean, Kind::max, Kind::soft}) {
      Probe probe(seed, kind);
      SCOPED_TRACE("seed " + std::to_string(seed) + ", kind " +
                   std::to_string(static_cast<int>(kind)));
      check(probe);
    }
}

TEST(ImageEdge, PullsOnTheTargetWithThePooledConvolution) {
  for_each_edge([](Probe& p) {
    State<double> pull = State<double>::Zero(p.target.rows(), 2);
    p.edge->pull(End::target, p.signals(), pull);
    const PerSample<double> expected = p.value(), actual = inner<double>(p.target, pull);
    EXPECT_LT((actual - expected).abs().maxCoeff(), rounding * (1 + expected.abs().maxCoeff()));
  });
}

TEST(ImageEdge, PullsOnTheSourceWithTheDerivativeOfPhi) {
  for_each_edge([](Probe& p) {
    State<double> pull = State<double>::Zero(p.source.rows(), 2);
    p.edge->pull(End::source, p.signals(), pull);
    const State<double> v = random_state(p.random, p.source.rows(), 2), at = p.source;
    p.source = at + step * v;
    const PerSample<double> up = p.value();
    p.source = at - step * v;
    const PerSample<double> slope = (up - p.value()) / (2 * step);
    EXPECT_LT((slope - inner<double>(v, pull)).abs().maxCoeff(),
              1e-7 * (1 + slope.abs().maxCoeff()));
  });
}

/// The derivative by the weights, along a direction in the weights, is that of phi.
TEST(ImageEdge, HandsOverTheDerivativeByTheWeights) {
  for_each_edge([](Probe& p) {
    Parameters<double> grad = Parameters<double>::Zero(p.theta.size());
    AddTo<double> sink(grad);
    const EdgeSignals<double> u = p.signals();
    p.edge->add_products({&u, 1}, sink);
    const Parameters<double> v = random_parameters(p.random, p.theta.size(), 1);
    const Parameters<double> up = p.theta + step * v, down = p.theta - step * v;
    const double slope = (phi(p.g, p.kind, up.data(), p.source, p.target) -
                          phi(p.g, p.kind, down.data(), p.source, p.target))
                             .sum() /
                         (2 * step);
    EXPECT_NEAR(grad.dot(v), slope, 1e-7 * (1 + std::abs(slope)));
  });
}

/// Tangents are derivatives of the pulls, and their matrix is symmetric: <a, J b> = <b, J a>.
TEST(ImageEdge, HasASymmetricJacobian) {
  for_each_edge([](Probe& p) {
    const auto apply = [&](const State<double>& source, const State<double>& target) {
      const EdgeSignals<double> v{{1.0, source}, {1.0, target}};
      std::pair<State<double>, State<double>> out{State<double>::Zero(p.source.rows(), 2),
                                                  State<double>::Zero(p.target.rows(), 2)};
      p.edge->tangent_pull(End::source, Op::none, p.signals(), v, out.first);
      p.edge->tangent_pull(End::target, Op::none, p.signals(), v, out.second);
      return out;
    };
    const State<double> a = random_state(p.random, p.source.rows(), 2),
                        b = random_state(p.random, p.target.rows(), 2),
                        c = random_state(p.random, p.source.rows(), 2),
                        d = random_state(p.random, p.target.rows(), 2);
    const auto [ja, jb] = apply(a, b);
    const auto [jc, jd] = apply(c, d);
    const PerSample<double> left = inner<double>(c, ja) + inner<double>(d, jb),
                            right = inner<double>(a, jc) + inner<double>(b, jd);
    EXPECT_LT((left - right).abs().maxCoeff(), rounding * (1 + left.abs().maxCoeff()));
    if (p.kind != Kind::soft) {  // homogeneous: the pulls are their own tangents
      const auto [source, target] = apply(p.source, p.target);
      State<double> pull = State<double>::Zero(p.target.rows(), 2);
      p.edge->pull(End::target, p.signals(), pull);
      expect_close(target, pull, rounding, "target");
    }
  });
}

/// A sink that only measures gets a bound of the derivative.
TEST(ImageEdge, GivesABoundOfTheDerivative) {
  for_each_edge([](Probe& p) {
    Parameters<double> grad = Parameters<double>::Zero(p.theta.size());
    AddTo<double> sum(grad);
    Bound<double> bound(nullptr, 0);
    const EdgeSignals<double> u = p.signals();
    p.edge->add_products({&u, 1}, sum);
    p.edge->add_products({&u, 1}, bound);
    EXPECT_GE(bound.value() * (1 + rounding), grad.cwiseAbs().maxCoeff());
  });
}

HopfieldNetwork<double> network(std::uint64_t seed, Kind kind, ImageFormat format) {
  const Geometry g(seed);
  HopfieldNetwork<double> net(Topology({{"x", g.from}, {"h", g.to}, {"y", 3, linear()}},
                                       {coupling_of(g, kind, 0, 1), Dense{1, 2}},
                                       Potential::legendre, Feedback::tied, format));
  net.initialize(seed);
  return net;
}

TEST(ImageNetwork, ConvertsTheOrderOfInputsAndOfTheirDerivatives) {
  for (const Kind kind : {Kind::mean, Kind::max, Kind::soft}) {
    const auto last = network(3, kind, ImageFormat::channels_last);
    const auto first = network(3, kind, ImageFormat::channels_first);
    const Shape shape = last.topology().layers().front().shape;
    Random random(1);
    const State<double> x = random_state(random, shape.units(), 2);
    const auto turned = [&](const State<double>& images) {
      State<double> out(images.rows(), images.cols());
      for (Index n = 0; n < images.cols(); ++n)
        for (Index c = 0; c < shape.channels; ++c)
          for (Index at = 0; at < shape.positions(); ++at)
            out(c * shape.positions() + at, n) = images(at * shape.channels + c, n);
      return out;
    };
    const auto a = last.clamp(x), b = first.clamp(turned(x));
    const State<double> s = random_state(random, a.num_units(), 2);
    State<double> of_a(s.rows(), 2), of_b(s.rows(), 2);
    AnyEnergy<double>(a).gradient(s, of_a);
    AnyEnergy<double>(b).gradient(s, of_b);
    expect_identical(of_a, of_b, "dE/ds");
    State<double> in_a = State<double>::Zero(x.rows(), 2), in_b = in_a;
    AnyEnergy<double>(a).input_gradient(s, 1, in_a);
    AnyEnergy<double>(b).input_gradient(s, 1, in_b);
    expect_identical(turned(in_a), in_b, "dE/dx");
  }
}

TEST(ImageNetwork, IsSavedWithItsGeometry) {
  for (const Kind kind : {Kind::mean, Kind::max, Kind::soft}) {
    const auto net = network(4, kind, ImageFormat::channels_first);
    const auto path =
        std::filesystem::temp_directory_path() / ("images_" + std::to_string(::getpid()));
    save(net, path);
    const auto read = load<double>(path);
    std::filesystem::remove(path);
    EXPECT_EQ(describe(read), describe(net));
    expect_identical(read.parameters(), net.parameters(), "parameters");
  }
}

std::string refusal(const Shape& from, const Shape& to, const Coupling& coupling) {
  try {
    Topology({{"x", from}, {"y", to}}, {coupling}, Potential::legendre);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ImageNetwork, RefusesAGeometryThatDoesNotFit) {
  const Shape image(2, 6, 5);
  const auto convolution = [](const Windows& windows, Index pool = 1) {
    return Coupling(Convolution{0, 1, windows, pool});
  };
  EXPECT_EQ(refusal(image, {3, 4, 4}, convolution({{3, 3}})),
            "[Convolution] The target has the size of the result, 4 x 3. Received 4 x 4.");
  EXPECT_EQ(refusal(image, {3, 1, 1}, convolution({{7, 3}})),
            "[Convolution] The kernel and a pooling window fit into the source image. Received 7 x "
            "3 pooled by 1 for an image of 6 x 5.");
  EXPECT_NE(refusal(image, {3, 4, 3}, convolution({{3, 3}, {0, 1}})).find("The stride"),
            std::string::npos);
  EXPECT_NE(refusal(image, {3, 4, 3}, convolution({{3, 3}, {1, 1}, {0, 0}, {1, 1}, 2}))
                .find("The number of groups divides"),
            std::string::npos);
  EXPECT_NE(refusal(image, {3, 4, 3}, convolution({{3, 3}}, 17)).find("Pooling windows"),
            std::string::npos);
  EXPECT_EQ(
      refusal({3, 3, 2}, image, Coupling(MaxPooled{1, 0, {{1, 1}}, 2})),
      "[MaxPooled] The target of a pooled coupling is a free layer; a Convolution can have the "
      "input as its target. Received 1 -> 0.");
  EXPECT_NE(refusal({3, 3, 2}, image, Coupling(SoftPooled{1, 0, {{1, 1}}, 2, 1}))
                .find("[SoftPooled] The target of a pooled coupling is a free layer"),
            std::string::npos);
  EXPECT_NE(refusal(image, {2, 3, 2}, Coupling(SoftPooled{0, 1, {{1, 1}}, 2, 0}))
                .find("The sharpness is positive and at most 2^20"),
            std::string::npos);
  EXPECT_EQ(refusal(image, {3, 4, 3}, convolution({{3, 3}})), "accepted");
}

}  // namespace
}  // namespace equiprop::tests
