#include "image_edge.hpp"

#include "equiprop/base/parallel.hpp"

namespace equiprop {
namespace {

constexpr Index images_per_task = 8;
/// A derivative by the weights is summed in at most this many parts, which does not depend on the number of threads.
constexpr Index most_parts = 8;

template <class S>
ImagePair<S> sample(const EdgeSignals<S>& u, Index j) {
  return {{u.source.scale, u.source.rows.col(j).data()},
          {u.target.scale, u.target.rows.col(j).data()}};
}

/// The pull on one layer for one sample at a time, as a plan needs it.
template <class T>
class PlannedImage final : public PlannedMap<T> {
 public:
  PlannedImage(const ImageEdge<T>& edge, End end) : edge_(edge), end_(end) {}

  void add(const T* signals, T* out) const override {
    edge_.pull_image(end_, images(signals), out);
  }
  void add_tangent(const T* signals, const T* tangents, T* out) const override {
    edge_.tangent_image(end_, Op::none, images(signals), images(tangents), out);
  }

 private:
  ImagePair<T> images(const T* state) const {
    const auto image = [&](const EdgeEnd& end) {
      return Image<T>{static_cast<T>(end.gain), state + end.begin};
    };
    return {image(edge_.ends().source), image(edge_.ends().target)};
  }

  const ImageEdge<T>& edge_;
  End end_;
};

}  // namespace

template <Scalar S>
ImageEdge<S>::ImageEdge(const EdgeEnds<S>& ends, const MeanFolding& folding, Index pool)
    : ends_(ends),
      folding_(folding),
      pool_(pool),
      forward_(folding, pool),
      backward_(folding, pool) {}

template <Scalar S>
void ImageEdge<S>::pack() {
  forward_.pack(ends_.parameters + ends_.forward.offset);
  if (!tied()) backward_.pack(ends_.parameters + ends_.backward.offset);
}

template <Scalar S>
void ImageEdge<S>::pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const {
  for_each_chunk(out.cols(), images_per_task, [&](Index begin, Index count) {
    for (Index j = begin; j < begin + count; ++j) pull_image(end, sample(u, j), out.col(j).data());
  });
}

template <Scalar S>
void ImageEdge<S>::tangent_pull(End end, Op op, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                                StateRef<S> out) const {
  for_each_chunk(out.cols(), images_per_task, [&](Index begin, Index count) {
    for (Index j = begin; j < begin + count; ++j)
      tangent_image(end, op, sample(u, j), sample(v, j), out.col(j).data());
  });
}

/// Hands the sums over all samples of add(sample, forward sums, backward sums) to a sink; those of separate backward
/// weights only if `both` is true. The samples are divided into parts whose sums are added in order. If a part throws,
/// all sums are dropped, so that the next call starts from 0.
template <Scalar S>
template <class Add>
void ImageEdge<S>::sum_images(Index batch, bool both, const Add& add,
                              ParameterSink<S>& sink) const {
  const Index parts =
      std::clamp((batch + images_per_task - 1) / images_per_task, Index{1}, most_parts);
  const std::lock_guard lock(sums_->busy);
  std::vector<GradientSums<S>>& forward = sums_->forward;
  std::vector<GradientSums<S>>& backward = sums_->backward;
  while (static_cast<Index>(forward.size()) < parts) forward.emplace_back(folding_, pool_);
  const bool separate = both && !tied();
  while (separate && static_cast<Index>(backward.size()) < parts)
    backward.emplace_back(folding_, pool_);
  try {
    parallel_for(parts, [&](Index part) {
      const auto k = static_cast<std::size_t>(part);
      for (Index j = batch * part / parts; j < batch * (part + 1) / parts; ++j)
        add(j, forward[k], separate ? backward[k] : forward[k]);
    });
  } catch (...) {
    forward.clear();
    backward.clear();
    throw;
  }
  const auto total = [&](std::vector<GradientSums<S>>& sums, Parameters<S>& grad) {
    for (auto& part : sums) part.finish(grad.data());
  };
  Parameters<S> grad = Parameters<S>::Zero(ends_.forward.size());
  total(forward, grad);
  if (separate) {
    Parameters<S> back = Parameters<S>::Zero(ends_.backward.size());
    total(backward, back);
    sink.numbers(ends_.backward.offset, back);
  }
  sink.numbers(ends_.forward.offset, grad);
}

/// Hands a sink that only measures a product with the bound of the derivative of scale <above, w * u>: a weight is
/// multiplied with one number of each position of the target.
template <Scalar S>
void ImageEdge<S>::give_bound(S scale, const ConstStateRef<S>& above, const ConstStateRef<S>& u,
                              ParameterSink<S>& sink) const {
  const S positions(static_cast<RealOf<S>>(ends_.target.shape.positions()));
  const OuterProduct<S> product{positions * scale, above, u};
  sink.products(ends_.forward, {&product, 1});
}

template <Scalar S>
void ImageEdge<S>::add_products(std::span<const EdgeSignals<S>> terms,
                                ParameterSink<S>& sink) const {
  if (sink.measures() && this->homogeneous()) {
    for (const auto& [source, target] : terms)
      give_bound(target.scale * source.scale, target.rows, source.rows, sink);
    return;
  }
  sum_images(
      terms.front().source.rows.cols(), false,
      [&](Index j, GradientSums<S>& forward, GradientSums<S>&) {
        for (const EdgeSignals<S>& u : terms) add_gradient(sample(u, j), forward);
      },
      sink);
}

template <Scalar S>
void ImageEdge<S>::add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                                        ParameterSink<S>& sink) const {
  if (sink.measures() && this->homogeneous()) {
    give_bound(scale * v.target.scale * u.source.scale, v.target.rows, u.source.rows, sink);
    give_bound(scale * u.target.scale * v.source.scale, u.target.rows, v.source.rows, sink);
    return;
  }
  sum_images(
      u.source.rows.cols(), true,
      [&](Index j, GradientSums<S>& forward, GradientSums<S>& backward) {
        add_tangent_gradient(scale, sample(u, j), sample(v, j), forward, backward);
      },
      sink);
}

template <Scalar S>
bool ImageEdge<S>::plan(LayerPlan<RealOf<S>>& plan) const {
  if constexpr (std::floating_point<S>) {
    plan.add(ends_.target.layer, std::make_unique<PlannedImage<S>>(*this, End::target));
    plan.add(ends_.source.layer, std::make_unique<PlannedImage<S>>(*this, End::source));
    return true;
  }
  return false;
}

template class ImageEdge<float>;
template class ImageEdge<double>;
template class ImageEdge<Complex>;
template class ImageEdge<Dual<double>>;

}  // namespace equiprop
