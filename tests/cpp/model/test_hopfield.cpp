/// The Hopfield energy against its formula, and the network that owns the parameters.

#include "support.hpp"

namespace equiprop::tests {
namespace {

/// Returns the energy by its formula, term by term, without products of the library.
double naive_energy(const HopfieldNetwork<double>& network, const State<double>& x,
                    const State<double>& s, Index sample) {
  const Topology& topology = network.topology();
  const Parameters<double>& theta = network.parameters();
  const bool quadratic = topology.potential() == Potential::quadratic;
  const auto state = [&](std::size_t layer, Index i) {
    return layer == 0 ? x(i, sample) : s(topology.state()[layer - 1].offset + i, sample);
  };
  const auto signal = [&](std::size_t layer, Index i) {
    const double v = state(layer, i);
    if (layer == 0 || !quadratic) return v;
    const Activation& rho = topology.layers()[layer].activation;
    if (const auto* clip = std::get_if<Clip>(&rho)) return clip->gain * v;  // the box clips
    return std::visit([&](const auto& chosen) { return chosen.value(v); }, rho);
  };
  double energy = 0;
  for (std::size_t k = 1; k < topology.layers().size(); ++k)
    for (Index i = 0; i < topology.layers()[k].shape.units(); ++i) {
      const double v = state(k, i);
      energy += quadratic ? v * v / 2
                          : std::visit([&](const auto& rho) { return rho.potential(v); },
                                       topology.layers()[k].activation);
      energy -= theta(topology.bias(k - 1).offset + i) * signal(k, i);
    }
  for (std::size_t e = 0; e < topology.couplings().size(); ++e) {
    const auto source = static_cast<std::size_t>(topology.couplings()[e].source());
    const auto target = static_cast<std::size_t>(topology.couplings()[e].target());
    const Index targets = topology.layers()[target].shape.units();
    const auto* identity = topology.couplings()[e].as<Identity>();
    const auto weight = [&](Index i, Index j) {
      if (identity != nullptr) return i == j ? identity->gain : 0;
      if (source == target && i == j) return 0.0;
      return (source == target ? 0.5 : 1) * theta(topology.weights(e).offset + i * targets + j);
    };
    for (Index i = 0; i < topology.layers()[source].shape.units(); ++i)
      for (Index j = 0; j < targets; ++j)
        energy -= signal(source, i) * weight(i, j) * signal(target, j);
  }
  return energy;
}

struct Probe {
  explicit Probe(const Case& c) : network(make_network(c)) {}

  State<double> random_input(Index batch) {
    return random_state(random, network.topology().num_inputs(), batch);
  }

  HopfieldNetwork<double> network;
  Random random{3};
};

TEST(Hopfield, EnergyIsItsFormula) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> x = probe.random_input(3),
                        s = interior_state(probe.network, probe.random, 3);
    PerSample<double> actual(3);
    probe.network.clamp(x).energy(s, actual);
    for (Index j = 0; j < 3; ++j)
      EXPECT_NEAR(actual(j), naive_energy(probe.network, x, s, j), 10 * rounding);
  });
}

TEST(Hopfield, FloatAgreesWithDouble) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> x = probe.random_input(2),
                        s = interior_state(probe.network, probe.random, 2);
    const HopfieldNetwork<float> single = probe.network.cast<float>();
    State<double> expected(s.rows(), 2);
    State<float> actual(s.rows(), 2);
    probe.network.clamp(x).hessian_vector_product(s, s, expected);
    single.clamp(x.cast<float>()).hessian_vector_product(s.cast<float>(), s.cast<float>(), actual);
    // Near the ends of rho's range, a state loses digits in 1 / (1 - r^2).
    expect_close(actual.cast<double>(), expected, 1e-4, "Hessian");
    PerSample<double> e(2);
    PerSample<float> f(2);
    probe.network.clamp(x).energy(s, e);
    single.clamp(x.cast<float>()).energy(s.cast<float>(), f);
    expect_close(f.cast<double>().matrix(), e.matrix(), 1e-5, "energy");
  });
}

TEST(Hopfield, ComplexGradientIsHolomorphic) {
  for_each<Probe>(is_smooth, [](Probe& probe) {
    const auto energy = probe.network.clamp_as<Complex>(probe.random_input(2));
    const State<Complex> s = interior_state(probe.network, probe.random, 2).cast<Complex>();
    const State<Complex> v = random_state(probe.random, s.rows(), 2).cast<Complex>();
    // Off the real axis a conjugation anywhere would make both directions disagree.
    const State<Complex> at = s + Complex(0, 0.1) * v;
    State<Complex> hv(s.rows(), 2), hiv(s.rows(), 2);
    energy.hessian_vector_product(at, v, hv);
    energy.hessian_vector_product(at, Complex(0, 1) * v, hiv);
    EXPECT_LE((hiv - Complex(0, 1) * hv).cwiseAbs().maxCoeff(), rounding);
    const double h = 1e-6;  // central differences: the error is h^2 / 6 times the third derivative
    for (const Complex direction : {Complex(h, 0), Complex(0, h)}) {
      State<Complex> plus(s.rows(), 2), minus(s.rows(), 2);
      energy.gradient(at + direction * v, plus);
      energy.gradient(at - direction * v, minus);
      const State<Complex> slope = (plus - minus) / (2.0 * direction);
      EXPECT_LE((slope - hv).cwiseAbs().maxCoeff(), 1e-7 * (1 + hv.cwiseAbs().maxCoeff()));
    }
  });
}

TEST(Hopfield, AFreshNetworkStartsAtTheResponseToNoDrive) {
  const auto has_no_identity = [](const Case& c) { return !has_couplings_within(c); };
  for_each<Probe>(has_no_identity, [](Probe& probe) {
    HopfieldNetwork<double> silent(probe.network.topology().layers(),
                                   probe.network.topology().couplings(),
                                   probe.network.topology().potential());
    const State<double> start = silent.initial_state(2);
    const auto energy = silent.clamp(State<double>::Zero(silent.topology().num_inputs(), 2));
    State<double> image(start.rows(), 2);
    energy.fixed_point_map(start, {}, image);
    expect_close(image, start, rounding, "T(initial_state) without parameters");
  });
}

TEST(Hopfield, InputActsThroughTheDriveAlone) {
  for_each<Probe>(is_any, [](Probe& probe) {
    // E is linear in the drive: if x is moved into the biases, the energy does not change.
    const State<double> x = probe.random_input(1),
                        s = interior_state(probe.network, probe.random, 1);
    HopfieldNetwork<double> moved(probe.network.topology().layers(),
                                  probe.network.topology().couplings(),
                                  probe.network.topology().potential());
    moved.parameters() = probe.network.parameters();
    const Topology& topology = probe.network.topology();
    for (const auto e : topology.from_input()) {
      const Block& w = topology.weights(e);
      const auto target = static_cast<std::size_t>(topology.couplings()[e].target()) - 1;
      if (const auto* identity = topology.couplings()[e].as<Identity>()) {
        moved.parameters().segment(topology.bias(target).offset, x.rows()) += identity->gain * x;
        continue;
      }
      const Eigen::Map<const State<double>> weights(probe.network.parameters().data() + w.offset,
                                                    w.rows, w.columns);
      moved.parameters().segment(topology.bias(target).offset, w.rows) += weights * x;
    }
    PerSample<double> a(1), b(1);
    probe.network.clamp(x).energy(s, a);
    moved.clamp(State<double>::Zero(x.rows(), 1)).energy(s, b);
    EXPECT_NEAR(a(0), b(0), 10 * rounding);
  });
}

TEST(HopfieldNetwork, InitializesTheSameNumbersInEveryScalar) {
  for (const Case& c : zoo()) {
    HopfieldNetwork<double> wide(c.layers, c.couplings, c.potential);
    HopfieldNetwork<float> narrow(c.layers, c.couplings, c.potential);
    wide.initialize(5, 0.7);
    narrow.initialize(5, 0.7);
    expect_identical(narrow.parameters().cast<double>(),
                     wide.parameters().cast<float>().cast<double>(), "rounded once");
  }
}

TEST(HopfieldNetwork, InitializesWithinTheGlorotBoundAndBySeed) {
  HopfieldNetwork<double> network({{"x", 40}, {"y", 60}}, chain(2));
  network.initialize(1, 2);
  const double limit = 2 * std::sqrt(6.0 / 100);
  const auto weights = network.parameters().head(2400);
  EXPECT_LE(weights.cwiseAbs().maxCoeff(), limit);
  EXPECT_GE(weights.cwiseAbs().maxCoeff(), 0.99 * limit);
  // The mean of n numbers uniform on +-limit has standard deviation limit / sqrt(3 n).
  EXPECT_LE(std::abs(weights.mean()), 5 * limit / std::sqrt(3 * 2400.0));
  EXPECT_TRUE((network.parameters().tail(60).array() == 0).all());
  const Parameters<double> first = network.parameters();
  network.initialize(2, 2);
  EXPECT_FALSE((network.parameters().head(2400).array() == first.head(2400).array()).any());
  network.initialize(1, 2);
  expect_identical(network.parameters(), first, "the same seed");
  EXPECT_THROW(network.initialize(1, -1), InvalidArgument);
}

TEST(HopfieldNetwork, CastCopiesParametersAndKeepsTheGraph) {
  const Case c = zoo().back();
  const auto network = make_network(c);
  auto other = network.cast<float>();
  for (Index i = 0; i < network.parameters().size(); ++i)
    EXPECT_EQ(other.parameters()(i), static_cast<float>(network.parameters()(i)));
  EXPECT_EQ(other.topology().potential(), network.topology().potential());
  EXPECT_EQ(other.topology().couplings().size(), network.topology().couplings().size());
  const double before = network.parameters()(0);
  other.parameters()(0) = static_cast<float>(before + 1);
  EXPECT_EQ(network.parameters()(0), before);
}

TEST(HopfieldNetwork, AnEnergyOutlivesItsNetwork) {
  const Case& c = zoo().front();
  const State<double> s = State<double>::Constant(1, 1, 0.5);
  PerSample<double> before(1), after(1);
  auto network = std::make_unique<HopfieldNetwork<double>>(make_network(c));
  const auto energy = network->clamp(State<double>::Ones(1, 1));
  energy.energy(s, before);
  network.reset();
  energy.energy(s, after);
  EXPECT_EQ(before(0), after(0));
}

/// One entry of each block is not finite, also where the input is 0.
template <class S, class Clamp>
void expect_finite_parameters_only(HopfieldNetwork<S>& network, const Clamp& clamp) {
  const Index inputs = network.topology().num_inputs();
  for (const Block& block : network.topology().parameters().blocks())
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL})
      for (const double x : {0.0, 0.5}) {
        const Index place = block.offset + block.size() - 1;
        const S before = std::exchange(network.parameters()(place), S(static_cast<RealOf<S>>(bad)));
        try {
          clamp(network, State<S>::Constant(inputs, 3, S(static_cast<RealOf<S>>(x))));
          ADD_FAILURE() << block.name << " = " << bad;
        } catch (const InvalidArgument& error) {
          EXPECT_NE(std::string(error.what()).find("Received NaN or infinity in " + block.name),
                    std::string::npos)
              << error.what();
        }
        network.parameters()(place) = before;
      }
}

TEST(HopfieldNetwork, RefusesToClampParametersThatAreNotFinite) {
  const auto clamp = [](const auto& network, const auto& x) { network.clamp(x); };
  for (const auto* cases : {&zoo(), &fields()})
    for_each_of<Probe>(*cases, is_any, [&](Probe& probe) {
      expect_finite_parameters_only(probe.network, clamp);
      expect_finite_parameters_only(probe.network, [](const auto& network, const auto& x) {
        network.template clamp_as<D>(x);
      });
      auto narrow = probe.network.cast<float>();
      expect_finite_parameters_only(narrow, clamp);
      expect_finite_parameters_only(probe.network, [](const auto& network, const auto& x) {
        network.template clamp_as<Complex>(x);
      });
    });
}

TEST(HopfieldNetwork, ReclampsOnceItsParametersAreFiniteAgain) {
  auto network = make_network(zoo().back());
  const State<double> x = State<double>::Ones(network.topology().num_inputs(), 3);
  const State<double> s = network.initial_state(3);
  State<double> expected(s.rows(), 3), actual(s.rows(), 3);
  auto energy = network.clamp(x);
  energy.gradient(s, expected);
  const double before = std::exchange(network.parameters()(0), HUGE_VAL);
  EXPECT_THROW(energy.reclamp(x), InvalidArgument);
  network.parameters()(0) = before;
  energy.reclamp(x);
  energy.gradient(s, actual);
  expect_identical(actual, expected, "gradient");
}

/// If the drive overflows although all parameters are finite, clamping succeeds and the relaxation reports the samples
/// that diverge.
TEST(HopfieldNetwork, ClampsFiniteParametersWhoseDriveOverflows) {
  auto network = make_network(zoo().back());
  network.parameters().setConstant(1e300);
  EXPECT_NO_THROW(
      network.clamp(State<double>::Constant(network.topology().num_inputs(), 2, 1e300)));
}

TEST(HopfieldNetwork, RefusesAnInputOfAnotherWidth) {
  const auto network = make_network(zoo().front());
  EXPECT_THROW(network.clamp(State<double>::Zero(2, 3)), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
