/// Products by the packed kernels: sums of outer products, steps of descent along them, and affine maps.

#include <span>
#include <vector>

#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/base/product.hpp"

namespace equiprop {
namespace {

/// Returns thread-local memory for packed matrices; it never shrinks.
template <class S>
S* packed_memory(Index size) {
  thread_local Eigen::Matrix<S, Eigen::Dynamic, 1> memory;
  if (memory.size() < size) resize_to(memory, size);
  return memory.data();
}

/// Rounds up to a multiple of 16 numbers, a cache line of floats.
Index aligned(Index numbers) {
  return (numbers + 15) / 16 * 16;
}

/// Packs a matrix (Kernels::pack); threads share its panels.
template <class S>
void pack_panels(const ConstStateRef<S>& a, S scale, S* to) {
  const Kernels<S>& kernel = kernels<S>();
  const Index panel = 8 * kernel.lanes;
  parallel_for((a.rows() + panel - 1) / panel, [&](Index task) {
    const Index row = task * panel, rows = std::min(panel, a.rows() - row);
    kernel.pack(a.data() + row, a.outerStride(), false, rows, a.cols(), scale, to + row * a.cols());
  });
}

/// Packs the left factors of the products, one after the other. The result is valid until the thread's next call.
template <class S>
const std::vector<Pull<S>>& packed_factors(std::span<const OuterProduct<S>> products) {
  const Kernels<S>& kernel = kernels<S>();
  Index size = 0;
  for (const auto& [scale, a, b] : products)
    size += aligned(kernel.packed_size(a.rows(), a.cols()));
  S* to = packed_memory<S>(size);
  thread_local std::vector<Pull<S>> pulls(2);  // most gradients have two, so it rarely grows
  pulls.clear();
  for (const auto& [scale, a, b] : products) {
    pack_panels<S>(a, scale, to);
    pulls.push_back({to, a.cols(), nullptr, 1});
    to += aligned(kernel.packed_size(a.rows(), a.cols()));
  }
  return pulls;
}

/// Packs the right factors of columns [begin, begin + count) of the result. The kernels take these columns for samples,
/// and rows of b for their signals; packed, the signals of one k are contiguous, and all of them fit into L1.
template <class S>
void take_signals(std::span<const OuterProduct<S>> products, Index begin, Index count,
                  std::vector<Pull<S>>& pulls) {
  const Kernels<S>& kernel = kernels<S>();
  thread_local Eigen::Matrix<S, Eigen::Dynamic, 1> memory;
  Index size = 0;
  for (const auto& [scale, a, b] : products) size += aligned(kernel.packed_size(count, b.cols()));
  if (memory.size() < size) resize_to(memory, size);
  S* to = memory.data();
  for (std::size_t i = 0; i < products.size(); ++i) {
    const auto& b = products[i].b;
    kernel.pack(b.data() + begin, b.outerStride(), false, count, b.cols(), S(1), to);
    pulls[i].signal = to;
    pulls[i].step = count <= kernel.lanes ? kernel.lanes : 2 * kernel.lanes;
    to += aligned(kernel.packed_size(count, b.cols()));
  }
}

/// Samples whose signals or packed factors stay in L2 during a pass over a whole matrix.
constexpr Index samples_at_once = 512;

/// Calls run(step, begin) for panels of columns of the result; `step` computes the sum of the products for the columns
/// from `begin` on. Threads share the panels.
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

/// Calls run(part, last) with the products of at most samples_at_once samples, for all samples in turn.
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

namespace {

/// Calls run(step, column) for panels of columns of the result; each step computes the complete sums of its columns.
template <class S, class Run>
void for_each_sum(std::span<const OuterProduct<S>> products, const Run& run) {
  State<S> sum;  // sum over the samples of all parts except the last
  for_each_part<S>(products, [&](std::span<const OuterProduct<S>> part, bool last) {
    if (!last && sum.size() == 0) fill(sum, 0, part.front().a.rows(), part.front().b.rows());
    if (!last) return add_outer_products<S>(part, sum);
    for_each_columns<S>(part, [&](LayerStep<S>& step, Index column) {
      if (sum.size() > 0) step.start = sum.data() + column * step.rows;
      step.start_stride = step.rows;
      run(step, column);
    });
  });
}

}  // namespace

template <std::floating_point S>
void descend(std::span<const OuterProduct<S>> products, const Descending<S>& descending,
             Index begin) {
  ParametersRef<S> theta(descending.theta), velocity(descending.velocity);
  const MomentumStep<S>& taken = descending.step;
  for_each_sum<S>(products, [&](LayerStep<S>& step, Index column) {
    const Index at = begin + column * step.rows;
    const Descent<S> descent{theta.data() + at, step.rows, taken.rate, taken.momentum, taken.decay};
    step.descent = &descent;
    if (velocity.size() > 0) step.out = velocity.data() + at;
    kernels<S>().accumulate(step);
  });
}

template <std::floating_point S>
void descend(std::span<const OuterProduct<S>> products, const AdamDescending<S>& descending,
             Index begin) {
  ParametersRef<S> theta(descending.theta), mean(descending.mean), square(descending.square);
  for_each_sum<S>(products, [&](LayerStep<S>& step, Index column) {
    thread_local Parameters<S> sums;  // of one panel, which stays in L2
    const Index at = begin + column * step.rows, count = step.rows * step.batch;
    if (sums.size() < count) resize_to(sums, count);
    step.out = sums.data();
    step.out_stride = step.rows;
    kernels<S>().accumulate(step);
    descending.step.apply(theta.segment(at, count), sums.head(count), mean.segment(at, count),
                          square.segment(at, count));
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

#define INSTANTIATE(S)                                                                         \
  template S largest_size<S>(const ConstStateRef<S>&);                                         \
  template void add_outer_products<S>(std::span<const OuterProduct<S>>, StateRef<S>);          \
  template void descend<S>(std::span<const OuterProduct<S>>, const Descending<S>&, Index);     \
  template void descend<S>(std::span<const OuterProduct<S>>, const AdamDescending<S>&, Index); \
  template void affine<S>(const ConstStateRef<S>&, const ConstStateRef<S>&,                    \
                          const ConstParametersRef<S>&, StateRef<S>);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
