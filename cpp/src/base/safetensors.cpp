#include "equiprop/base/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <limits>

#include "base/file_system.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {
namespace {

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

/// Returns the bytes of a shape, or nothing if it cannot be addressed: the product of the sizes that are not 0 can be
/// too large even if another size is 0 and no number is stored.
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
      reader.refuse(fields, key);
    }
  };
  if (reader.object(fields, field) != 3) reader.refuse(fields, "fewer");
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
                      "],\"dtype\":\"", code_of(entry.type), "\",\"shape\":[", joined(shape, ","),
                      "]}");
}

std::string json_string(std::string_view text, std::string_view where) {
  return json::quoted(text, json::Characters::all, where);
}

std::string metadata_text(const std::map<std::string, std::string>& metadata,
                          std::string_view where) {
  std::vector<std::string> members;
  for (const auto& [name, text] : metadata)
    members.push_back(concatenated(json_string(name, where), ":", json_string(text, where)));
  return concatenated("{", joined(members, ","), "}");
}

/// Returns the header and the 8 bytes before it.
std::string header_text(const std::map<std::string, SafetensorsFile::Entry>& entries,
                        const std::map<std::string, std::string>& metadata,
                        std::string_view where) {
  std::map<std::string_view, std::string> members;
  for (const auto& [name, entry] : entries) members[name] = entry_text(entry);
  if (!metadata.empty()) members[metadata_name] = metadata_text(metadata, where);
  std::vector<std::string> parts;
  for (const auto& [name, text] : members)
    parts.push_back(concatenated(json_string(name, where), ":", text));
  std::string header = concatenated("{", joined(parts, ","), "}");
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(header.size() <= max_header_bytes, where,
          concatenated("The header takes at most ", max_header_bytes,
                       " bytes; use fewer or shorter names and texts."),
          header.size());
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
}

// ---------------------------------------------------------------------------- writing

void check(const std::string& name, const TensorView& tensor, std::string_view where) {
  require(name != metadata_name, where, "'__metadata__' is reserved.", "a tensor of that name");
  require(tensor.shape.size() <= max_dimensions, where, "A tensor has at most 64 dimensions.",
          tensor.shape.size(), " for ", in_quotes(name));
  require(bytes_of(tensor.type, tensor.shape) == static_cast<Index>(tensor.bytes.size()), where,
          "A tensor holds as many numbers as its shape says.", tensor.bytes.size(), " bytes of ",
          code_of(tensor.type), " for ", in_quotes(name));
}

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
      file_(open_file(whole(path, where), OpenMode::read)) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    fail_file(EISDIR, where_, "read", path_in_quotes(path));
  const auto size = file_ == nullptr ? std::nullopt : size_of(file_.get());
  const int number = errno;
  if (!size) fail_file(number, where_, "read", path_in_quotes(path));
  size_ = *size;
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
  constexpr std::string_view object = "The header is a JSON object that starts with {.";
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
  const bool found = seek(file_.get(), begin);
  const std::size_t count = found ? std::fread(out.data(), 1, out.size(), file_.get()) : 0;
  if (!found || std::ferror(file_.get()) != 0) {
    const int number = errno;
    fail_file(number, where_, "read", concatenated(out.size(), " bytes", origin_));
  }
  require(count == out.size(), where_, "The file does not change while it is read.", count, " of ",
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
                       const std::map<std::string, std::string>& metadata, std::string_view where) {
  std::vector<std::pair<std::string_view, const TensorView*>> order;
  for (const auto& [name, tensor] : tensors) {
    check(name, tensor, where);
    order.emplace_back(name, &tensor);
  }
  // Larger types first, then by name, which is the order of the map.
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [](const auto& named) { return bytes_of(named.second->type); });
  std::map<std::string, SafetensorsFile::Entry> entries;
  Index end = 0;
  for (const auto& [name, tensor] : order) {
    const auto bytes = static_cast<Index>(tensor->bytes.size());
    entries[std::string(name)] = {tensor->type, tensor->shape, end, bytes};
    end += bytes;
  }
  const std::string header = header_text(entries, metadata, where);
  std::vector<std::span<const std::byte>> parts{std::as_bytes(std::span(header))};
  for (const auto& [name, tensor] : order) parts.push_back(tensor->bytes);
  write_file(path, parts, where);
}

}  // namespace equiprop
