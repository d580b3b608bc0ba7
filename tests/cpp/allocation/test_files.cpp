/// Sizes that a damaged file claims allocate no memory: rejecting the file takes at most 20 times the size of its
/// header.

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

class FilesTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }

  /// Returns the peak memory of reading a file as tensors and as a network; both must be rejected.
  long peak_of_refusing() const {
    reset_peak();
    const long before = live_bytes;
    EXPECT_THROW(load<double>(path), InvalidArgument);
    return peak_bytes - before;
  }
  void fill(const std::string& header) const {
    const std::uint64_t length = header.size();
    std::FILE* file = std::fopen(path.c_str(), "wb");
    std::fwrite(&length, sizeof length, 1, file);
    std::fwrite(header.data(), 1, header.size(), file);
    std::fclose(file);
  }

  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("equiprop_" + std::to_string(::getpid()));
};

constexpr long header_bytes = static_cast<long>(max_header_bytes);

TEST_F(FilesTest, ClaimsOfGreatSizeCostNothing) {
  for (const auto* entry :
       {R"({"dtype":"F64","shape":[131072,1048576],"data_offsets":[0,1099511627776]})",
        R"({"dtype":"F64","shape":[1152921504606846975],"data_offsets":[0,8]})"}) {
    fill(std::string(R"({"W1":)") + entry + "}");
    EXPECT_LT(peak_of_refusing(), 50'000);
  }
}

/// For each kind of header entry that is stored, a header with as many of them as possible.
TEST_F(FilesTest, AFullHeaderCostsUpToTwentyTimesItsSize) {
  const auto repeated = [](const auto& part) {
    std::string text;
    for (int k = 0; text.size() + 100 < max_header_bytes; ++k)
      text += (k == 0 ? "" : ",") + part(k);
    return text;
  };
  const auto number = [](int k) { return std::to_string(k); };
  const std::string texts = repeated([&](int k) { return '"' + number(k) + R"(":"")"; });
  const std::string entries = repeated([&](int k) {
    return '"' + number(k) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  });
  const std::string zeros = repeated([](int) { return std::string("0"); });
  for (const auto& header : {R"({"__metadata__":{)" + texts + "}}", "{" + entries + "}",
                             R"({"a":{"shape":[)" + zeros + "]}}", "{" + texts + "}"}) {
    fill(header);
    EXPECT_LT(peak_of_refusing(), 20 * header_bytes);
  }
}

TEST(NetworkOf, UnitsThatADescriptionClaimsCostNothing) {
  std::string text = describe(HopfieldNetwork<double>({{"x", 1}, {"h", 1}, {"y", 1}}, chain(3)));
  for (std::size_t at; (at = text.find("\"units\": 1}")) != text.npos;)
    text.replace(at, 10, "\"units\": 2147483648");
  reset_peak();
  const long before = live_bytes;
  EXPECT_THROW(network_of(text, 1), InvalidArgument);
  EXPECT_LT(peak_bytes - before, 50'000);
}

/// Memory and time are proportional to the size of the description.
TEST(NetworkOf, ManyLayersCostInProportionToTheirText) {
  std::vector<Layer> layers;
  for (int k = 0; k < 100'000; ++k) layers.push_back({std::to_string(k), 1});
  const std::string text = describe(HopfieldNetwork<double>(layers, chain(layers.size())));
  reset_peak();
  const long before = live_bytes;
  EXPECT_THROW(network_of(text, 1), InvalidArgument);
  EXPECT_LT(peak_bytes - before, 10 * static_cast<long>(text.size()));
}

}  // namespace
}  // namespace equiprop::tests
