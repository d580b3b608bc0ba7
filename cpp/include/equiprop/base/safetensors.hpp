#pragma once
/// Safetensors files: named arrays and text, without executable content.
///
/// A file consists of the length of its header (8 bytes), the header (JSON: type, shape and position of each tensor,
/// and text under `__metadata__`), and the bytes of the tensors, each in C order. Numbers are little-endian.

#include <bit>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/files.hpp"

namespace equiprop {

static_assert(std::endian::native == std::endian::little,
              "The bytes of files are those of memory.");

/// The longest header that is written or read: 1 MiB, enough for thousands of tensors.
inline constexpr std::size_t max_header_bytes = std::size_t{1} << 20;

/// Number types of the format whose size is a whole number of bytes.
enum class TensorType { f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

/// Returns the format's name of a type, for example "F32".
EQUIPROP_EXPORT std::string_view code_of(TensorType type);
/// Returns the type with that name, or nothing if there is none.
EQUIPROP_EXPORT std::optional<TensorType> tensor_type(std::string_view code);
/// Returns the bytes of one number of a type.
EQUIPROP_EXPORT Index bytes_of(TensorType type);

/// A tensor to write, as a view of its memory.
struct TensorView {
  TensorType type = TensorType::f64;  ///< type of each number
  std::vector<Index> shape;           ///< sizes of the dimensions, in C order
  std::span<const std::byte> bytes;   ///< the numbers, as many as the shape requires
};

/// A tensor that was read from a file.
struct Tensor {
  TensorType type = TensorType::f64;  ///< type of each number
  std::vector<Index> shape;           ///< sizes of the dimensions, in C order
  std::vector<std::byte> bytes;       ///< the numbers, as many as the shape requires
};

/// The content of a file.
struct Safetensors {
  std::map<std::string, Tensor> tensors;        ///< tensors by name
  std::map<std::string, std::string> metadata;  ///< text under `__metadata__`, by name
};

/// An open file whose header has been read and fully checked: types, shapes, and that the tensors fill the data without
/// gap, overlap or remainder. It holds only the header in memory. Do not use one object from several threads at the
/// same time.
class EQUIPROP_EXPORT SafetensorsFile {
 public:
  /// The header entry of one tensor.
  struct Entry {
    TensorType type = TensorType::f64;  ///< type of each number
    std::vector<Index> shape;           ///< sizes of the dimensions, in C order
    Index begin = 0;                    ///< offset of the first byte in the data after the header
    Index bytes = 0;                    ///< number of bytes
  };

  /// Opens `path`; error messages start with `where`. Throws InvalidArgument if the file violates the format, FileError
  /// if it cannot be read.
  explicit SafetensorsFile(const std::filesystem::path& path,
                           std::string_view where = "read_safetensors");

  /// Returns the header entries by name.
  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  /// Returns the text under `__metadata__`, by name.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Returns the name of the file, as error messages append it to a sentence.
  const std::string& origin() const { return origin_; }
  /// Reads the bytes of a tensor of this file into `out`, which must have room for entry.bytes.
  void read(const Entry& entry, std::byte* out) const;

 private:
  void read_header();
  void read_bytes(Index begin, std::span<std::byte> out) const;
  void check_layout() const;

  std::string where_, origin_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  Index size_ = 0, data_ = 0;  // bytes of the file; offset of the data
  std::map<std::string, Entry> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Reads a whole file, which may come from an untrusted source: everything is checked before it is used. Memory use is
/// the size of the file plus, for names, at most twenty times the size of its header.
///
///   const Safetensors file = read_safetensors("model.safetensors");
///   file.tensors.at("W1").shape
///
/// Throws InvalidArgument if the file violates the format, FileError if it cannot be read.
EQUIPROP_EXPORT Safetensors read_safetensors(const std::filesystem::path& path);

/// Writes named tensors and text atomically, see write_file. Equal content gives equal bytes. Data start at a multiple
/// of 8 bytes and larger types come first, so that every tensor is aligned. Error messages start with `where`.
///
/// Throws InvalidArgument if the path leads to a device or pipe, a name is `__metadata__`, bytes do not fit a shape,
/// text is not UTF-8, or names and text exceed a header of max_header_bytes. Throws FileError if writing fails, for
/// example on a full disk; no temporary file is left behind, and an old file is unchanged.
EQUIPROP_EXPORT void write_safetensors(const std::filesystem::path& path,
                                       const std::map<std::string, TensorView>& tensors,
                                       const std::map<std::string, std::string>& metadata,
                                       std::string_view where = "write_safetensors");

}  // namespace equiprop
