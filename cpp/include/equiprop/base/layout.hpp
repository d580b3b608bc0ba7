#pragma once
/// Named blocks of one flat array: where W1 lies in the parameters, where layer 2 in the state.

#include <string>
#include <vector>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// Column-major (rows, columns) at `offset`; the same memory is (columns, rows) in C order.
struct Block {
  std::string name;   ///< W1, b1, ... of parameters; that of the layer in a state
  Index offset = 0;   ///< where it begins
  Index rows = 0;     ///< target units of weights
  Index columns = 1;  ///< source units of weights

  /// How many numbers.
  Index size() const { return rows * columns; }
};

/// Blocks one behind the other.
class Layout {
 public:
  /// Adds a block at the end.
  void append(std::string name, Index rows, Index columns = 1) {
    blocks_.push_back({std::move(name), size_, rows, columns});
    size_ += rows * columns;
  }
  /// Numbers in all blocks.
  Index size() const { return size_; }
  /// In order.
  const std::vector<Block>& blocks() const { return blocks_; }
  /// Block i, unchecked.
  const Block& operator[](std::size_t i) const { return blocks_[i]; }

 private:
  std::vector<Block> blocks_;
  Index size_ = 0;
};

}  // namespace equiprop
