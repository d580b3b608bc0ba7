#pragma once
/// A layer and its neighbours as data of the kernels, for the tests of the packed kernels.

#include <numeric>

#include "support.hpp"

namespace equiprop::tests {

using Numbers = testing::Types<float, double>;

using Size = std::ptrdiff_t;

/// A matrix with gaps between its columns, in a buffer that ends with its last entry: a read beyond it is an error
/// under the address sanitizer. The gaps are NaN, so that a kernel that reads them fails.
template <class T>
struct Strided {
  Size rows, columns, stride;
  std::vector<T> numbers;

  Strided(Size rows, Size columns, Size gap)
      : rows(rows),
        columns(columns),
        stride(rows + gap),
        numbers(static_cast<std::size_t>(columns == 0 ? 0 : stride * (columns - 1) + rows),
                std::numeric_limits<T>::quiet_NaN()) {}
  Strided(Random& random, Size rows, Size columns, Size gap) : Strided(rows, columns, gap) {
    for (Size j = 0; j < columns; ++j)
      for (Size i = 0; i < rows; ++i) at(i, j) = static_cast<T>(random.symmetric());
  }

  T& at(Size i, Size j) { return numbers[static_cast<std::size_t>(i + j * stride)]; }
  const T& at(Size i, Size j) const { return const_cast<Strided*>(this)->at(i, j); }
  const T* data() const { return numbers.data(); }
};

template <class T>
struct Neighbour {
  Strided<T> weights;  ///< (rows, depth), or (depth, rows)
  bool transposed;
  T scale;
  Strided<T> signal;
  std::vector<T> packed;

  Neighbour(const Kernels<T>& kernels, Random& random, Size rows, Size depth, Size batch, Size gap,
            bool transposed, T scale, bool by_rows)
      : weights(random, transposed ? depth : rows, transposed ? rows : depth, gap),
        transposed(transposed),
        scale(scale),
        signal(random, depth, batch, gap),
        packed(static_cast<std::size_t>(by_rows ? kernels.packed_size(depth, rows)
                                                : kernels.packed_size(rows, depth))) {
    const auto pack = by_rows ? kernels.pack_by_rows : kernels.pack;
    pack(weights.data(), weights.stride, transposed, rows, depth, scale, packed.data());
  }

  Pull<T> pull() const { return {packed.data(), signal.rows, signal.data(), signal.stride}; }
  double weight(Size i, Size k) const {
    return static_cast<double>(transposed ? weights.at(k, i) : weights.at(i, k));
  }
};

/// Returns true if a layer's weights are packed by rows.
template <class T>
bool by_rows(const Kernels<T>& kernels, Size rows, const std::vector<Size>& depths) {
  return kernels.by_rows(rows, std::accumulate(depths.begin(), depths.end(), Size{0}));
}

/// Returns the instruction sets that this machine supports.
inline std::vector<std::string> isas() {
  const auto names = kernel_isas();
  return {names.begin(), names.end()};
}

}  // namespace equiprop::tests
