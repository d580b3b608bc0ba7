/// Safetensors files: the bytes written, the data read back, and the files rejected.

#include <fstream>

#include "equiprop/base/safetensors.hpp"
#include "support.hpp"

namespace equiprop::tests {
namespace {

using Tensors = std::map<std::string, TensorView>;

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string content() const {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void fill(const std::string& header, const std::string& data = {}) const {
    const std::uint64_t length = header.size();
    std::ofstream(path, std::ios::binary)
        << std::string(reinterpret_cast<const char*>(&length), 8) << header << data;
  }
  /// Returns the error of reading the file, or "read".
  std::string refusal() const {
    try {
      read_safetensors(path);
      return "read";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  }
  void expect_refused(const std::string& header, const std::string& data, const std::string& rule) {
    fill(header, data);
    const std::string sentence = refusal();
    EXPECT_TRUE(sentence.starts_with("[read_safetensors] ")) << sentence;
    EXPECT_NE(sentence.find(rule), sentence.npos) << sentence;
    EXPECT_TRUE(sentence.ends_with(" in '" + path.string() + "'.")) << sentence;
  }

  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("equiprop_" + std::to_string(::getpid()));
  const std::filesystem::path path = folder / "file";
};

template <class T>
TensorView view(TensorType type, std::vector<Index> shape, const std::vector<T>& numbers) {
  return {type, std::move(shape), std::as_bytes(std::span(numbers))};
}

TEST_F(SafetensorsTest, AFileIsWrittenToTheByte) {
  const std::vector<float> floats{1, -2};
  const std::vector<double> number{0.5};
  write_safetensors(
      path,
      {{"w", view(TensorType::f32, {2, 1}, floats)}, {"x", view(TensorType::f64, {}, number)}},
      {{"unit", "\xc3\x9f\""}});
  const std::string header =
      R"({"__metadata__":{"unit":"ß\""},"w":{"data_offsets":[8,16],"dtype":"F32","shape":[2,1]},)"
      R"("x":{"data_offsets":[0,8],"dtype":"F64","shape":[]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  const std::string data("\0\0\0\0\0\0\xe0\x3f\0\0\x80\x3f\0\0\0\xc0", 16);
  EXPECT_EQ(content(), static_cast<char>(padded.size()) + std::string(7, '\0') + padded + data);
}

TEST_F(SafetensorsTest, EveryTypeAndShapeComesBack) {
  std::vector<std::uint8_t> bytes(48);
  Tensors tensors;
  for (int k = 0; k <= static_cast<int>(TensorType::u64); ++k) {
    const auto type = static_cast<TensorType>(k);
    EXPECT_EQ(tensor_type(code_of(type)), type);
    bytes[static_cast<std::size_t>(k)] = static_cast<std::uint8_t>(200 + k);
    tensors[std::string(code_of(type))] = view(type, {2, 24 / bytes_of(type)}, bytes);
  }
  tensors["empty"] = {TensorType::f64, {3, 0, 2}, {}};
  tensors["scalar"] = {TensorType::i8, {}, std::as_bytes(std::span(bytes)).first(1)};
  tensors[std::string("zero\0byte", 9)] = tensors["scalar"];
  const std::map<std::string, std::string> metadata{{"", "a"}, {"b", ""}};
  write_safetensors(path, tensors, metadata);
  const Safetensors read = read_safetensors(path);
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const Tensor& found = read.tensors.at(name);
    EXPECT_EQ(found.type, tensor.type);
    EXPECT_EQ(found.shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(found.bytes, tensor.bytes)) << name;
  }
  write_safetensors(path, {}, {});
  EXPECT_EQ(content(), std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
}

TEST_F(SafetensorsTest, EveryDepartureFromTheFormatIsRefused) {
  const auto entry = [](const std::string& shape, const std::string& offsets,
                        const std::string& type = "\"F32\"") {
    return R"({"a":{"dtype":)" + type + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}}";
  };
  const std::string four(4, '\0');
  expect_refused("", "", "a JSON object");
  expect_refused(" {}", "", "a JSON object");
  expect_refused("{}x", "", "JSON in UTF-8");
  expect_refused(R"({"a":3})", "", "'a' has");
  expect_refused(R"({"a":{"dtype":"F32","shape":[]}})", "", "'a' has");
  expect_refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[]}})", "", "occurs once");
  expect_refused(R"({"a":{"dtype":"F32","shape":[],"offsets":[0,4]}})", four, "'a' has");
  expect_refused(R"({"__metadata__":{"a":null}})", "", "object of strings");
  expect_refused(R"({"__metadata__":{"a":"\ud800"}})", "", "JSON in UTF-8");
  expect_refused(entry("[1]", "[0,4]", "\"F31\""), four, "The type of 'a'");
  expect_refused(entry("[1]", "[0,4]", "32"), four, "The type of 'a'");
  for (const auto* shape :
       {"[-0]", "[01]", "[1.0]", "[1e0]", "[true]", "[[1]]", "1", "[18446744073709551617]"})
    expect_refused(entry(shape, "[0,4]"), four, "The shape of 'a' is a list");
  for (const auto* offsets : {"[0]", "[0,4,4]", "[-0,4]", "[0,4.0]", "4", "[0,\"4\"]"})
    expect_refused(entry("[1]", offsets), four, "The offsets of 'a'");
  expect_refused(entry("[0,4611686018427387904,4]", "[0,0]"), "", "can be addressed");
  expect_refused(entry("[4611686018427387904]", "[0,4]"), four, "can be addressed");
  expect_refused(entry("[1073741824]", "[0,4]"), four, "takes 4294967296 bytes");
  expect_refused(entry("[1]", "[4,0]"), four, "takes 4 bytes");
  expect_refused(entry("[1]", "[9223372036854775807,9223372036854775806]"), four, "takes 4 bytes");
  expect_refused(entry("[1]", "[4,8]"), four + four, "without gap");
  expect_refused(entry("[1]", "[0,4]"), four + "x", "without gap");
  expect_refused(entry("[1]", "[0,4]"), "abc", "without gap");
  expect_refused("{}", "left over", "without gap");
  std::string dimensions = "[1";
  for (int k = 1; k < 64; ++k) dimensions += ",1";
  fill(entry(dimensions + "]", "[0,4]"), four);
  EXPECT_EQ(refusal(), "read");
  expect_refused(entry(dimensions + ",1]", "[0,4]"), four, "at most 64 dimensions");
}

TEST_F(SafetensorsTest, EveryCutFileIsRefused) {
  const std::vector<float> numbers{1, 2};
  write_safetensors(path, {{"w", view(TensorType::f32, {2}, numbers)}}, {{"unit", "mV"}});
  const std::string whole = content();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::filesystem::resize_file(path, size);
    EXPECT_NE(refusal(), "read") << size;
    std::ofstream(path, std::ios::binary) << whole;
  }
  for (const auto length : {std::uint64_t{1} << 20, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    std::ofstream(path, std::ios::binary)
        << std::string(reinterpret_cast<const char*>(&length), 8) << whole.substr(8);
    EXPECT_NE(refusal().find("The header takes at most"), std::string::npos);
  }
}

TEST_F(SafetensorsTest, WhatCannotBeStoredIsRefused) {
  const std::vector<float> numbers{1, 2};
  const auto refused = [&](const Tensors& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    EXPECT_THROW(write_safetensors(path, tensors, metadata), InvalidArgument);
  };
  refused({{"__metadata__", view(TensorType::f32, {2}, numbers)}});
  refused({{"\xff", view(TensorType::f32, {2}, numbers)}});
  refused({{"w", view(TensorType::f32, {3}, numbers)}});
  refused({{"w", view(TensorType::f64, {2}, numbers)}});
  refused({{"w", view(TensorType::f32, {-1, -2}, numbers)}});
  refused(
      {{"w", view(TensorType::f32, {std::int64_t{1} << 62, std::int64_t{1} << 62, 0}, numbers)}});
  refused({{"w", view(TensorType::f32, std::vector<Index>(65, 1), std::vector<float>{1})}});
  refused({}, {{"a", "\xed\xa0\x80"}});
  refused({}, {{"a", std::string(max_header_bytes, 'x')}});
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(SafetensorsTest, TheSystemsReasonIsTold) {
  const auto reason = [](const auto& act) {
    try {
      act();
    } catch (const FileError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("[")) << error.what();
      return static_cast<std::errc>(error.code().value());
    }
    return std::errc();
  };
  EXPECT_EQ(reason([&] { read_safetensors(path); }), std::errc::no_such_file_or_directory);
  EXPECT_EQ(reason([&] { read_safetensors(folder); }), std::errc::is_a_directory);
  EXPECT_EQ(reason([&] { write_safetensors(path / "file", {}, {}); }),
            std::errc::no_such_file_or_directory);
  EXPECT_THROW(read_safetensors(std::string("/dev/null\0", 10)), InvalidArgument);
  EXPECT_EQ(reason([&] { write_safetensors(folder, {}, {}); }), std::errc::is_a_directory);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

}  // namespace
}  // namespace equiprop::tests
