/// The maps of the Hopfield energy that solvers use: fixed-point map, mobility, block updates.

#include "support.hpp"

namespace equiprop::tests {
namespace {

State<double> gradient(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.gradient(s, out);
  return out;
}

State<double> image(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.fixed_point_map(s, {}, out);
  return out;
}

PerSample<double> energies(const AnyEnergy<double>& energy, const State<double>& s) {
  PerSample<double> out(s.cols());
  energy.energy(s, out);
  return out;
}

/// Returns the projected gradient at s: -dE/ds, but 0 where it points out of the box.
State<double> descent(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> moved = s - gradient(energy, s);
  energy.project(moved);
  return moved - s;
}

bool has_exact_clipped_outputs(const Case& c) {
  return std::holds_alternative<Clip>(c.layers.back().activation) && !has_couplings_within(c);
}
bool is_legendre(const Case& c) {
  return c.potential == Potential::legendre;
}
bool is_quadratic(const Case& c) {
  return !is_legendre(c);
}

/// Returns a network with all parameters multiplied by `scale`.
HopfieldNetwork<double> scaled_network(const Case& c, double scale) {
  HopfieldNetwork<double> network = make_network(c);
  network.parameters() *= scale;
  return network;
}

struct Probe {
  explicit Probe(const Case& c_, double scale = 1) : c(c_), network(scaled_network(c_, scale)) {}

  State<double> start() {
    State<double> s = interior_state(network, random, batch);
    energy.project(s);
    return s;
  }
  AnyEnergy<double> nudged(double beta) {
    const State<double> y = random_state(random, topology.num_outputs(), batch);
    return TotalEnergy<double>(energy, SquaredError<double>(y), beta);
  }
  /// Returns the rows of one block of layers.
  State<double> rows_of(const State<double>& a, std::size_t block) const {
    State<double> out(0, a.cols());
    for (const auto k : topology.blocks()[block]) {
      const Block& layer = topology.state()[k];
      out.conservativeResize(out.rows() + layer.rows, Eigen::NoChange);
      out.bottomRows(layer.rows) = a.middleRows(layer.offset, layer.rows);
    }
    return out;
  }
  /// Each update is the exact minimiser over its block, measures its own change, and does not change the other blocks.
  /// The blocks are updated in turn, starting with the network's block `first`.
  void check_minimises(const AnyEnergy<double>& energy, Index first = 0) {
    State<double> s = start();
    for (Index block = 0; block < energy.num_blocks(); ++block) {
      const State<double> before = s;
      PerSample<double> change = PerSample<double>::Zero(batch), moved(batch);
      energy.block_update(block, {}, s, &change);
      max_difference<double>(s, before, moved);
      EXPECT_TRUE((change == moved).all());
      const auto b = static_cast<std::size_t>((first + block) % energy.num_blocks());
      // Near the ends of its range the inverse of rho loses digits.
      expect_close(rows_of(descent(energy, s), b), 0 * rows_of(s, b), 100 * rounding,
                   "descent left in the block");
      for (std::size_t other = 0; other < topology.blocks().size(); ++other)
        if (other != b)
          expect_identical(rows_of(s, other), rows_of(before, other), "another block");
    }
  }
  void check_descends(const AnyEnergy<double>& energy) {
    State<double> s = start();
    PerSample<double> before = energies(energy, s);
    for (int sweep = 0; sweep < 5; ++sweep)
      for (Index block = 0; block < energy.num_blocks(); ++block) {
        energy.block_update(block, {}, s);
        const PerSample<double> after = energies(energy, s);
        EXPECT_TRUE((after <= before + rounding * (1 + before.abs())).all());
        before = after;
      }
  }

  /// Compares the residuals before and after sweeps. Returns true if the energy has a residual in one pass.
  bool check_residual(const AnyEnergy<double>& energy) {
    State<double> s = start();
    PerSample<double> largest, expected(batch);
    bool measured = false;
    for (Index sweep = 0; sweep < 4; ++sweep) {
      max_difference<double>(image(energy, s), s, expected);
      for (const Index settled : {Index{-1}, sweep == 0 ? Index{-1} : energy.num_blocks() - 1}) {
        const OnePassResidual<double>* pass = energy.one_pass_residual();
        measured = pass != nullptr;
        if (!measured) continue;
        pass->residual(s, {}, settled, largest);
        EXPECT_TRUE((largest == expected).all()) << largest << " for " << expected;
      }
      for (Index block = 0; block < energy.num_blocks(); ++block) energy.block_update(block, {}, s);
    }
    return measured;
  }

  static constexpr Index batch = 3;
  const Case& c;
  const HopfieldNetwork<double> network;
  const Topology& topology = network.topology();
  Random random{4};
  const State<double> x = random_state(random, topology.num_inputs(), batch);
  const AnyEnergy<double> energy = network.clamp(x);
};

TEST(Updates, BlockUpdatesMinimiseExactlyWhereSignalsAreLinear) {
  for_each<Probe>(is_exact, [](Probe& probe) { probe.check_minimises(probe.energy); });
}

/// Repeated updates of one block end where its part of dE/ds is 0, after few steps from anywhere.
TEST(Updates, BlockUpdatesOfOtherSignalsConvergeLikeNewton) {
  const auto is_newton = [](const Case& c) { return is_quadratic(c) && !has_couplings_within(c); };
  for_each<Probe>(is_newton, [](Probe& probe) {
    State<double> s = probe.start();
    for (Index block = 0; block < probe.energy.num_blocks(); ++block) {
      for (int step = 0; step < 16; ++step) probe.energy.block_update(block, {}, s);
      const auto b = static_cast<std::size_t>(block);
      expect_close(probe.rows_of(descent(probe.energy, s), b), 0 * probe.rows_of(s, b),
                   100 * rounding, "descent left in the block");
    }
  });
}

/// A unit alone, E = s^2 / 2 - p rho(s), from anywhere and under any drive: with |p| large it has several minima and
/// regions of negative curvature.
TEST(Updates, ADescentNeverRaisesTheEnergyOfAUnitAndEndsAtAMinimum) {
  Random random(12);
  for (const auto& [name, activation] : activations()) {
    const Units units(activation, Potential::quadratic);
    if (units.signal_is_linear()) continue;
    const State<double> p = 6 * random_state(random, 1, 200),
                        start = 5 * random_state(random, 1, 200);
    State<double> s = start, u(1, 200), slope(1, 200), curvature(1, 200);
    const auto energy = [&] {
      units.signal<double>(s, u);
      return State<double>(s.array().square() / 2 - p.array() * u.array());
    };
    State<double> before = energy();
    for (int step = 0; step < 60; ++step) {
      units.descend<double>(p, u, nullptr, 0, s);
      const State<double> after = energy();
      EXPECT_TRUE((after.array() <= before.array() + rounding * (1 + before.array().abs())).all())
          << name;
      before = after;
    }
    units.signal_slope<double>(u, slope);
    units.signal_curvature<double>(u, curvature);
    expect_close(s, slope.cwiseProduct(p), 1e-12, name + ": dE/ds = 0");
    EXPECT_TRUE((1 - curvature.array() * p.array() > -1e-6).all()) << name;
  }
}

TEST(Updates, BlockUpdatesMinimiseTheNudgedEnergyExactlyOnClippedOutputs) {
  for_each<Probe>(has_exact_clipped_outputs, [](Probe& probe) {
    for (const double beta : {0.4, 5.0, -0.3})  // the block of the outputs is updated first
      probe.check_minimises(probe.nudged(beta), probe.energy.output_block());
  });
}

TEST(Updates, BlockUpdatesNeverRaiseTheEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    probe.check_descends(probe.energy);
    // The second derivative of a curved leak is at least 1 here, which exceeds |beta| < 1.
    for (const double beta : {0.4, -0.3}) probe.check_descends(probe.nudged(beta));
  });
}

/// All weights are so strong that undamped updates of layers with couplings within raise the energy.
TEST(Updates, StrongCouplingsWithinALayerNeverRaiseTheEnergy) {
  for (const Case& c : zoo()) {
    if (!has_couplings_within(c)) continue;
    SCOPED_TRACE(c.name);
    for (const double scale : {4.0, 30.0}) {
      Probe probe(c, scale);
      probe.check_descends(probe.energy);
      for (const double beta : {0.4, -0.3}) probe.check_descends(probe.nudged(beta));
    }
  }
}

TEST(Updates, BlockUpdatesUnderCrossEntropyNeverRaiseTheEnergy) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> y = State<double>::Zero(probe.topology.num_outputs(), probe.batch);
    y.row(0).setOnes();
    probe.check_descends(TotalEnergy<double>(probe.energy, CrossEntropy<double>(y), 0.7));
  });
}

/// T minimises over each layer with the others fixed, for all layers at the same time.
TEST(Updates, ABlockUpdateIsThatBlockOfTheFixedPointMapWhereSignalsAreLinear) {
  for_each<Probe>(is_exact, [](Probe& probe) {
    const State<double> before = probe.start();
    for (Index block = 0; block < probe.energy.num_blocks(); ++block) {
      State<double> s = before;
      probe.energy.block_update(block, {}, s);
      const auto b = static_cast<std::size_t>(block);
      expect_close(probe.rows_of(s, b), probe.rows_of(image(probe.energy, before), b), rounding,
                   "T on the block");
    }
  });
}

/// The residual of the block that was updated last is exactly 0, so it may be skipped.
TEST(Updates, TheResidualInOnePassIsThatOfTheMap) {
  int measured = 0;
  for_each<Probe>(is_any, [&](Probe& probe) {
    measured += probe.check_residual(probe.energy) ? 1 : 0;
    for (const double beta : {0.4, -0.3}) probe.check_residual(probe.nudged(beta));
  });
  EXPECT_GT(measured, 0);
}

/// A layer with `neighbours` neighbours of `width` units each, whose pulls one kernel call computes: the change and the
/// residual are those of the complete sum, and the sum is that of the dense products.
template <class S>
void check_neighbours(Index neighbours, Index width, Index units) {
  std::vector<Layer> layers{{"x", 2}};
  std::vector<Coupling> couplings;
  for (Index k = 1; k <= neighbours; ++k) {
    layers.push_back({"hidden" + std::to_string(k), width, linear()});
    couplings.insert(couplings.end(), {{0, k}, {k, neighbours + 1}});
  }
  layers.push_back({"y", units, linear()});
  HopfieldNetwork<S> network(layers, couplings);
  network.initialize(3);
  Random random(3);
  const Topology& topology = network.topology();
  const AnyEnergy<S> energy = network.clamp(random_state(random, 2, 3).template cast<S>());
  const State<S> before = random_state(random, topology.state().size(), 3).template cast<S>();
  State<S> s = before, image(before.rows(), 3);
  PerSample<S> change = PerSample<S>::Zero(3), moved(3), residual(3);
  ASSERT_NE(energy.one_pass_residual(), nullptr);
  energy.one_pass_residual()->residual(s, {}, -1, residual);
  energy.fixed_point_map(s, {}, image);
  max_difference<S>(image, s, moved);
  EXPECT_TRUE((residual == moved).all()) << residual << " for " << moved;
  energy.block_update(energy.output_block(), {}, s, &change);
  max_difference<S>(s, before, moved);
  EXPECT_TRUE((change == moved).all()) << change << " for " << moved;
  State<double> expected = State<double>::Zero(units, 3);
  for (Index k = 0; k < neighbours; ++k) {
    const Block& w = topology.weights(static_cast<std::size_t>(2 * k + 1));
    const Eigen::Map<const State<S>> weights(network.parameters().data() + w.offset, w.rows,
                                             w.columns);
    expected += weights.template cast<double>() *
                before.middleRows(k * width, width).template cast<double>();
  }
  expect_close(s.bottomRows(units).template cast<double>(), expected,
               100 * std::numeric_limits<S>::epsilon(), "the sum of all pulls");
}

TEST(Updates, ALayerMayHaveAnyNumberOfNeighbours) {
  for (const Index neighbours : {1, 3, 4, 5, 6, 9, 12})
    for (const auto& [width, units] : {std::pair<Index, Index>{3, 2}, {40, 3}, {8, 21}}) {
      SCOPED_TRACE(std::to_string(neighbours) + " neighbours of " + std::to_string(width));
      check_neighbours<double>(neighbours, width, units);
      check_neighbours<float>(neighbours, width, units);
    }
}

/// If the leak is quadratic, T(s) - s is the projected gradient step.
TEST(Updates, TheResidualOfAQuadraticLeakIsTheProjectedGradient) {
  for_each<Probe>(is_quadratic, [](Probe& probe) {
    const State<double> s = probe.start();
    expect_close(image(probe.energy, s) - s, descent(probe.energy, s), rounding, "T(s) - s");
  });
}

TEST(Updates, FixedPointsOfTheMapAreStationary) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> s = fixed_point(probe.energy, probe.network.initial_state(probe.batch));
    expect_close(descent(probe.energy, s), 0 * s, 100 * rounding, "descent at the fixed point");
  });
}

/// A bias acts on a Legendre unit like a force, so hidden layers can be checked too.
TEST(Updates, MobilityIsTheResponseToABias) {
  for_each<Probe>(is_legendre, [](Probe& probe) {
    const State<double> s = probe.start();
    Parameters<D> theta = probe.network.parameters().cast<D>();
    for (std::size_t k = 0; k < probe.topology.num_free(); ++k)
      for (Index i = 0; i < probe.topology.bias(k).rows; ++i)
        theta(probe.topology.bias(k).offset + i).derivative = 1;
    State<D> out(s.rows(), probe.batch);
    make_family(probe.network, probe.x)
        .on_dual(theta, probe.x.cast<D>())
        .fixed_point_map(s.cast<D>(), {}, out);
    State<double> mobility(s.rows(), probe.batch);
    probe.energy.mobility(s, {}, mobility);
    expect_close(mobility, derivative(out), rounding, "mobility = dT/db");
  });
}

TEST(Updates, ProjectionPutsEachUnitBetweenItsBounds) {
  for_each<Probe>(is_any, [](Probe& probe) {
    State<double> s = random_state(probe.random, probe.topology.state().size(), 4, 5),
                  projected = s;
    probe.energy.project(projected);
    for (std::size_t k = 0; k < probe.topology.num_free(); ++k) {
      const auto* clip = std::get_if<Clip>(&probe.topology.layers()[k + 1].activation);
      const Block& block = probe.topology.state()[k];
      const bool scaled = probe.c.potential == Potential::quadratic;
      for (Index i = block.offset; i < block.offset + block.rows; ++i)
        for (Index j = 0; j < 4; ++j) {
          const double gain = clip != nullptr && scaled ? clip->gain : 1;
          const double expected = clip == nullptr
                                      ? s(i, j)
                                      : std::clamp(s(i, j), clip->lower / gain, clip->upper / gain);
          EXPECT_EQ(projected(i, j), expected);
        }
    }
  });
}

}  // namespace
}  // namespace equiprop::tests
