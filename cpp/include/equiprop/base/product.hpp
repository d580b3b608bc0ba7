#pragma once
/// The one matrix product: out += scale * op(a) * op(b), without allocating once it is warm.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/update.hpp"

namespace equiprop {

/// A matrix as it is, or transposed.
enum class Op { none, transpose };

/// Accumulates scale * op_a(a) * op_b(b) into `out`. Complex numbers are never conjugated.
/// Packing buffers belong to the calling thread and only ever grow.
template <Scalar S>
EQUIPROP_EXPORT void add_product(S scale, const ConstStateRef<S>& a, Op op_a,  // (m, k) after op_a
                                 const ConstStateRef<S>& b, Op op_b,           // (k, n) after op_b
                                 StateRef<S> out);                             // (m, n)

/// scale * a b^T, a (m, k) and b (n, k): a sum over samples.
template <Scalar S>
struct OuterProduct {
  S scale;             ///< of all
  ConstStateRef<S> a;  ///< (m, k)
  ConstStateRef<S> b;  ///< (n, k)
};

/// out += the products, by the packed kernels and in one pass over `out`. Threads share its columns.
template <std::floating_point S>
EQUIPROP_EXPORT void add_outer_products(std::span<const OuterProduct<S>> products,
                                        StateRef<S> out);  // (m, n)

/// A step along the gradient that is the sum of the products, again in one pass: the block at `begin` descends.
template <std::floating_point S>
EQUIPROP_EXPORT void descend(std::span<const OuterProduct<S>> products,
                             const Descending<S>& descending, Index begin);

/// A step of Adam along the gradient that is the sum of the products: the block at `begin` descends, a panel at a time.
template <std::floating_point S>
EQUIPROP_EXPORT void descend(std::span<const OuterProduct<S>> products,
                             const AdamDescending<S>& descending, Index begin);

/// out = w u + bias, by the packed kernels. `w` is packed on the way, a panel at a time, so for one use it is read
/// from memory once. Threads share its rows.
template <std::floating_point S>
EQUIPROP_EXPORT void affine(const ConstStateRef<S>& w,          // (m, k)
                            const ConstStateRef<S>& u,          // (k, n)
                            const ConstParametersRef<S>& bias,  // (m,)
                            StateRef<S> out);                   // (m, n)

/// max |a_ij|, NaN if any entry is NaN. Threads share its columns.
template <std::floating_point S>
EQUIPROP_EXPORT S largest_size(const ConstStateRef<S>& a);

/// out += scale * op_a(a) * b with a real `a`: one real product over both parts of the dual or complex `b`.
template <Scalar S>
EQUIPROP_EXPORT void add_real_product(S scale, const ConstStateRef<double>& a,
                                      Op op_a,                    // (m, k) after op_a
                                      const ConstStateRef<S>& b,  // (k, n)
                                      StateRef<S> out);           // (m, n)

}  // namespace equiprop
