/// Products by Eigen. They have their own source file: in a larger one gcc does not inline Eigen's inner kernel, which
/// halves its speed.

#include "equiprop/base/product.hpp"

#include <algorithm>

namespace equiprop {
namespace {

using Eigen::ColMajor;
using Eigen::RowMajor;

/// Packing buffers of Eigen's product that belong to the thread. Eigen's operator* allocates its own in every call once
/// they are larger than its stack limit.
template <class S>
class Blocking final : public Eigen::internal::level3_blocking<S, S> {
 public:
  Blocking(Index rows, Index columns, Index depth) {
    this->m_mc = rows;
    this->m_nc = columns;
    this->m_kc = depth;
    Eigen::internal::computeProductBlockingSizes<S, S>(this->m_kc, this->m_mc, this->m_nc);
    thread_local Eigen::Matrix<S, Eigen::Dynamic, 1> packed_a, packed_b;
    grow(packed_a, this->m_mc * this->m_kc);
    grow(packed_b, this->m_kc * this->m_nc);
    this->m_blockA = packed_a.data();
    this->m_blockB = packed_b.data();
  }

 private:
  static void grow(Eigen::Matrix<S, Eigen::Dynamic, 1>& buffer, Index size) {
    if (buffer.size() < size) resize_to(buffer, size);
  }
};

template <class S, int OrderA, int OrderB>
void run(S scale, const ConstStateRef<S>& a, const ConstStateRef<S>& b, StateRef<S>& out,
         Index depth) {
  Blocking<S> blocking(out.rows(), out.cols(), depth);
  Eigen::internal::general_matrix_matrix_product<Index, S, OrderA, false, S, OrderB, false,
                                                 ColMajor, 1>::run(out.rows(), out.cols(), depth,
                                                                   a.data(), a.outerStride(),
                                                                   b.data(), b.outerStride(),
                                                                   out.data(), 1, out.outerStride(),
                                                                   scale, blocking, nullptr);
}

double first(const Complex& v) {
  return v.real();
}
double second(const Complex& v) {
  return v.imag();
}
double first(const Dual<double>& v) {
  return v.value;
}
double second(const Dual<double>& v) {
  return v.derivative;
}

/// A matrix of the real or imaginary parts of complex numbers, or of the values or derivatives of dual numbers.
using Part = Eigen::Map<State<double>>;
enum Slot { slot_a, slot_b, slot_out };

/// Returns thread-local memory for a Part; it never shrinks.
Part part(Slot slot, Index rows, Index columns) {
  thread_local Eigen::VectorXd memory[3];
  if (memory[slot].size() < rows * columns) resize_to(memory[slot], rows * columns);
  return {memory[slot].data(), rows, columns};
}

/// Returns [first parts, second parts] of v, side by side.
template <class S>
Part split(Slot slot, const ConstStateRef<S>& v) {
  Part parts = part(slot, v.rows(), 2 * v.cols());
  parts.leftCols(v.cols()) = v.unaryExpr([](const S& x) { return first(x); });
  parts.rightCols(v.cols()) = v.unaryExpr([](const S& x) { return second(x); });
  return parts;
}

template <class S>
void add_joined(S scale, const Part& parts, StateRef<S> out) {
  const Index n = out.cols();
  for (Index j = 0; j < n; ++j)
    for (Index i = 0; i < out.rows(); ++i) out(i, j) += scale * S(parts(i, j), parts(i, n + j));
}

/// Numbers per part of a panel of a dual product; a panel is joined while it is in the cache. A deep product has wider
/// panels, because `a` is packed again for each panel.
constexpr Index panel_numbers = 1 << 15;

/// Adds (a + a' e)(b + b' e) = a b + (a b' + a' b) e by three real products, for some columns at a time.
void add_dual_product(Dual<double> scale, const ConstStateRef<Dual<double>>& a, Op op_a,
                      const ConstStateRef<Dual<double>>& b, Op op_b, StateRef<Dual<double>>& out) {
  const Part as = split(slot_a, a), bs = split(slot_b, b);
  const auto a_value = as.leftCols(a.cols()), a_derivative = as.rightCols(a.cols());
  const ConstStateRef<double> b_value = bs.leftCols(b.cols()),
                              b_derivative = bs.rightCols(b.cols());
  const Index depth = op_b == Op::none ? b.rows() : b.cols();
  const Index panel = std::max(Index{8}, std::max(panel_numbers / out.rows(), depth / 4));
  for (Index begin = 0; begin < out.cols(); begin += panel) {
    const Index count = std::min(panel, out.cols() - begin);
    const auto columns = [&](const ConstStateRef<double>& of_b) {
      return op_b == Op::none ? of_b.block(0, begin, b.rows(), count)
                              : of_b.block(begin, 0, count, b.cols());
    };
    Part product = part(slot_out, out.rows(), 2 * count);
    product.setZero();
    auto derivative = product.rightCols(count);
    add_product<double>(1, a_value, op_a, columns(b_value), op_b, product.leftCols(count));
    add_product<double>(1, a_value, op_a, columns(b_derivative), op_b, derivative);
    add_product<double>(1, a_derivative, op_a, columns(b_value), op_b, derivative);
    add_joined<Dual<double>>(scale, product, out.middleCols(begin, count));
  }
}

}  // namespace

template <Scalar S>
void add_product(S scale, const ConstStateRef<S>& a, Op op_a, const ConstStateRef<S>& b, Op op_b,
                 StateRef<S> out) {
  const Index depth = op_a == Op::none ? a.cols() : a.rows();
  eigen_assert((op_a == Op::none ? a.rows() : a.cols()) == out.rows());
  eigen_assert((op_b == Op::none ? b.cols() : b.rows()) == out.cols());
  eigen_assert((op_b == Op::none ? b.rows() : b.cols()) == depth);
  if (out.size() == 0 || depth == 0) return;
  if constexpr (std::same_as<S, Dual<double>>)
    add_dual_product(scale, a, op_a, b, op_b, out);
  else if (op_a == Op::none && op_b == Op::none)
    run<S, ColMajor, ColMajor>(scale, a, b, out, depth);
  else if (op_a == Op::none)
    run<S, ColMajor, RowMajor>(scale, a, b, out, depth);
  else if (op_b == Op::none)
    run<S, RowMajor, ColMajor>(scale, a, b, out, depth);
  else
    run<S, RowMajor, RowMajor>(scale, a, b, out, depth);
}

template <Scalar S>
void add_real_product(S scale, const ConstStateRef<double>& a, Op op_a, const ConstStateRef<S>& b,
                      StateRef<S> out) {
  const Part bs = split(slot_b, b);
  Part product = part(slot_out, out.rows(), 2 * out.cols());
  product.setZero();
  add_product<double>(1, a, op_a, bs, Op::none, product);
  add_joined<S>(scale, product, out);
}

template void add_real_product(Complex, const ConstStateRef<double>&, Op,
                               const ConstStateRef<Complex>&, StateRef<Complex>);
template void add_real_product(Dual<double>, const ConstStateRef<double>&, Op,
                               const ConstStateRef<Dual<double>>&, StateRef<Dual<double>>);

#define INSTANTIATE(S)                                                                      \
  template void add_product<S>(S, const ConstStateRef<S>&, Op, const ConstStateRef<S>&, Op, \
                               StateRef<S>);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
