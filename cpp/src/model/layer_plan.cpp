#include "equiprop/model/layer_plan.hpp"

namespace equiprop {

template <std::floating_point T>
LayerPlan<T>::LayerPlan(const Layout& state) {
  for (const Block& block : state.blocks())
    layers_.push_back({block.offset, block.rows, false, {}});
}

template <std::floating_point T>
void LayerPlan<T>::add(Index layer, const PlannedPull<T>& pull) {
  layers_[static_cast<std::size_t>(layer)].neighbours.push_back({pull, {}});
}

/// Allocates the packed weights of a layer and chooses their layout by its size.
template <std::floating_point T>
void LayerPlan<T>::reserve(Layer& layer) {
  Index depth = 0;
  for (const Neighbour& from : layer.neighbours) depth += from.pull.depth;
  layer.by_rows = kernels<T>().by_rows(layer.rows, depth);
  for (auto& [pull, packed] : layer.neighbours)
    packed.resize(layer.by_rows ? kernels<T>().packed_size(pull.depth, layer.rows)
                                : kernels<T>().packed_size(layer.rows, pull.depth));
}

template <std::floating_point T>
void LayerPlan<T>::pack() {
  for (Layer& layer : layers_) {
    if (!layer.neighbours.empty() && layer.neighbours.front().packed.size() == 0) reserve(layer);
    const auto pack = layer.by_rows ? kernels<T>().pack_by_rows : kernels<T>().pack;
    for (auto& [pull, packed] : layer.neighbours)
      pack(pull.weights, pull.transposed ? pull.depth : layer.rows, pull.transposed, layer.rows,
           pull.depth, pull.gain, packed.data());
  }
}

/// Computes the pulls of all neighbours in one pass, because response and change need the complete sum.
template <std::floating_point T>
void LayerPlan<T>::run(const Layer& layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
                       const Response<T>* response, T* out, Index out_stride, T* change,
                       std::vector<Pull<T>>& pulls) const {
  pulls.clear();
  for (const auto& [pull, packed] : layer.neighbours)
    pulls.push_back({packed.data(), pull.depth, s.data() + pull.begin, s.outerStride()});
  LayerStep<T> step{layer.rows,
                    s.cols(),
                    pulls.data(),
                    static_cast<std::ptrdiff_t>(pulls.size()),
                    start.size() > 0 ? start.data() + layer.begin : nullptr,
                    start.outerStride(),
                    response,
                    out,
                    out_stride};
  step.by_rows = layer.by_rows;
  step.before = s.data() + layer.begin;
  step.before_stride = s.outerStride();
  step.change = change;
  kernels<T>().accumulate(step);
}

template <std::floating_point T>
void LayerPlan<T>::step(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
                        const Response<T>* response, StateRef<T> out, T* change,
                        std::vector<Pull<T>>& pulls) const {
  const Layer& at = layers_[layer];
  run(at, s, start, response, out.data() + at.begin, out.outerStride(), change, pulls);
}

template <std::floating_point T>
void LayerPlan<T>::measure(std::size_t layer, const ConstStateRef<T>& s,
                           const ConstStateRef<T>& start, const Response<T>& response, T* change,
                           std::vector<Pull<T>>& pulls) const {
  run(layers_[layer], s, start, &response, nullptr, 0, change, pulls);
}

template class LayerPlan<float>;
template class LayerPlan<double>;

}  // namespace equiprop
