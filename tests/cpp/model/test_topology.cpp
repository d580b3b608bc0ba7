/// The graph: which graphs are rejected, how layers are coloured, and where blocks are.

#include <set>

#include "support.hpp"

namespace equiprop::tests {
namespace {

using Layers = std::vector<Layer>;
using Couplings = std::vector<Coupling>;

Topology make(const Layers& layers, const Couplings& couplings) {
  return Topology(layers, couplings, Potential::legendre);
}

std::string refusal(const Layers& layers, const Couplings& couplings) {
  try {
    make(layers, couplings);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

Layers plain_layers(std::size_t count) {
  Layers layers;
  for (std::size_t k = 0; k < count; ++k)
    layers.push_back({"layer" + std::to_string(k), static_cast<Index>(k) + 2});
  return layers;
}

TEST(Topology, RefusesEveryBadGraphAndSaysWhatItReceived) {
  EXPECT_EQ(refusal({}, {}),
            "[Topology] A network has an input layer and at least one more. Received 0 layers.");
  EXPECT_EQ(refusal({{"x", 3}}, {}),
            "[Topology] A network has an input layer and at least one more. Received 1 layers.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", 0}}, {{0, 1}}),
            "[Topology] A layer has between 1 and 2^31 units. Received 0 in layer 'y'.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", -2}}, {{0, 1}}),
            "[Topology] A layer has between 1 and 2^31 units. Received -2 in layer 'y'.");
  EXPECT_EQ(refusal({{"x", 3}, {"x", 2}}, {{0, 1}}),
            "[Topology] Layer names are different. Received 'x' twice.");
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {1, 3}}),
            "[Topology] A coupling joins two layers of the network. Received 1 -> 3 among 3 "
            "layers.");
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {-1, 2}}),
            "[Topology] A coupling joins two layers of the network. Received -1 -> 2 among 3 "
            "layers.");
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {2, 2}}),
            "[Topology] Every layer is coupled to another. Received layer 'layer2' alone.");
  EXPECT_EQ(refusal(plain_layers(2), {{0, 1}, {0, 0}}),
            "[Topology] The input is clamped, so that no coupling within it acts. Received 0 -> 0, "
            "within layer 'layer0'.");
  EXPECT_EQ(refusal(plain_layers(2), {{0, 1}, Identity{1, 1}}),
            "[Topology] A coupling within a layer is dense, or a convolution without pooling. "
            "Received identity 1 -> 1, within layer 'layer1'.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", Shape(2, 6, 6)}}, {{0, 1}, MaxPooled{1, 1, {{3, 3}}, 2}}),
            "[Topology] A coupling within a layer is dense, or a convolution without pooling. "
            "Received max_pooled 1 -> 1, within layer 'y'.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", Shape(2, 6, 6)}},
                    {{0, 1}, Convolution{1, 1, {{3, 3}, {1, 1}, {1, 1}}, 2}}),
            "[Convolution] A convolution within a layer has the stride 1 and no pooling. Received "
            "stride 1 x 1, mean_pool 2.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", Shape(2, 6, 6)}}, {{0, 1}, Convolution{1, 1, {{3, 3}}}}),
            "[Convolution] The target has the size of the result, 4 x 4. Received 6 x 6.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", 4}}, {{0, 1}, Identity{0, 1}}),
            "[Identity] An identity coupling joins layers of one shape. Received 3 x 1 x 1 and 4 x "
            "1 x 1.");
  EXPECT_EQ(refusal({{"x", 3}, {"y", 3}}, {{0, 1}, Identity{0, 1, std::nan("")}}),
            "[Identity] The gain is a number between -2^20 and 2^20. Received nan.");
  const auto twice = [](const std::string& pair, const std::string& names) {
    return "[Topology] At most one dense coupling joins a pair of layers, in either direction: the "
           "sum of two is one. Received " +
           pair + ", a second one of layers " + names + ".";
  };
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {1, 2}, {1, 2}}),
            twice("1 -> 2", "'layer1' and 'layer2'"));
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {1, 2}, {2, 1}}),
            twice("2 -> 1", "'layer2' and 'layer1'"));
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {1, 2}, {0, 1}}),
            twice("0 -> 1", "'layer0' and 'layer1'"));
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}, {1, 2}, {1, 0}}),
            twice("1 -> 0", "'layer1' and 'layer0'"));
  EXPECT_EQ(refusal(plain_layers(3), {{0, 1}}),
            "[Topology] Every layer is coupled to another. Received layer 'layer2' alone.");
  EXPECT_EQ(refusal(plain_layers(3), {{1, 2}}),
            "[Topology] Every layer is coupled to another. Received layer 'layer0' alone.");
}

TEST(Topology, RefusesMoreParametersThanCanBeAddressed) {
  const Index huge = Index{1} << 20;
  EXPECT_NE(refusal({{"x", huge}, {"y", huge}}, {{0, 1}}).find("at most 2^38 parameters"),
            std::string::npos);
  const Index most = Index{1} << 31;  // two such matrices have 2^63 entries
  EXPECT_NE(refusal({{"x", most}, {"y", most}, {"z", most}}, chain(3)).find("at most 2^38"),
            std::string::npos);
}

TEST(Topology, ChainsAlternateBetweenTwoBlocks) {
  for (std::size_t layers = 2; layers < 9; ++layers) {
    const Topology topology = make(plain_layers(layers), chain(layers));
    EXPECT_EQ(topology.blocks().size(), std::min<std::size_t>(2, layers - 1));
    for (std::size_t block = 0; block < topology.blocks().size(); ++block)
      for (const auto k : topology.blocks()[block]) EXPECT_EQ(k % 2, block);
  }
}

/// Every free layer is in one block, and no block holds two coupled layers.
void check_colouring(const Topology& topology) {
  std::vector<std::size_t> block_of(topology.num_free(), topology.num_free());
  for (std::size_t block = 0; block < topology.blocks().size(); ++block)
    for (const auto k : topology.blocks()[block]) {
      EXPECT_EQ(block_of[k], topology.num_free()) << "layer " << k << " is in two blocks";
      block_of[k] = block;
    }
  for (const auto block : block_of) EXPECT_LT(block, topology.blocks().size());
  for (const Coupling& coupling : topology.couplings())
    if (coupling.source() > 0 && coupling.source() != coupling.target()) {
      EXPECT_NE(block_of[static_cast<std::size_t>(coupling.source()) - 1],
                block_of[static_cast<std::size_t>(coupling.target()) - 1]);
    }
}

TEST(Topology, NoTwoCoupledLayersShareABlock) {
  Random random(1);
  for (int trial = 0; trial < 50; ++trial) {
    const Index layers = 2 + static_cast<Index>(random.below(8));
    Couplings couplings = chain(static_cast<std::size_t>(layers));  // every layer is coupled
    for (Index a = 1; a < layers; ++a)
      if (random.below(2) == 0) couplings.push_back({a, a});
    for (Index a = 0; a < layers; ++a)
      for (Index b = a + 2; b < layers; ++b)
        if (random.below(2) == 0)
          couplings.push_back(random.below(2) ? Coupling(a, b) : Coupling(b, a));
    check_colouring(make(plain_layers(static_cast<std::size_t>(layers)), couplings));
  }
}

TEST(Topology, SplitsCouplingsByTheInputAndTurnsThoseThatEndThere) {
  const Topology topology = make(plain_layers(4), {{1, 0}, {1, 2}, {3, 2}, {0, 3}});
  EXPECT_EQ(topology.from_input(), (std::vector<std::size_t>{0, 3}));
  EXPECT_EQ(topology.inner(), (std::vector<std::size_t>{1, 2}));
  for (const auto e : topology.from_input()) EXPECT_EQ(topology.couplings()[e].source(), 0);
  EXPECT_EQ(topology.couplings()[2].source(), 3);
}

TEST(Topology, LaysOutWeightsThenBiasesWithoutGaps) {
  for (const Case& c : zoo()) {
    const Topology topology(c.layers, c.couplings, c.potential);
    Index offset = 0;
    for (std::size_t e = 0; e < topology.couplings().size(); ++e) {
      const Coupling& coupling = topology.couplings()[e];
      const Block& block = topology.weights(e);
      if (coupling.kind() == "identity") {
        EXPECT_EQ(block.size(), 0);
        continue;
      }
      EXPECT_EQ(block.name, "W" + std::to_string(e + 1));
      EXPECT_EQ(block.rows,
                topology.layers()[static_cast<std::size_t>(coupling.target())].shape.units());
      EXPECT_EQ(block.columns,
                topology.layers()[static_cast<std::size_t>(coupling.source())].shape.units());
      EXPECT_EQ(block.offset, offset);
      offset += block.size();
    }
    for (std::size_t k = 0; k < topology.num_free(); ++k) {
      EXPECT_EQ(topology.bias(k).name, "b" + std::to_string(k + 1));
      EXPECT_EQ(topology.bias(k).offset, offset);
      EXPECT_EQ(topology.bias(k).size(), topology.state()[k].size());
      offset += topology.bias(k).size();
    }
    EXPECT_EQ(topology.parameters().size(), offset);
  }
}

TEST(Topology, LaysSeparateFeedbackBetweenWeightsAndBiases) {
  const Topology topology({{"x", 2}, {"a", 3}, {"b", 3}, {"c", 5}},
                          {{0, 1}, {1, 2}, {3, 0}, {3, 2}, {1, 1}, Identity{1, 2}},
                          Potential::legendre, Feedback::separate);
  std::vector<std::string> names;
  Index offset = 0;
  for (const Block& block : topology.parameters().blocks()) {
    names.push_back(block.name);
    EXPECT_EQ(block.offset, offset);
    offset += block.size();
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"W1", "W2", "W3", "W4", "W5", "B2", "B4", "b1", "b2", "b3"}));
  EXPECT_EQ(topology.parameters().size(), offset);
  EXPECT_EQ(topology.feedback(), Feedback::separate);
  for (const auto e : topology.inner()) {
    const Block &forth = topology.weights(e), &back = topology.feedback_weights(e);
    if (forth.size() == 0) continue;  // the identity
    EXPECT_EQ(back.name.substr(1), forth.name.substr(1));
    EXPECT_EQ(std::pair(back.rows, back.columns), std::pair(forth.rows, forth.columns));
  }
  EXPECT_EQ(topology.bias(0).name, "b1");
  EXPECT_EQ(topology.bias(2).name, "b3");
}

TEST(Topology, TiedFeedbackHasNoWeightsOfItsOwn) {
  for (const Case& c : zoo()) {
    const Topology topology(c.layers, c.couplings, c.potential);
    EXPECT_EQ(topology.feedback(), Feedback::tied);
    for (const auto e : topology.inner())
      EXPECT_EQ(topology.feedback_weights(e).offset, topology.weights(e).offset);
  }
}

TEST(Topology, SignalsAreLinearUnlessALeakIsQuadraticAndAnActivationSmooth) {
  for (const Case& c : zoo()) {
    const Topology topology(c.layers, c.couplings, c.potential);
    EXPECT_EQ(topology.has_linear_signals(), has_linear_signals(c)) << c.name;
    EXPECT_EQ(topology.holomorphic(), is_smooth(c)) << c.name;
  }
}

}  // namespace
}  // namespace equiprop::tests
