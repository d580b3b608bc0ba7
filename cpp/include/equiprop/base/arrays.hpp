#pragma once
/// Dense arrays: states are (units, batch) with one sample per contiguous column, parameters flat.
///
/// A NumPy array (batch, units) in C order is the same memory.

// A user's program and the library may be compiled for different instruction sets; one alignment
// for both keeps memory allocated on one side safe to free on the other.
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

/// (units, batch)
template <Scalar S>
using State = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;
/// Rows to allocate for a state of `rows` that kernels work on again and again: each sample then begins at a cache
/// line, and those beside it in other sets of the cache.
template <Scalar S>
constexpr Index padded_rows(Index rows) {
  constexpr Index line = 64 / static_cast<Index>(sizeof(S));
  const Index lines = (rows + line - 1) / line;
  return (lines | 1) * line;
}

/// (parameters,)
template <Scalar S>
using Parameters = Eigen::Matrix<S, Eigen::Dynamic, 1>;

// Views, with Eigen's own strides spelled out: gcc and clang name a function differently if its type has to ask whether
// a matrix of S is a vector, and then what one compiles the other cannot link.

/// A view of a state, or of some rows and columns of one, that may be written.
template <Scalar S>
using StateRef = Eigen::Ref<State<S>, 0, Eigen::OuterStride<>>;
/// A view of a state that is only read.
template <Scalar S>
using ConstStateRef = Eigen::Ref<const State<S>, 0, Eigen::OuterStride<>>;
/// A view of parameters, or of a segment of them, that may be written.
template <Scalar S>
using ParametersRef = Eigen::Ref<Parameters<S>, 0, Eigen::InnerStride<1>>;
/// A view of parameters that are only read.
template <Scalar S>
using ConstParametersRef = Eigen::Ref<const Parameters<S>, 0, Eigen::InnerStride<1>>;
static_assert(std::same_as<ConstStateRef<float>, Eigen::Ref<const State<float>>> &&
              std::same_as<ConstParametersRef<float>, Eigen::Ref<const Parameters<float>>>);

/// (batch,)
template <class T>
using PerSample = Eigen::Array<T, Eigen::Dynamic, 1>;

/// Some samples of a batch, by number.
using Samples = std::span<const Index>;

/// begin, ..., begin + count - 1.
inline std::vector<Index> sample_range(Index begin, Index count) {
  std::vector<Index> numbers(static_cast<std::size_t>(count));
  for (Index j = 0; j < count; ++j) numbers[static_cast<std::size_t>(j)] = begin + j;
  return numbers;
}

/// Whether they follow one another, as a view of columns needs them.
inline bool contiguous(Samples which) {
  for (std::size_t j = 1; j < which.size(); ++j)
    if (which[j] != which[0] + static_cast<Index>(j)) return false;
  return true;
}

/// A copy of those columns, in their order.
template <Scalar S>
State<S> columns_of(const ConstStateRef<S>& a, Samples which) {
  State<S> out(a.rows(), static_cast<Index>(which.size()));
  for (Index j = 0; j < out.cols(); ++j) out.col(j) = a.col(which[static_cast<std::size_t>(j)]);
  return out;
}

/// Whether every number is finite, in one vectorised pass (Eigen's allFinite is not).
template <class Derived>
bool all_finite(const Eigen::DenseBase<Derived>& a) {
  return (a.derived().array() * typename Derived::Scalar(0)).sum() == typename Derived::Scalar(0);
}

/// sum_i a_ij b_ij for each sample j: the only inner product here. Eigen's `dot` conjugates complex
/// numbers, which would make every energy non-holomorphic and break complex nudging silently.
template <Scalar S>
PerSample<S> inner(const ConstStateRef<S>& a, const ConstStateRef<S>& b) {
  return (a.array() * b.array()).colwise().sum().transpose();
}

/// max_i |a_ij - b_ij| of sample j; NaN if any entry is NaN.
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

/// The same for each sample.
template <Scalar S, class Out>
void max_difference(const ConstStateRef<S>& a, const ConstStateRef<S>& b, Out&& out) {
  for (Index j = 0; j < a.cols(); ++j) out(j) = largest_difference<S>(a, b, j);
}

/// `largest` becomes the larger of itself and `other`; NaN is larger than any number.
template <class Real>
void raise_to(Real other, Real& largest) {
  if (!(other <= largest) && !std::isnan(largest)) largest = other;
}

/// out_j <- the larger of out_j and max_i |a_ij - b_ij|; once NaN it stays so.
template <Scalar S>
void raise_to_difference(const ConstStateRef<S>& a, const ConstStateRef<S>& b,
                         PerSample<RealOf<S>>& out) {
  for (Index j = 0; j < a.cols(); ++j) raise_to(largest_difference<S>(a, b, j), out(j));
}

}  // namespace equiprop
