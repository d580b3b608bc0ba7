#pragma once
/// The one matrix product: out += scale * op(a) * op(b), without allocating once it is warm.

#include "equiprop/base/arrays.hpp"

namespace equiprop {

enum class Op { none, transpose };

/// Accumulates scale * op_a(a) * op_b(b) into `out`. Complex numbers are never conjugated.
/// Packing buffers belong to the calling thread and only ever grow.
template <Scalar S>
void add_product(S scale, const ConstStateRef<S>& a, Op op_a,  // (m, k) after op_a
                 const ConstStateRef<S>& b, Op op_b,           // (k, n) after op_b
                 StateRef<S> out);                             // (m, n)

/// out += scale * a b^T, a (m, k) and b (n, k): a sum over samples, by the packed kernels.
template <std::floating_point S>
void add_outer_product(S scale, const ConstStateRef<S>& a, const ConstStateRef<S>& b,
                       StateRef<S> out);  // (m, n)

/// out += scale * op_a(a) * b with a real `a`: one real product over both parts of the dual or complex `b`.
template <Scalar S>
void add_real_product(S scale, const ConstStateRef<double>& a, Op op_a,  // (m, k) after op_a
                      const ConstStateRef<S>& b,                         // (k, n)
                      StateRef<S> out);                                  // (m, n)

}  // namespace equiprop
