#pragma once
/// Largest absolute values, in one vectorised pass where the scalar is a real number.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/kernels.hpp"

namespace equiprop {

/// Returns the largest of `count` |numbers|; NaN counts as larger than any number.
template <Scalar S>
double largest_of(Index count, const S* numbers) {
  if constexpr (std::floating_point<S>) {
    return static_cast<double>(kernels<S>().largest_size(count, numbers));
  } else {
    RealOf<S> largest(0);
    for (Index i = 0; i < count; ++i) raise_to(magnitude(numbers[i]), largest);
    return largest;
  }
}

/// Returns the largest |number| in column j.
template <Scalar S>
double largest_in(const ConstStateRef<S>& s, Index j) {
  return largest_of<S>(s.rows(), s.col(j).data());
}

}  // namespace equiprop
