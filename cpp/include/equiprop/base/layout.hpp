#pragma once
/// Named blocks of one flat array: where W1 lies in the parameters, where layer 2 in the state.

#include <string>
#include <vector>

#include "equiprop/base/arrays.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// Column-major (rows, columns) at `offset`; the same memory is (columns, rows) in C order.
struct Block {
  std::string name;
  Index offset = 0;
  Index rows = 0;
  Index columns = 1;

  Index size() const { return rows * columns; }
};

class Layout {
 public:
  void append(std::string name, Index rows, Index columns = 1) {
    blocks_.push_back({std::move(name), size_, rows, columns});
    size_ += rows * columns;
  }
  Index size() const { return size_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const Block& operator[](std::size_t i) const { return blocks_[i]; }

 private:
  std::vector<Block> blocks_;
  Index size_ = 0;
};

}  // namespace equiprop
