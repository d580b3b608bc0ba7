#pragma once
/// Named blocks of a flat array, for example W1 in the parameters or a layer in the state.

#include <string>
#include <vector>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// A column-major matrix (rows, columns) that starts at `offset`; in C order the same memory is (columns, rows).
struct Block {
  std::string name;   ///< W1, b1, ... in the parameters; the name of the layer in a state
  Index offset = 0;   ///< index of its first number
  Index rows = 0;     ///< units of the target, for weights
  Index columns = 1;  ///< units of the source, for weights
  /// Shape in C order that NumPy and files see.
  std::vector<Index> shape = {};

  /// Returns how many numbers the block holds.
  Index size() const { return rows * columns; }
};

/// Adjacent rows of a state.
struct Rows {
  Index begin = 0;  ///< first row
  Index size = 0;   ///< number of rows

  bool operator==(const Rows&) const = default;  ///< compares both numbers
};

/// A sequence of adjacent blocks.
class Layout {
 public:
  /// Adds a block at the end. An empty shape stands for (columns, rows).
  void append(std::string name, Index rows, Index columns = 1, std::vector<Index> shape = {}) {
    if (shape.empty()) shape = {columns, rows};
    blocks_.push_back({std::move(name), size_, rows, columns, std::move(shape)});
    size_ += rows * columns;
  }
  /// Returns how many numbers all blocks hold.
  Index size() const { return size_; }
  /// Returns the blocks in order.
  const std::vector<Block>& blocks() const { return blocks_; }
  /// Returns block i without a range check.
  const Block& operator[](std::size_t i) const { return blocks_[i]; }

 private:
  std::vector<Block> blocks_;
  Index size_ = 0;
};

}  // namespace equiprop
