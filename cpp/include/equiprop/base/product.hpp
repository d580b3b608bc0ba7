#pragma once
/// Matrix products out += scale * op(a) * op(b). After the first calls they allocate no memory.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/update.hpp"

namespace equiprop {

/// Use of a factor as it is, or transposed.
enum class Op { none, transpose };

/// out += scale * op_a(a) * op_b(b). Complex numbers are never conjugated. Packing buffers are thread-local and never
/// shrink.
template <Scalar S>
EQUIPROP_EXPORT void add_product(S scale, const ConstStateRef<S>& a, Op op_a,  // (m, k) after op_a
                                 const ConstStateRef<S>& b, Op op_b,           // (k, n) after op_b
                                 StateRef<S> out);                             // (m, n)

/// The product scale * a b^T of a (m, k) and b (n, k), a sum over k samples.
template <Scalar S>
struct OuterProduct {
  S scale;             ///< common factor
  ConstStateRef<S> a;  ///< left factor, (m, k)
  ConstStateRef<S> b;  ///< right factor before the transposition, (n, k)
};

/// out += the sum of the products, by the packed kernels in one pass over `out`. Threads share the columns of `out`.
template <std::floating_point S>
EQUIPROP_EXPORT void add_outer_products(std::span<const OuterProduct<S>> products,
                                        StateRef<S> out);  // (m, n)

/// Takes a step of SGD with momentum along the gradient that is the sum of the products, fused with the sum. Updates
/// the block of parameters that starts at `begin`.
template <std::floating_point S>
EQUIPROP_EXPORT void descend(std::span<const OuterProduct<S>> products,
                             const Descending<S>& descending, Index begin);

/// Takes a step of Adam along the gradient that is the sum of the products. Updates the block of parameters that starts
/// at `begin`; only one panel of the gradient is stored at a time.
template <std::floating_point S>
EQUIPROP_EXPORT void descend(std::span<const OuterProduct<S>> products,
                             const AdamDescending<S>& descending, Index begin);

/// out = w u + bias, by the packed kernels. `w` is packed one panel at a time, so it is read from memory once. Threads
/// share the rows of `out`.
template <std::floating_point S>
EQUIPROP_EXPORT void affine(const ConstStateRef<S>& w,          // (m, k)
                            const ConstStateRef<S>& u,          // (k, n)
                            const ConstParametersRef<S>& bias,  // (m,)
                            StateRef<S> out);                   // (m, n)

/// Returns max |a_ij|, or NaN if any entry is NaN. Threads share the columns of a.
template <std::floating_point S>
EQUIPROP_EXPORT S largest_size(const ConstStateRef<S>& a);

/// out += scale * op_a(a) * b with a real matrix a: one real product with both parts of the dual or complex matrix b.
template <Scalar S>
EQUIPROP_EXPORT void add_real_product(S scale, const ConstStateRef<double>& a,
                                      Op op_a,                    // (m, k) after op_a
                                      const ConstStateRef<S>& b,  // (k, n)
                                      StateRef<S> out);           // (m, n)

}  // namespace equiprop
