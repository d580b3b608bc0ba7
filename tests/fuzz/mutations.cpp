/// fuzz_model_file COUNT [FIRST]: damaged model files number FIRST, FIRST + 1, ..., the same ones each time.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "equiprop/base/random.hpp"
#include "equiprop/base/safetensors.hpp"
#include "equiprop/model/checkpoint.hpp"
#include "fuzz_model_file.hpp"

namespace equiprop {
namespace {

/// A file in its two parts; the length of the header is written when they are put together.
struct Parts {
  std::string header, data;
};

std::string whole(const Parts& parts) {
  const std::uint64_t length = parts.header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + parts.header + parts.data;
}

Parts parts_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), {}};
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  return {file.substr(8, length), file.substr(8 + length)};
}

template <class S>
Parts saved(std::vector<Layer> layers, std::vector<Coupling> couplings, Potential potential,
            Feedback feedback, const std::filesystem::path& path,
            std::optional<Scaling> scaling = {}) {
  HopfieldNetwork<S> network(std::move(layers), std::move(couplings), potential, feedback);
  network.initialize(1);
  network.set_scaling(std::move(scaling));
  save(network, path);
  return parts_of(path);
}

/// Networks of every kind and a file of every type of number.
std::vector<Parts> valid_files() {
  const auto path = std::filesystem::temp_directory_path() /
                    ("fuzz_model_file." + std::to_string(::getpid()) + "valid");
  std::vector<Parts> files;
  const std::vector<Layer> layers{
      {"input", 2}, {"h", 2, logistic(4, 0.5)}, {"eins/\xc3\x9f", 1, softplus(1e-5)}, {"out", 1}};
  const std::vector<Coupling> skip{{0, 1}, {1, 2}, {2, 3}, {3, 1}, {1, 1}, Identity{0, 1, -0.5}};
  for (const auto potential : {Potential::legendre, Potential::quadratic}) {
    files.push_back(
        saved<float>({{"x", 1}, {"y", 1, linear()}}, chain(2), potential, Feedback::tied, path));
    files.push_back(saved<double>({{"x", 2}, {"h", 2, tanh_activation()}, {"y", 1, relu()}},
                                  chain(3), potential, Feedback::tied, path,
                                  Scaling(Scaling::Vector{{0}}, Scaling::Vector{{0.5}})));
    files.push_back(saved<double>(layers, skip, potential, Feedback::separate, path));
    files.push_back(saved<float>(layers, skip, potential, Feedback::separate, path,
                                 Scaling(Scaling::Vector{{3, -1}}, Scaling::Vector{{2, 1e-3}})));
  }
  const std::array<std::byte, 8> bytes{};
  std::map<std::string, TensorView> tensors{{"scalar", {TensorType::f64, {}, bytes}},
                                            {"empty", {TensorType::i16, {0, 3}, {}}}};
  for (int k = 0; k <= static_cast<int>(TensorType::u64); ++k) {
    const auto type = static_cast<TensorType>(k);
    tensors[std::string(code_of(type))] = {type, {8 / bytes_of(type), 1}, bytes};
  }
  write_safetensors(path, tensors, {{"unit", "mV"}, {"", "\xc3\x9f\n\"\\"}});
  files.push_back(parts_of(path));
  std::filesystem::remove(path);
  return files;
}

/// Makes one damaged file.
class Damage {
  bool one_in(std::uint64_t n) { return random_.below(n) == 0; }
  template <class List>
  decltype(auto) any(const List& list) {
    return list[random_.below(std::size(list))];
  }
  std::size_t place(const std::string& text) { return random_.below(text.size() + 1); }

 public:
  Damage(const std::vector<Parts>& files, std::uint64_t number)
      : files_(files), random_(1, number) {}

  std::string file() {
    Parts parts = any(files_);
    for (auto edits = random_.below(3); edits > 0; --edits) edit_header(parts.header);
    if (one_in(8)) splice(parts.header, any(files_).header);
    if (one_in(8)) parts.header.resize((parts.header.size() + 7) / 8 * 8, ' ');
    if (one_in(16)) splice(parts.data, any(files_).data);
    if (one_in(16)) number_without_value(parts.data);
    std::string file = whole(parts);
    if (one_in(4)) flip(file);
    if (one_in(16)) file.resize(place(file));
    if (one_in(16)) file.append(random_.below(20), '\0');
    if (one_in(16)) edit_length(file);
    return file;
  }

 private:
  void flip(std::string& text) {
    for (auto flips = 1 + random_.below(3); flips > 0 && !text.empty(); --flips)
      text[random_.below(text.size())] ^= static_cast<char>(1u << random_.below(8));
  }
  void splice(std::string& text, const std::string& other) {
    text.replace(place(text), text.size(), other, place(other));
  }
  void edit_length(std::string& file) {
    if (file.size() < 8) return;
    const std::uint64_t lengths[] = {
        0,           random_.below(2000), std::uint64_t{1} << 20, file.size() - 8,
        file.size(), random_.bits64()};
    std::memcpy(file.data(), &any(lengths), 8);
  }
  /// NaN or an infinity over some number.
  void number_without_value(std::string& data) {
    const std::string_view values[] = {{"\0\0\xc0\x7f", 4},
                                       {"\0\0\x80\xff", 4},
                                       {"\0\0\0\0\0\0\xf0\x7f", 8},
                                       {"\0\0\0\0\0\0\xf8\xff", 8}};
    const auto value = any(values);
    if (data.size() >= value.size())
      data.replace(random_.below(data.size() / value.size()) * value.size(), value.size(), value);
  }

  /// A word, a number or a single character of the header, from `at` on.
  static std::size_t token_end(const std::string& text, std::size_t at) {
    const auto kind = [](char c) {
      return std::isalpha(static_cast<unsigned char>(c)) || c == '_'               ? 1
             : std::isdigit(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? 2
                                                                                   : 0;
    };
    std::size_t end = at + 1;
    if (kind(text[at]) != 0)
      while (end < text.size() && kind(text[end]) == kind(text[at])) ++end;
    return end;
  }
  /// The place of a random token.
  std::pair<std::size_t, std::size_t> token(const std::string& text) {
    std::size_t begin = random_.below(text.size());
    while (begin > 0 && token_end(text, begin - 1) > begin) --begin;
    return {begin, token_end(text, begin) - begin};
  }
  /// The place of some text between two of the characters that structure JSON.
  std::pair<std::size_t, std::size_t> piece(const std::string& text) {
    constexpr auto structure = "{}[],:\"";
    const std::size_t begin = std::min(text.find_first_of(structure, place(text)), text.size());
    std::size_t end = begin;
    for (auto marks = 1 + random_.below(12); marks > 0 && end < text.size(); --marks)
      end = std::min(text.find_first_of(structure, end + 1), text.size());
    return {begin, end - begin};
  }
  void edit_header(std::string& header) {
    if (header.empty()) return;
    const std::string other = any(files_).header;
    const auto [begin, length] = token(header);
    const auto [from, count] = piece(header);
    switch (random_.below(7)) {
      case 0:
      case 1:
        return void(header.replace(begin, length, any(words)));
      case 2: {  // a word of another file
        const auto [other_begin, other_length] = token(other);
        return void(header.replace(begin, length, other, other_begin, other_length));
      }
      case 3:  // again, elsewhere or at once: names twice, places twice
        return void(header.insert(one_in(2) ? from : place(header), header.substr(from, count)));
      case 4:
        return void(header.erase(from, count));
      case 5:
        return void(header.insert(begin, nested()));
      default:
        return flip(header);
    }
  }
  std::string nested() {
    std::string text;
    for (auto depth = one_in(100) ? 100000 : random_.below(40); depth > 0; --depth)
      text += any(std::array{"[", "{\"a\":"});
    return text;
  }

  static constexpr const char* words[] = {"0",
                                          "1",
                                          "2",
                                          "4",
                                          "8",
                                          "-0",
                                          "-1",
                                          "01",
                                          "1e3",
                                          "1.0",
                                          "1E1",
                                          ".5",
                                          "1.",
                                          "+1",
                                          "NaN",
                                          "Infinity",
                                          "-Infinity",
                                          "1e999",
                                          "null",
                                          "true",
                                          "false",
                                          "\"\"",
                                          "[]",
                                          "{}",
                                          "\\ud800",
                                          "\\u00e9",
                                          "\\",
                                          "\"",
                                          ",",
                                          "\xff",
                                          "\xed\xa0\x80",
                                          "F32",
                                          "F64",
                                          "I64",
                                          "U8",
                                          "tanh",
                                          "clip",
                                          "logistic",
                                          "softplus",
                                          "float32",
                                          "float64",
                                          "tied",
                                          "separate",
                                          "legendre",
                                          "quadratic",
                                          "units",
                                          "activation",
                                          "dtype",
                                          "shape",
                                          "data_offsets",
                                          "__metadata__",
                                          "requires",
                                          "scaling",
                                          "scaling.offset",
                                          "scaling.factor",
                                          "[\\\"scaling\\\"]",
                                          "W1",
                                          "b1",
                                          "2147483648",
                                          "4611686018427387904",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "18446744073709551616",
                                          "1000000000000000000"};

  const std::vector<Parts>& files_;
  Random random_;
};

int run(std::uint64_t count, std::uint64_t first) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Parts> files = valid_files();
  for (std::uint64_t number = first; number < first + count; ++number) {
    const std::string file = Damage(files, number).file();
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(file.data()), file.size());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const char* const readers[] = {"read_safetensors", "load<float>", "load<double>"};
  for (std::size_t k = 0; k < accepted.size(); ++k)
    std::printf("%-16s  %llu refused, %llu accepted\n", readers[k],
                static_cast<unsigned long long>(count - accepted[k]),
                static_cast<unsigned long long>(accepted[k]));
  std::printf("%.1f seconds, at most %ld MiB\n", seconds.count(), usage.ru_maxrss / 1024);
  // Where all is refused, most of the readers is not tried.
  return std::ranges::all_of(accepted, [](std::uint64_t number) { return number > 0; }) ? 0 : 1;
}

}  // namespace
}  // namespace equiprop

int main(int argc, char** argv) {
  const auto argument = [&](int k, std::uint64_t otherwise) {
    return argc > k ? std::strtoull(argv[k], nullptr, 10) : otherwise;
  };
  return equiprop::run(argument(1, 1000), argument(2, 0));
}
