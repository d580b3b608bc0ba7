#pragma once
/// Dense arrays: a state is (units, batch), one contiguous column per sample; parameters are one flat vector.
///
/// A NumPy array (batch, units) in C order has the same memory layout.

// The user's program and the library may be compiled for different instruction sets. A fixed alignment makes it safe to
// allocate memory in one and free it in the other.
#ifndef EIGEN_MAX_ALIGN_BYTES
#define EIGEN_MAX_ALIGN_BYTES 64
#endif

#include <Eigen/Core>
#include <cmath>
#include <span>
#include <vector>

#include "equiprop/base/scalar.hpp"

namespace equiprop {

static_assert(EIGEN_DEFAULT_ALIGN_BYTES == 64,
              "compile equiprop and its users with EIGEN_MAX_ALIGN_BYTES=64");

using Eigen::Index;

/// A state of all units of a batch, (units, batch).
template <Scalar S>
using State = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;
/// Returns the rows to allocate for a state with `rows` rows that kernels read repeatedly: an odd number of 64-byte
/// cache lines, so that each sample starts on a cache line and neighbouring samples map to different cache sets.
template <Scalar S>
constexpr Index padded_rows(Index rows) {
  constexpr Index line = 64 / static_cast<Index>(sizeof(S));
  const Index lines = (rows + line - 1) / line;
  return (lines | 1) * line;
}

/// All parameters theta of a model, (parameters,).
template <Scalar S>
using Parameters = Eigen::Matrix<S, Eigen::Dynamic, 1>;

// The views name Eigen's strides explicitly. With the default strides the type depends on whether a matrix of S is a
// vector; gcc and clang then mangle the name of a function differently, and objects of the two do not link.

/// A writable view of a state, or of a block of its rows and columns.
template <Scalar S>
using StateRef = Eigen::Ref<State<S>, 0, Eigen::OuterStride<>>;
/// A read-only view of a state.
template <Scalar S>
using ConstStateRef = Eigen::Ref<const State<S>, 0, Eigen::OuterStride<>>;
/// A writable view of parameters, or of a segment of them.
template <Scalar S>
using ParametersRef = Eigen::Ref<Parameters<S>, 0, Eigen::InnerStride<1>>;
/// A read-only view of parameters.
template <Scalar S>
using ConstParametersRef = Eigen::Ref<const Parameters<S>, 0, Eigen::InnerStride<1>>;
static_assert(std::same_as<ConstStateRef<float>, Eigen::Ref<const State<float>>> &&
              std::same_as<ConstParametersRef<float>, Eigen::Ref<const Parameters<float>>>);

/// One number for each sample, (batch,).
template <class T>
using PerSample = Eigen::Array<T, Eigen::Dynamic, 1>;

/// Gives an array another shape; its numbers are undefined. If there is too little memory, std::bad_alloc is thrown and
/// the array is empty. The library resizes no array that is not empty in another way: Eigen 3.4 frees the old memory
/// first, and if the new allocation fails, it keeps the pointer and frees it again.
template <class Array>
void resize_to(Array& a, Index rows, Index columns = 1) {
  if (a.rows() == rows && a.cols() == columns) return;
  if (a.size() != rows * columns) Array().swap(a);
  a.resize(rows, columns);
}
/// Gives an array another shape, as resize_to, and all its numbers one value.
template <class Array>
void fill(Array& a, const typename Array::Scalar& value, Index rows, Index columns = 1) {
  resize_to(a, rows, columns);
  a.setConstant(value);
}
/// Copies an expression to an array, which takes its shape as in resize_to. The expression must not read the array.
template <class Array, class Expression>
void copy_to(Array& a, const Expression& expression) {
  resize_to(a, expression.rows(), expression.cols());
  a = expression;
}

/// Indices of samples of a batch.
using Samples = std::span<const Index>;

/// Returns begin, ..., begin + count - 1.
inline std::vector<Index> sample_range(Index begin, Index count) {
  std::vector<Index> numbers(static_cast<std::size_t>(count));
  for (Index j = 0; j < count; ++j) numbers[static_cast<std::size_t>(j)] = begin + j;
  return numbers;
}

/// Returns true if the samples are consecutive, so that a view of columns can represent them.
inline bool contiguous(Samples which) {
  for (std::size_t j = 1; j < which.size(); ++j)
    if (which[j] != which[0] + static_cast<Index>(j)) return false;
  return true;
}

/// Returns a copy of the columns `which`, in the order given.
template <Scalar S>
State<S> columns_of(const ConstStateRef<S>& a, Samples which) {
  State<S> out(a.rows(), static_cast<Index>(which.size()));
  for (Index j = 0; j < out.cols(); ++j) out.col(j) = a.col(which[static_cast<std::size_t>(j)]);
  return out;
}

/// Returns true if every number is finite. One vectorised pass; Eigen's allFinite is not vectorised.
template <class Derived>
bool all_finite(const Eigen::DenseBase<Derived>& a) {
  return (a.derived().array() * typename Derived::Scalar(0)).sum() == typename Derived::Scalar(0);
}

/// Returns sum_i a_ij b_ij of each sample j, (batch,). The library uses no other inner product: Eigen's `dot`
/// conjugates complex numbers, which would make every energy non-holomorphic and complex nudging wrong without any
/// error.
template <Scalar S>
PerSample<S> inner(const ConstStateRef<S>& a, const ConstStateRef<S>& b) {
  return (a.array() * b.array()).colwise().sum().transpose();
}

/// Returns max_i |a_ij - b_ij| of sample j, or NaN if any entry is NaN.
template <Scalar S>
RealOf<S> largest_difference(const ConstStateRef<S>& a, const ConstStateRef<S>& b, Index j) {
  if (a.rows() == 0) return 0;
  const auto difference = (a.col(j) - b.col(j)).array();
  if constexpr (std::same_as<S, Dual<double>>)
    return difference.unaryExpr([](const S& x) { return magnitude(x); })
        .template maxCoeff<Eigen::PropagateNaN>();
  else
    return difference.abs().template maxCoeff<Eigen::PropagateNaN>();
}

/// Stores max_i |a_ij - b_ij| of each sample j in out, (batch,); NaN if any entry is NaN.
template <Scalar S, class Out>
void max_difference(const ConstStateRef<S>& a, const ConstStateRef<S>& b, Out&& out) {
  for (Index j = 0; j < a.cols(); ++j) out(j) = largest_difference<S>(a, b, j);
}

/// Replaces `largest` by the larger of itself and `other`; NaN counts as larger than any number.
template <class Real>
void raise_to(Real other, Real& largest) {
  if (!(other <= largest) && !std::isnan(largest)) largest = other;
}

/// Replaces out_j by the larger of itself and max_i |a_ij - b_ij|; NaN counts as larger than any number.
template <Scalar S>
void raise_to_difference(const ConstStateRef<S>& a, const ConstStateRef<S>& b,
                         PerSample<RealOf<S>>& out) {
  for (Index j = 0; j < a.cols(); ++j) raise_to(largest_difference<S>(a, b, j), out(j));
}

}  // namespace equiprop
