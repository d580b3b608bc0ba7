/// Saved networks are loaded unchanged; invalid files are rejected before large memory is allocated.

#include <fstream>

#include "equiprop/model/checkpoint.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }

  std::string content() const {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  /// Returns the error of loading the file, or "loaded".
  std::string refusal() const {
    try {
      load<double>(path);
      return "loaded";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  }
  template <class S>
  void expect_to_come_back(const HopfieldNetwork<S>& network) const {
    save(network, path);
    const std::string saved = content();
    const HopfieldNetwork<S> copy = load<S>(path);
    EXPECT_EQ(describe(copy), describe(network));
    expect_identical(copy.parameters().template cast<double>(),
                     network.parameters().template cast<double>(), "parameters");
    save(copy, path);
    EXPECT_EQ(content(), saved);
    EXPECT_TRUE(std::holds_alternative<HopfieldNetwork<S>>(load_as_saved(path)));
    const SavedNetwork unset = network_of(describe(network), network.parameters().size());
    EXPECT_EQ(describe(std::get<HopfieldNetwork<S>>(unset)), describe(network));
  }

  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("equiprop_" + std::to_string(::getpid()));
};

TEST_F(CheckpointTest, EveryNetworkComesBackInBothPrecisions) {
  for (const auto* cases : {&zoo(), &fields()})
    for (const Case& c : *cases) {
      SCOPED_TRACE(c.name);
      const HopfieldNetwork<double> network = make_network(c);
      expect_to_come_back(network);
      expect_to_come_back(network.cast<float>());
    }
}

TEST_F(CheckpointTest, AScalingComesBackWithTheNetwork) {
  const auto vector = [](auto... numbers) {
    return Scaling::Vector{{static_cast<double>(numbers)...}};
  };
  for (const auto& scaling :
       {std::optional<Scaling>(), std::optional(Scaling(vector(0), vector(1. / 255))),
        std::optional(Scaling(vector(3, -1e9), vector(1e-3, 1. / 3)))}) {
    HopfieldNetwork<double> network({{"x", 2}, {"y", 1}}, chain(2));
    network.set_scaling(scaling);
    expect_to_come_back(network);
    const auto copy = load<double>(path).scaling();
    ASSERT_EQ(copy.has_value(), scaling.has_value());
    if (!scaling) continue;
    EXPECT_EQ(copy->offset(), scaling->offset());
    EXPECT_EQ(copy->factor(), scaling->factor());
  }
}

/// The description is equal to the text of Python's json.dumps(..., sort_keys=True).
TEST_F(CheckpointTest, TheDescriptionIsKnownToTheByte) {
  const HopfieldNetwork<float> network(
      {{"x", 2, linear()}, {"\xc3\x9f\"", 1, logistic(1e-5, -0.5)}, {"y", 1, relu()}},
      {{0, 1}, {2, 1}, {2, 0}}, Potential::quadratic, Feedback::separate);
  EXPECT_EQ(
      describe(network),
      R"({"couplings": [[0, 1], [2, 1], [0, 2]], "dtype": "float32", "feedback": "separate", )"
      R"("layers": [{"activation": ["clip", 1.0, 0.0, null, null], "name": "x", "units": 2}, )"
      R"({"activation": ["logistic", 1e-05, -0.5, null, null], "name": "\u00df\"", "units": 1}, )"
      R"({"activation": ["clip", 1.0, 0.0, 0.0, null], "name": "y", "units": 1}], )"
      R"("potential": "quadratic"})");
}

TEST_F(CheckpointTest, AnotherPrecisionIsRefusedAndTheRightOneNamed) {
  const HopfieldNetwork<double> network({{"x", 2}, {"y", 1}}, chain(2));
  save(network.cast<float>(), path);
  EXPECT_EQ(refusal(),
            "[load] A network is loaded in the precision it was saved in; use load<float>, and "
            "cast() if another is needed. Received float32 in '" +
                path.string() + "'.");
  save(network, path);
  EXPECT_THROW(load<float>(path), InvalidArgument);
  EXPECT_THROW(load<double>(path / "absent"), FileError);
}

/// A saved chain whose metadata or tensors can be changed.
class FalseCheckpointTest : public CheckpointTest {
 protected:
  void SetUp() override {
    HopfieldNetwork<double> network({{"x", 2}, {"h", 3, tanh_activation()}, {"y", 1}}, chain(3));
    network.initialize(1);
    network.set_scaling(Scaling(Scaling::Vector{{3, -1}}, Scaling::Vector{{2, 1e-3}}));
    save(network, path);
    file = read_safetensors(path);
  }
  void write() const {
    std::map<std::string, TensorView> tensors;
    for (const auto& [name, tensor] : file.tensors)
      tensors[name] = {tensor.type, tensor.shape, tensor.bytes};
    write_safetensors(path, tensors, file.metadata);
  }
  void expect_refused(const std::string& rule) const {
    write();
    const std::string sentence = refusal();
    EXPECT_TRUE(sentence.starts_with("[load] " + rule)) << sentence;
    EXPECT_TRUE(sentence.ends_with(" in '" + path.string() + "'.")) << sentence;
  }

  Safetensors file;
};

TEST_F(FalseCheckpointTest, ADescriptionOfNoNetworkIsRefused) {
  const std::string description = file.metadata.at("network");
  const std::pair<const char*, const char*> changes[] = {
      {"\"units\": 3", "\"units\": 1000000000000000000"},
      {"\"units\": 3", "\"units\": 9223372036854775808"},
      {"\"units\": 3", "\"units\": 2147483649"},
      {"\"units\": 3", "\"units\": 0"},
      {"\"units\": 3", "\"units\": -3"},
      {"\"units\": 3", "\"units\": 3.0"},
      {"\"units\": 3", "\"units\": true"},
      {"\"units\": 3", "\"units\": \"3\""},
      {"\"units\": 3", "\"unit\": 3"},
      {"\"units\": 3", "\"units\": 3, \"units\": 3"},
      {", \"units\": 3", ""},
      {"[\"tanh\", 1.0, ", "[\"tanh\", NaN, "},
      {"[\"tanh\", 1.0, ", "[\"tanh\", -1.0, "},
      {"[\"tanh\", 1.0, ", "[\"tanh\", 1e999, "},
      {"[\"tanh\", 1.0, ", "[\"tanh\", null, "},
      {"[\"tanh\", 1.0, ", "[\"tanh\", "},
      {"[\"tanh\", 1.0, ", "[\"exec\", 1.0, "},
      {"\"name\": \"h\"", "\"name\": \"y\""},
      {"\"name\": \"h\"", "\"name\": null"},
      {"\"name\": \"h\"", "\"name\": \"\\ud800\""},
      {"[1, 2]", "[1, 3]"},
      {"[1, 2]", "[1, -1]"},
      {"[1, 2]", "[1, 1]"},
      {"[1, 2]", "[1, 0]"},
      {"[1, 2]", "[1, 9223372036854775807]"},
      {"[1, 2]", "[1, 2, 3]"},
      {"[[0, 1], [1, 2]]", "[]"},
      {"[[0, 1], [1, 2]]", "7"},
      {"\"potential\": \"legendre\"", "\"potential\": \"kinetic\""},
      {", \"potential\": \"legendre\"", ""},
      {"\"dtype\": \"float64\", ", ""},
      {"\"dtype\": \"float64\"", "\"dtype\": \"float16\""},
      {"\"feedback\": \"tied\"", "\"feedback\": true"},
      {"\"feedback\": \"tied\"", "\"surprise\": \"tied\""},
      {"}]", "}"},
  };
  for (const auto& [from, to] : changes) {
    SCOPED_TRACE(to);
    std::string& text = file.metadata["network"] = description;
    const std::size_t at = text.find(from);
    ASSERT_NE(at, text.npos) << from;
    text.replace(at, std::strlen(from), to);
    expect_refused("The metadata describe a network.");
  }
  for (const std::string& text : {std::string(), std::string("null"), std::string("[]"),
                                  std::string(100'000, '['), description + "x"}) {
    file.metadata["network"] = text;
    expect_refused("The metadata describe a network.");
  }
}

TEST_F(FalseCheckpointTest, TensorsThatDoNotFitTheLayersAreRefused) {
  const auto valid = file;
  const auto change = [&](const auto& act) {
    file = valid;
    act(file.tensors);
    expect_refused("The arrays of a saved network fit its layers.");
  };
  change([](auto& tensors) { tensors.erase("b1"); });
  change([](auto& tensors) { tensors["b3"] = tensors["b2"]; });
  change([](auto& tensors) {
    tensors["b3"] = tensors["b2"];
    tensors.erase("b2");
  });
  change([](auto& tensors) { tensors["W1"].shape = {3, 2}; });
  change([](auto& tensors) { tensors["b1"].shape = {3, 1}; });
  change([](auto& tensors) { tensors["b1"].type = TensorType::i64; });
  change([](auto& tensors) { std::swap(tensors["W1"], tensors["W2"]); });
}

TEST_F(FalseCheckpointTest, FilesOfSomethingElseAreRefused) {
  const std::string rule = "The file holds a network saved by equiprop";
  const auto valid = file;
  file.metadata["format"] = "pt";
  expect_refused(rule);
  file.metadata.erase("format");
  expect_refused(rule);
  file = valid;
  file.metadata.erase("network");
  expect_refused(rule);
}

TEST_F(FalseCheckpointTest, FilesOfTheFirstFormatHaveNoScaling) {
  file.metadata = {{"format", "equiprop.HopfieldNetwork.1"},
                   {"network", file.metadata.at("network")}};
  std::erase_if(file.tensors,
                [](const auto& entry) { return entry.first.find('.') != std::string::npos; });
  const auto parameters = load<double>(path).parameters();
  write();
  EXPECT_FALSE(load<double>(path).scaling());
  expect_identical(load<double>(path).parameters(), parameters, "parameters");
}

TEST_F(FalseCheckpointTest, UnknownFieldsAreIgnoredUnlessTheFileRequiresThem) {
  const auto scaling = load<double>(path).scaling();
  file.tensors["calibration.table"] = {TensorType::i16, {0, 3}, {}};
  file.metadata["calibration"] = "{}";
  for (const auto* required : {"[\"scaling\"]", "[]"}) {
    file.metadata["requires"] = required;
    write();
    EXPECT_EQ(load<double>(path).scaling()->factor(), scaling->factor());
  }
  const std::string missing =
      "A model file has each field that it requires, and this version of equiprop knows it.";
  for (const auto* required : {"[\"scaling\", \"calibration\"]", "[\"\"]"}) {
    file.metadata["requires"] = required;
    expect_refused(missing);
  }
  for (const auto* required : {"", "null", "{}", "\"scaling\"", "[1]", "[\"scaling\"] []"}) {
    file.metadata["requires"] = required;
    expect_refused("The ");
  }
  file.metadata["requires"] = "[\"scaling\"]";
  std::erase_if(file.tensors,
                [](const auto& entry) { return entry.first.starts_with("scaling."); });
  expect_refused(missing);
}

TEST_F(FalseCheckpointTest, NumbersThatAreNoScalingAreRefused) {
  const auto valid = file;
  const auto change = [&](const std::string& rule, const auto& act) {
    file = valid;
    act(file.tensors);
    expect_refused(rule);
  };
  const std::string form =
      "The offset and the factor of a scaling are float64, one for all inputs or for each.";
  change(form, [](auto& tensors) { tensors.erase("scaling.factor"); });
  change(form, [](auto& tensors) { tensors["scaling.factor"] = tensors["b1"]; });
  change(form, [](auto& tensors) { tensors["scaling.factor"].shape = {2, 1}; });
  change(form, [](auto& tensors) { tensors["scaling.offset"].type = TensorType::i64; });
  const std::string numbers = "A scaling has as many finite offsets as positive factors.";
  change(numbers, [](auto& tensors) {
    tensors["scaling.factor"].shape = {};
    tensors["scaling.factor"].bytes.resize(sizeof(double));
  });
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& number : {std::pair("scaling.factor", 0.0), std::pair("scaling.factor", -1.0),
                             std::pair("scaling.factor", inf), std::pair("scaling.factor", nan),
                             std::pair("scaling.offset", -inf), std::pair("scaling.offset", nan)})
    change(numbers, [&](auto& tensors) {
      std::memcpy(tensors[number.first].bytes.data(), &number.second, sizeof number.second);
    });
}

TEST_F(FalseCheckpointTest, ParametersThatAreNotFiniteAreNotLoaded) {
  const auto valid = file;
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (const auto* name : {"W1", "b2"}) {
      file = valid;
      std::memcpy(file.tensors[name].bytes.data(), &value, sizeof value);
      expect_refused("Parameters are finite. Received NaN or infinity");
    }
}

TEST_F(FalseCheckpointTest, ParametersThatAreNotFiniteDoNotReplaceAFile) {
  HopfieldNetwork<double> network = load<double>(path);
  network.parameters()(1) = std::numeric_limits<double>::infinity();
  EXPECT_THROW(save(network, path), InvalidArgument);
  EXPECT_TRUE(load<double>(path).parameters().allFinite());
}

TEST(NetworkOf, RefusesAnotherNumberOfParameters) {
  const std::string text = describe(HopfieldNetwork<float>({{"x", 2}, {"y", 1}}, chain(2)));
  EXPECT_NO_THROW(network_of(text, 3));
  for (const Index count : {0, 2, 4, -1}) EXPECT_THROW(network_of(text, count), InvalidArgument);
}

}  // namespace
}  // namespace equiprop::tests
