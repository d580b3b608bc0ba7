#include "equiprop/base/safetensors.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <random>

#include "equiprop/base/error.hpp"
#include "json.hpp"

namespace equiprop {
namespace {

using json::concatenated;

constexpr std::string_view metadata_name = "__metadata__";
constexpr std::size_t max_dimensions = 64;

struct TypeRow {
  std::string_view code;
  Index bytes;
};
constexpr std::array<TypeRow, 11> types{{{"F16", 2},
                                         {"F32", 4},
                                         {"F64", 8},
                                         {"I8", 1},
                                         {"I16", 2},
                                         {"I32", 4},
                                         {"I64", 8},
                                         {"U8", 1},
                                         {"U16", 2},
                                         {"U32", 4},
                                         {"U64", 8}}};

/// The bytes that a shape takes; none if it cannot be addressed. Arrays whose shape has a zero are addressed by
/// the product of the others, so it may be too large even though nothing is stored.
std::optional<Index> bytes_of(TensorType type, const std::vector<Index>& shape) {
  Index spanned = bytes_of(type);
  bool empty = false;
  for (const Index count : shape) {
    empty = empty || count == 0;
    if (count < 0 || (count > 0 && spanned > std::numeric_limits<Index>::max() / count)) return {};
    if (count > 0) spanned *= count;
  }
  return empty ? 0 : spanned;
}

std::string in_quotes(std::string_view text) {
  return concatenated("'", json::printable(text, 80), "'");
}

std::string path_in_quotes(const std::filesystem::path& path) {
  return concatenated("'", json::printable(path.native()), "'");
}

[[noreturn]] void fail(int number, std::string_view where, std::string_view rule,
                       const std::filesystem::path& path) {
  const std::string reason = std::generic_category().message(number);
  throw FileError(number, concatenated("[", where, "] ", rule, " Received ", reason, " for ",
                                       path_in_quotes(path), "."));
}

/// For the system, to which a path ends at the first zero byte.
const char* system_path(const std::filesystem::path& path, std::string_view where) {
  require(path.native().find('\0') == std::string::npos, where, "A path holds no zero byte.",
          path_in_quotes(path));
  return path.c_str();
}

// ---------------------------------------------------------------------------- header, as text

SafetensorsFile::Entry read_entry(json::Reader& reader, const std::string& name) {
  const std::string what = in_quotes(name);

  const std::string fields = concatenated(what, " has ['data_offsets', 'dtype', 'shape'].");
  const std::string counts =
      concatenated("The shape of ", what, " is a list of non-negative integers.");
  const std::string dimensions =
      concatenated(what, " has at most ", max_dimensions, " dimensions.");
  const std::string pair = concatenated("The offsets of ", what, " are two non-negative integers.");
  const std::string known =
      concatenated("The type of ", what, " is F16 to F64, I8 to I64 or U8 to U64.");
  SafetensorsFile::Entry entry;
  Index end = 0;
  const auto field = [&](const std::string& key) {
    if (key == "dtype") {
      const std::string code = reader.string(known);
      const auto type = tensor_type(code);
      if (!type) reader.refuse(known, code);
      entry.type = *type;
    } else if (key == "shape") {
      reader.list(counts, [&] {
        if (entry.shape.size() == max_dimensions) reader.refuse(dimensions);
        entry.shape.push_back(reader.count(counts));
      });
    } else if (key == "data_offsets") {
      reader.tuple(
          pair, [&] { entry.begin = reader.count(pair); }, [&] { end = reader.count(pair); });
    } else {
      reader.refuse(fields);
    }
  };
  if (reader.object(fields, field) != 3) reader.refuse(fields);
  const auto bytes = bytes_of(entry.type, entry.shape);
  if (!bytes)
    reader.refuse(concatenated("The shape of ", what, " can be addressed."), "a larger one");
  entry.bytes = end - entry.begin;
  if (entry.bytes != *bytes)
    reader.refuse(concatenated(what, " takes ", *bytes, " bytes."), std::to_string(entry.bytes));
  return entry;
}

std::string entry_text(const SafetensorsFile::Entry& entry) {
  std::vector<std::string> shape;
  for (const Index count : entry.shape) shape.push_back(std::to_string(count));
  return concatenated("{\"data_offsets\":[", entry.begin, ",", entry.begin + entry.bytes,
                      "],\"dtype\":\"", code_of(entry.type), "\",\"shape\":[",
                      json::joined(shape, ","), "]}");
}

std::string json_string(std::string_view text) {
  return json::quoted(text, json::Characters::all, "write_safetensors");
}

std::string metadata_text(const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  for (const auto& [name, text] : metadata)
    members.push_back(concatenated(json_string(name), ":", json_string(text)));
  return concatenated("{", json::joined(members, ","), "}");
}

/// The header and the 8 bytes before it.
std::string header_text(const std::map<std::string, SafetensorsFile::Entry>& entries,
                        const std::map<std::string, std::string>& metadata) {
  std::map<std::string_view, std::string> members;
  for (const auto& [name, entry] : entries) members[name] = entry_text(entry);
  if (!metadata.empty()) members[metadata_name] = metadata_text(metadata);
  std::vector<std::string> parts;
  for (const auto& [name, text] : members)
    parts.push_back(concatenated(json_string(name), ":", text));
  std::string header = concatenated("{", json::joined(parts, ","), "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(
      header.size() <= max_header_bytes, "write_safetensors",
      concatenated("The header takes at most ", max_header_bytes, " bytes; store less metadata."),
      header.size());
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
}

// ---------------------------------------------------------------------------- writing

void check(const std::string& name, const TensorView& tensor) {
  require(name != metadata_name, "write_safetensors", "'__metadata__' is reserved.",
          "a tensor of that name");
  require(tensor.shape.size() <= max_dimensions, "write_safetensors",
          "A tensor has at most 64 dimensions.", tensor.shape.size(), " for ", in_quotes(name));
  require(bytes_of(tensor.type, tensor.shape) == static_cast<Index>(tensor.bytes.size()),
          "write_safetensors", "A tensor holds as many numbers as its shape says.",
          tensor.bytes.size(), " bytes of ", code_of(tensor.type), " for ", in_quotes(name));
}

/// A file beside `path` that takes its place in the end, or goes.
class Replacement {
 public:
  explicit Replacement(const std::filesystem::path& path) : path_(path), temporary_(path) {
    std::random_device random;
    char name[32];
    std::snprintf(name, sizeof name, ".%08x%08x.part", random(), random());
    temporary_.replace_filename(name);
    file_.reset(std::fopen(system_path(temporary_, "write_safetensors"), "wbxe"));
    check(file_ != nullptr);
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;
  ~Replacement() {
    if (file_ != nullptr) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;  // from nowhere, which the library's function does not take
    check(std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size());
  }
  void take_place() {
    check(std::fflush(file_.get()) == 0);
    check(::fsync(::fileno(file_.get())) == 0);
    check(std::rename(temporary_.c_str(), path_.c_str()) == 0);
    file_.reset();
  }

 private:
  void check(bool succeeded) const {
    if (!succeeded)
      fail(errno, "write_safetensors",
           "The file is written whole or not at all; free space or choose another place.", path_);
  }

  std::filesystem::path path_, temporary_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, &std::fclose};
};

}  // namespace

std::string_view code_of(TensorType type) {
  return types[static_cast<std::size_t>(type)].code;
}

std::optional<TensorType> tensor_type(std::string_view code) {
  const auto* row = std::ranges::find(types, code, &TypeRow::code);
  if (row == types.end()) return {};
  return static_cast<TensorType>(row - types.begin());
}

Index bytes_of(TensorType type) {
  return types[static_cast<std::size_t>(type)].bytes;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path, std::string_view where)
    : where_(where),
      origin_(concatenated(" in ", path_in_quotes(path))),
      file_(std::fopen(system_path(path, where), "rbe"), &std::fclose) {
  struct stat status {};
  if (file_ == nullptr || ::fstat(::fileno(file_.get()), &status) != 0)
    fail(errno, where_, "The file exists and can be read.", path);
  size_ = status.st_size;
  read_header();
  check_layout();
}

void SafetensorsFile::read_header() {
  std::uint64_t length = 0;
  require(size_ >= 8, where_, "The file starts with 8 bytes of header length.", size_, origin_);
  read_bytes(0, std::as_writable_bytes(std::span(&length, 1)));
  const auto bound =
      std::min<std::uint64_t>(max_header_bytes, static_cast<std::uint64_t>(size_) - 8);
  require(length <= bound, where_, concatenated("The header takes at most ", bound, " bytes here."),
          length, origin_);
  std::string text(length, ' ');
  read_bytes(8, std::as_writable_bytes(std::span(text)));
  data_ = 8 + static_cast<Index>(length);
  json::Reader reader(text, where_, origin_);
  constexpr std::string_view object = "The header is a JSON object, from {.";
  if (!text.starts_with('{')) reader.refuse(object);
  reader.object(object, [&](const std::string& name) {
    constexpr std::string_view strings = "The metadata are an object of strings.";
    if (name == metadata_name)
      reader.object(strings,
                    [&](const std::string& key) { metadata_[key] = reader.string(strings); });
    else
      tensors_[name] = read_entry(reader, name);
  });
  reader.end();
}

void SafetensorsFile::check_layout() const {
  std::vector<std::pair<Index, Index>> places;
  for (const auto& [name, entry] : tensors_)
    places.emplace_back(entry.begin, entry.begin + entry.bytes);
  std::ranges::sort(places);
  const Index size = size_ - data_;
  Index end = 0;
  const std::string rule = concatenated("The tensors fill the ", size,
                                        " bytes of data without gap, overlap or remainder.");
  for (const auto& [begin, next] : places) {
    require(begin == end, where_, rule, "one at ", begin, " after one that ends at ", end, origin_);
    end = next;
  }
  require(end == size, where_, rule, "tensors up to ", end, origin_);
}

void SafetensorsFile::read(const Entry& entry, std::byte* out) const {
  read_bytes(data_ + entry.begin, {out, static_cast<std::size_t>(entry.bytes)});
}

void SafetensorsFile::read_bytes(Index begin, std::span<std::byte> out) const {
  if (out.empty()) return;
  const bool found = ::fseeko(file_.get(), begin, SEEK_SET) == 0;
  const std::size_t count = found ? std::fread(out.data(), 1, out.size(), file_.get()) : 0;
  if (!found || std::ferror(file_.get()) != 0) {
    const int number = errno;
    throw FileError(number, concatenated("[", where_, "] The file can be read. Received ",
                                         std::generic_category().message(number), origin_, "."));
  }
  require(count == out.size(), where_, "The file stays as it is while it is read.", count, " of ",
          out.size(), " bytes", origin_);
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  Safetensors read{{}, file.metadata()};
  for (const auto& [name, entry] : file.tensors()) {
    Tensor& tensor = read.tensors[name];
    tensor.type = entry.type;
    tensor.shape = entry.shape;
    tensor.bytes.resize(static_cast<std::size_t>(entry.bytes));
    file.read(entry, tensor.bytes.data());
  }
  return read;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<std::pair<std::string_view, const TensorView*>> order;
  for (const auto& [name, tensor] : tensors) {
    check(name, tensor);
    order.emplace_back(name, &tensor);
  }
  // Larger types first, then by name, as they stand in the map.
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [](const auto& named) { return bytes_of(named.second->type); });
  std::map<std::string, SafetensorsFile::Entry> entries;
  Index end = 0;
  for (const auto& [name, tensor] : order) {
    const auto bytes = static_cast<Index>(tensor->bytes.size());
    entries[std::string(name)] = {tensor->type, tensor->shape, end, bytes};
    end += bytes;
  }
  const std::string header = header_text(entries, metadata);
  Replacement replacement(path);
  replacement.write(std::as_bytes(std::span(header)));
  for (const auto& [name, tensor] : order) replacement.write(tensor->bytes);
  replacement.take_place();
}

}  // namespace equiprop
