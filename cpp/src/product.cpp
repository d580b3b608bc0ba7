/// Matrix products stand alone in this file: in a larger one gcc leaves Eigen's inner kernel out of
/// line, which halves its speed.

#include "equiprop/base/product.hpp"

#include <algorithm>

#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"

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

/// Room for the parts of an array of numbers that have two; it belongs to the thread and only grows.
using Part = Eigen::Map<State<double>>;
enum Slot { slot_a, slot_b, slot_out };

Part part(Slot slot, Index rows, Index columns) {
  thread_local Eigen::VectorXd memory[3];
  if (memory[slot].size() < rows * columns) memory[slot].resize(rows * columns);
  return {memory[slot].data(), rows, columns};
}

/// [first parts, second parts] of v, side by side.
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

/// Numbers of one part of a panel of a dual product, which is joined while it is in cache. A deep product is
/// worth a wider panel: each panel packs `a` again.
constexpr Index panel_numbers = 1 << 15;

/// (a + a' e)(b + b' e) = a b + (a b' + a' b) e in three real products, for some columns at a time.
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

namespace {

/// The caller's memory for packed matrices; it only grows.
template <class S>
S* packed_memory(Index size) {
  thread_local Eigen::Matrix<S, Eigen::Dynamic, 1> memory;
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

/// A multiple of a cache line of numbers.
Index aligned(Index numbers) {
  return (numbers + 15) / 16 * 16;
}

/// Kernels::pack, whose panels threads share.
template <class S>
void pack_panels(const ConstStateRef<S>& a, S scale, S* to) {
  const Kernels<S>& kernel = kernels<S>();
  const Index panel = 8 * kernel.lanes;
  parallel_for((a.rows() + panel - 1) / panel, [&](Index task) {
    const Index row = task * panel, rows = std::min(panel, a.rows() - row);
    kernel.pack(a.data() + row, a.outerStride(), false, rows, a.cols(), scale, to + row * a.cols());
  });
}

/// The left factors of products, packed one behind the other, until the thread asks for others.
template <class S>
const std::vector<Pull<S>>& packed_factors(std::span<const OuterProduct<S>> products) {
  const Kernels<S>& kernel = kernels<S>();
  Index size = 0;
  for (const auto& [scale, a, b] : products)
    size += aligned(kernel.packed_size(a.rows(), a.cols()));
  S* to = packed_memory<S>(size);
  thread_local std::vector<Pull<S>> pulls(2);  // as most gradients need, so that it does not grow
  pulls.clear();
  for (const auto& [scale, a, b] : products) {
    pack_panels<S>(a, scale, to);
    pulls.push_back({to, a.cols(), nullptr, 1});
    to += aligned(kernel.packed_size(a.rows(), a.cols()));
  }
  return pulls;
}

/// Columns [begin, begin + count) of the result are samples to the kernels, and their signals rows of b. Packed, they
/// lie side by side for each k, and in the first cache.
template <class S>
void take_signals(std::span<const OuterProduct<S>> products, Index begin, Index count,
                  std::vector<Pull<S>>& pulls) {
  const Kernels<S>& kernel = kernels<S>();
  thread_local Eigen::Matrix<S, Eigen::Dynamic, 1> memory;
  Index size = 0;
  for (const auto& [scale, a, b] : products) size += aligned(kernel.packed_size(count, b.cols()));
  if (memory.size() < size) memory.resize(size);
  S* to = memory.data();
  for (std::size_t i = 0; i < products.size(); ++i) {
    const auto& b = products[i].b;
    kernel.pack(b.data() + begin, b.outerStride(), false, count, b.cols(), S(1), to);
    pulls[i].signal = to;
    pulls[i].step = count <= kernel.lanes ? kernel.lanes : 2 * kernel.lanes;
    to += aligned(kernel.packed_size(count, b.cols()));
  }
}

/// Samples whose signals, or packed factors, stay in the second cache while all of a matrix passes by.
constexpr Index samples_at_once = 512;

/// Calls run(step, begin) with the sums for some columns of the result, for all of them.
template <class S, class Run>
void for_each_columns(std::span<const OuterProduct<S>> products, const Run& run) {
  const Index rows = products.front().a.rows(), columns = products.front().b.rows();
  const Index panel = 2 * kernels<S>().lanes;
  const std::vector<Pull<S>>& all = packed_factors<S>(products);
  parallel_for((columns + panel - 1) / panel, [&](Index task) {
    const Index begin = task * panel, count = std::min(panel, columns - begin);
    thread_local std::vector<Pull<S>> pulls(2);
    pulls = all;
    take_signals<S>(products, begin, count, pulls);
    LayerStep<S> step{rows,    count,   pulls.data(), static_cast<Index>(pulls.size()), nullptr, 0,
                      nullptr, nullptr, rows};
    run(step, begin);
  });
}

/// Calls run(part) with the products of some samples, for all of them in turn; true with the last ones.
template <class S, class Run>
void for_each_part(std::span<const OuterProduct<S>> products, const Run& run) {
  Index samples = 0;
  for (const auto& [scale, a, b] : products) samples = std::max(samples, a.cols());
  if (samples <= samples_at_once) return run(products, true);
  Index begin = 0;
  do {
    std::vector<OuterProduct<S>> part;
    for (const auto& [scale, a, b] : products) {
      const Index first = std::min(begin, a.cols()),
                  count = std::min(samples_at_once, a.cols() - first);
      part.push_back({scale, a.middleCols(first, count), b.middleCols(first, count)});
    }
    begin += samples_at_once;
    run(std::span<const OuterProduct<S>>(part), begin >= samples);
  } while (begin < samples);
}

}  // namespace

template <std::floating_point S>
void add_outer_products(std::span<const OuterProduct<S>> products, StateRef<S> out) {
  for_each_part<S>(products, [&](std::span<const OuterProduct<S>> part, bool) {
    for_each_columns<S>(part, [&](LayerStep<S>& step, Index begin) {
      step.out = out.data() + begin * out.outerStride();
      step.start = step.out;
      step.out_stride = step.start_stride = out.outerStride();
      kernels<S>().accumulate(step);
    });
  });
}

template <std::floating_point S>
void descend(std::span<const OuterProduct<S>> products, const Descending<S>& descending,
             Index begin) {
  ParametersRef<S> theta(descending.theta), velocity(descending.velocity);
  const MomentumStep<S>& taken = descending.step;
  State<S> sum;  // of the samples before the last ones
  for_each_part<S>(products, [&](std::span<const OuterProduct<S>> part, bool last) {
    if (!last && sum.size() == 0) sum.setZero(part.front().a.rows(), part.front().b.rows());
    if (!last) return add_outer_products<S>(part, sum);
    for_each_columns<S>(part, [&](LayerStep<S>& step, Index column) {
      const Index at = begin + column * step.rows;
      const Descent<S> descent{theta.data() + at, step.rows, taken.rate, taken.momentum,
                               taken.decay};
      step.descent = &descent;
      if (sum.size() > 0) step.start = sum.data() + column * step.rows;
      step.start_stride = step.rows;
      if (velocity.size() > 0) step.out = velocity.data() + at;
      kernels<S>().accumulate(step);
    });
  });
}

template <std::floating_point S>
void affine(const ConstStateRef<S>& w, const ConstStateRef<S>& u, const ConstParametersRef<S>& bias,
            StateRef<S> out) {
  const Kernels<S>& kernel = kernels<S>();
  const Index panel = 2 * kernel.lanes, depth = w.cols(), panels = (w.rows() + panel - 1) / panel;
  const Index parts = (u.cols() + samples_at_once - 1) / samples_at_once;
  parallel_for(parts * panels, [&](Index task) {
    const Index row = task % panels * panel, rows = std::min(panel, w.rows() - row);
    const Index begin = task / panels * samples_at_once,
                count = std::min(samples_at_once, u.cols() - begin);
    S* packed = packed_memory<S>(kernel.packed_size(rows, depth));
    kernel.pack(w.data() + row, w.outerStride(), false, rows, depth, S(1), packed);
    const Pull<S> pull{packed, depth, u.col(begin).data(), u.outerStride()};
    kernel.accumulate({rows, count, &pull, 1, bias.data() + row, 0, nullptr,
                       out.col(begin).data() + row, out.outerStride()});
  });
}

template <std::floating_point S>
S largest_size(const ConstStateRef<S>& a) {
  const Kernels<S>& kernel = kernels<S>();
  const Index chunks = (a.cols() + chunk_columns - 1) / chunk_columns;
  const auto largest = [&](const ConstStateRef<S>& part) {
    S size = 0;
    for (Index j = 0; j < part.cols(); ++j)
      raise_to(kernel.largest_size(part.rows(), part.col(j).data()), size);
    return size;
  };
  if (chunks <= 1) return largest(a);
  Parameters<S> sizes(chunks);
  parallel_for(chunks, [&](Index chunk) {
    const Index begin = a.cols() * chunk / chunks, end = a.cols() * (chunk + 1) / chunks;
    sizes(chunk) = largest(a.middleCols(begin, end - begin));
  });
  return kernel.largest_size(chunks, sizes.data());
}

#define INSTANTIATE(S)                                                                     \
  template S largest_size<S>(const ConstStateRef<S>&);                                     \
  template void add_outer_products<S>(std::span<const OuterProduct<S>>, StateRef<S>);      \
  template void descend<S>(std::span<const OuterProduct<S>>, const Descending<S>&, Index); \
  template void affine<S>(const ConstStateRef<S>&, const ConstStateRef<S>&,                \
                          const ConstParametersRef<S>&, StateRef<S>);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

#define INSTANTIATE(S)                                                                      \
  template void add_product<S>(S, const ConstStateRef<S>&, Op, const ConstStateRef<S>&, Op, \
                               StateRef<S>);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
