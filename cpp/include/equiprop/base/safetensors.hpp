#pragma once
/// Safetensors files: named arrays and text, nothing that runs.
///
/// A file is the length of its header (8 bytes), the header (JSON: type, shape and place of each tensor, and
/// text under `__metadata__`), then the bytes of the tensors, all little-endian, each in C order.

#include <bit>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

static_assert(std::endian::native == std::endian::little,
              "The bytes of files are those of memory.");

/// The longest header written or read: 1 MiB, room for thousands of tensors.
inline constexpr std::size_t max_header_bytes = std::size_t{1} << 20;

/// The system refused to read or write a file; code() says why. Python sees the OSError of that number.
class EQUIPROP_EXPORT FileError : public std::system_error {
 public:
  /// `number` is an errno.
  FileError(int number, std::string message)
      : std::system_error(number, std::generic_category()), message_(std::move(message)) {}
  /// One sentence, `[where] rule. Received <the system's reason> for <path>.`
  const char* what() const noexcept override;

 private:
  std::string message_;
};

/// Types of the format that are numbers of whole bytes.
enum class TensorType { f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

/// The format's name of a type, "F32" for example.
EQUIPROP_EXPORT std::string_view code_of(TensorType type);
/// The type of that name, none if there is none.
EQUIPROP_EXPORT std::optional<TensorType> tensor_type(std::string_view code);
/// Of one number.
EQUIPROP_EXPORT Index bytes_of(TensorType type);

/// A tensor to be written from where it is.
struct TensorView {
  TensorType type = TensorType::f64;  ///< of each number
  std::vector<Index> shape;           ///< in C order
  std::span<const std::byte> bytes;   ///< as many numbers as the shape says
};

/// A tensor that was read.
struct Tensor {
  TensorType type = TensorType::f64;  ///< of each number
  std::vector<Index> shape;           ///< in C order
  std::vector<std::byte> bytes;       ///< as many numbers as the shape says
};

/// What a file holds.
struct Safetensors {
  std::map<std::string, Tensor> tensors;        ///< by name
  std::map<std::string, std::string> metadata;  ///< text under `__metadata__`
};

/// An open file whose header has been read and checked in every respect: types, shapes, and that the tensors
/// fill the data without gap, overlap or remainder. Holding one takes memory for the header alone. Use it from
/// one thread at a time.
class EQUIPROP_EXPORT SafetensorsFile {
 public:
  /// What the header says of one tensor: its bytes begin at `begin` of the data.
  struct Entry {
    TensorType type = TensorType::f64;  ///< of each number
    std::vector<Index> shape;           ///< in C order
    Index begin = 0;                    ///< first byte, counted from the first tensor
    Index bytes = 0;                    ///< how many
  };

  /// Opens `path` on behalf of `where`, which is named in errors. Throws InvalidArgument if the file departs
  /// from the format in any way, FileError if it cannot be read.
  explicit SafetensorsFile(const std::filesystem::path& path,
                           std::string_view where = "read_safetensors");

  /// By name.
  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  /// Text under `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// How errors name the file, for the end of a sentence.
  const std::string& origin() const { return origin_; }
  /// Reads the bytes of a tensor of this file to `out`, which has room for entry.bytes.
  void read(const Entry& entry, std::byte* out) const;

 private:
  void read_header();
  void read_bytes(Index begin, std::span<std::byte> out) const;
  void check_layout() const;

  std::string where_, origin_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  Index size_ = 0, data_ = 0;  // bytes of the file; where the tensors begin
  std::map<std::string, Entry> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Reads a whole file, whoever wrote it; nothing in it is trusted before it is checked, and what it costs is the
/// file's size and, for its names, up to twenty times that of its header.
///
///   const Safetensors file = read_safetensors("model.safetensors");
///   file.tensors.at("W1").shape
///
/// Throws InvalidArgument and FileError as SafetensorsFile does.
EQUIPROP_EXPORT Safetensors read_safetensors(const std::filesystem::path& path);

/// Writes named tensors and text on behalf of `where`, atomically: all of the new file or all of the old. Equal
/// content gives equal bytes. Data start at a multiple of 8 bytes and larger types come first, so that every tensor
/// is aligned. A link is followed, and the permissions of a file that is replaced are kept.
///
/// Throws InvalidArgument if the path leads to a device or pipe, a name is `__metadata__`, bytes do not fit a shape,
/// text is not UTF-8, or names and text do not fit a header of max_header_bytes; FileError if writing failed, for
/// example on a full disk: then nothing is left behind and an old file is intact.
EQUIPROP_EXPORT void write_safetensors(const std::filesystem::path& path,
                                       const std::map<std::string, TensorView>& tensors,
                                       const std::map<std::string, std::string>& metadata,
                                       std::string_view where = "write_safetensors");

}  // namespace equiprop
