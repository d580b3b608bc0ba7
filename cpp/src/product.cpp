/// Matrix products stand alone in this file: in a larger one gcc leaves Eigen's inner kernel out of
/// line, which halves its speed.

#include "equiprop/base/product.hpp"

#include <vector>

namespace equiprop {
namespace {

using Eigen::ColMajor;
using Eigen::RowMajor;

/// Eigen's operator* allocates its packing buffers in every call once they outgrow the stack limit.
/// Handing its kernel a blocking that points into buffers of the thread avoids that.
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
    if (buffer.size() < size) buffer.resize(size);
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

}  // namespace

template <Scalar S>
void add_product(S scale, const ConstStateRef<S>& a, Op op_a, const ConstStateRef<S>& b, Op op_b,
                 StateRef<S> out) {
  const Index depth = op_a == Op::none ? a.cols() : a.rows();
  eigen_assert((op_a == Op::none ? a.rows() : a.cols()) == out.rows());
  eigen_assert((op_b == Op::none ? b.cols() : b.rows()) == out.cols());
  eigen_assert((op_b == Op::none ? b.rows() : b.cols()) == depth);
  if (out.size() == 0 || depth == 0) return;
  if (op_a == Op::none && op_b == Op::none)
    run<S, ColMajor, ColMajor>(scale, a, b, out, depth);
  else if (op_a == Op::none)
    run<S, ColMajor, RowMajor>(scale, a, b, out, depth);
  else if (op_b == Op::none)
    run<S, RowMajor, ColMajor>(scale, a, b, out, depth);
  else
    run<S, RowMajor, RowMajor>(scale, a, b, out, depth);
}

#define INSTANTIATE(S)                                                                      \
  template void add_product<S>(S, const ConstStateRef<S>&, Op, const ConstStateRef<S>&, Op, \
                               StateRef<S>);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
