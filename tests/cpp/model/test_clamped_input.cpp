/// A clamped input, its drive, and selections of its samples.

#include "support.hpp"

namespace equiprop::tests {
namespace {

struct Probe {
  explicit Probe(const Case& c)
      : network(make_network(c)),
        x(random_state(random, network.topology().num_inputs(), batch)),
        input(clamped(x)) {}

  ClampedInput<double> clamped(const State<double>& at) const {
    return {std::make_shared<BoundNetwork<double>>(
                std::make_shared<const Topology>(network.topology()),
                std::shared_ptr<const Parameters<double>>(&network.parameters(), [](auto*) {})),
            at};
  }
  /// Returns bias + the sum of W x over the couplings from the input, by dense algebra.
  State<double> drive_of(const State<double>& at) const {
    const Topology& topology = network.topology();
    State<double> out(topology.state().size(), at.cols());
    const auto rows = [&](std::size_t k) {
      return out.middleRows(topology.state()[k].offset, topology.state()[k].rows);
    };
    for (std::size_t k = 0; k < topology.num_free(); ++k)
      rows(k).colwise() =
          network.parameters().segment(topology.bias(k).offset, topology.bias(k).rows);
    for (const auto e : topology.from_input()) {
      const Block& w = topology.weights(e);
      if (const auto* identity = topology.couplings()[e].as<Identity>()) {
        rows(static_cast<std::size_t>(identity->target) - 1) += identity->gain * at;
        continue;
      }
      rows(static_cast<std::size_t>(topology.couplings()[e].target()) - 1) +=
          Eigen::Map<const State<double>>(network.parameters().data() + w.offset, w.rows,
                                          w.columns) *
          at;
    }
    return out;
  }
  void expect_holds(const ClampedInput<double>& some, const State<double>& at,
                    const std::string& what) const {
    State<double> scratch;
    EXPECT_EQ(some.batch(), at.cols()) << what;
    expect_identical(some.x(scratch), at, what + ", x");
    expect_close(some.drive(), drive_of(at), rounding, what + ", drive");
  }

  static constexpr Index batch = 5;
  HopfieldNetwork<double> network;
  Random random{47};
  const State<double> x;
  ClampedInput<double> input;
};

const std::vector<std::vector<Index>> ranges{{1, 2, 3}, {0}, {}, {0, 1, 2, 3, 4}};
const std::vector<std::vector<Index>> choices{{3, 1}, {4, 4, 0}, {0, 2, 4}};

TEST(ClampedInput, HasTheDriveOfDenseAlgebra) {
  for_each<Probe>(is_any, [](Probe& probe) {
    probe.expect_holds(probe.input, probe.x, "all");
    EXPECT_EQ(probe.input.largest_size(), probe.x.cwiseAbs().maxCoeff());
  });
}

TEST(ClampedInput, SelectsRangesAndChoices) {
  for_each<Probe>(is_any, [](Probe& probe) {
    for (const auto* kind : {&ranges, &choices})
      for (const std::vector<Index>& which : *kind)
        probe.expect_holds(probe.input.select(which), columns_of<double>(probe.x, which), "some");
    // Selections of a selection, then a range: indices count within the selection.
    const std::vector<Index> first{4, 0, 2, 3}, again{2, 0}, range{1, 2};
    const ClampedInput<double> some = probe.input.select(first);
    const State<double> at = columns_of<double>(probe.x, first);
    probe.expect_holds(some.select(again), columns_of<double>(at, again), "a choice of a choice");
    probe.expect_holds(some.select(range), columns_of<double>(at, range), "a range of a choice");
    probe.expect_holds(
        probe.input.select(range).select(again.back() == 0 ? Samples(&again[1], 1) : Samples()),
        probe.x.col(1), "a choice of a range");
  });
}

/// Ranges share the memory of the whole: they see the next input, whose drive is computed once.
TEST(ClampedInput, ReclampsWhatSharesItsMemory) {
  for_each<Probe>(is_any, [](Probe& probe) {
    const State<double> next = random_state(probe.random, probe.x.rows(), Probe::batch);
    const ClampedInput<double> copy = probe.input;
    std::vector<ClampedInput<double>> parts;
    for (const std::vector<Index>& which : ranges) parts.push_back(probe.input.select(which));
    probe.network.parameters() *= 2;
    probe.input.reclamp(next);
    probe.expect_holds(copy, next, "a copy");
    for (std::size_t i = 0; i < ranges.size(); ++i)
      probe.expect_holds(parts[i], columns_of<double>(next, ranges[i]), "a range");
    EXPECT_EQ(probe.input.largest_size(), next.cwiseAbs().maxCoeff());
  });
}

TEST(ClampedInput, RefusesAnotherShapeAndParametersThatAreNotFinite) {
  Probe probe(zoo().back());
  const State<double> wide = State<double>::Zero(probe.x.rows() + 1, Probe::batch);
  EXPECT_THROW(probe.clamped(wide), InvalidArgument);
  EXPECT_THROW(probe.input.reclamp(wide), InvalidArgument);
  EXPECT_THROW(probe.input.reclamp(probe.x.leftCols(2)), InvalidArgument);
  probe.network.parameters()(0) = std::nan("");
  EXPECT_THROW(probe.input.reclamp(probe.x), InvalidArgument);
}

TEST(ClampedInput, KnowsOfANaNInTheInput) {
  Probe probe(zoo().back());
  State<double> x = probe.x;
  x(0, 2) = std::nan("");
  probe.input.reclamp(x);
  EXPECT_TRUE(std::isnan(probe.input.largest_size()));
}

}  // namespace
}  // namespace equiprop::tests
