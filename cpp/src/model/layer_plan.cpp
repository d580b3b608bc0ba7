#include "equiprop/model/layer_plan.hpp"

namespace equiprop {

template <std::floating_point T>
LayerPlan<T>::LayerPlan(const Layout& state) {
  for (const Block& block : state.blocks())
    layers_.push_back({block.offset, block.rows, false, {}, {}});
}

template <std::floating_point T>
void LayerPlan<T>::add(Index layer, const PlannedPull<T>& pull) {
  layers_[static_cast<std::size_t>(layer)].neighbours.push_back({pull, {}});
}

template <std::floating_point T>
void LayerPlan<T>::add(Index layer, std::unique_ptr<const PlannedMap<T>> map) {
  layers_[static_cast<std::size_t>(layer)].maps.push_back(std::move(map));
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

/// Stores start + the sum of the maps in scratch.sums.
template <std::floating_point T>
void LayerPlan<T>::add_maps(const Layer& layer, const ConstStateRef<T>& s,
                            const ConstStateRef<T>& start, PlanScratch<T>& scratch,
                            const ConstStateRef<T>* at) const {
  const auto size = static_cast<std::size_t>(layer.rows * s.cols());
  if (scratch.sums.size() < size) scratch.sums.resize(size);
  for (Index j = 0; j < s.cols(); ++j) {
    Eigen::Map<Parameters<T>> sum(scratch.sums.data() + j * layer.rows, layer.rows);
    if (start.size() > 0)
      sum = start.col(j).segment(layer.begin, layer.rows);
    else
      sum.setZero();
    for (const auto& map : layer.maps)
      if (at == nullptr)
        map->add(s.col(j).data(), sum.data());
      else
        map->add_tangent(at->col(j).data(), s.col(j).data(), sum.data());
  }
}

/// Computes the maps first, then the pulls of all neighbours in one pass, because response and change need the complete
/// sum.
template <std::floating_point T>
void LayerPlan<T>::run(const Layer& layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
                       const Response<T>* response, T* out, Index out_stride, T* change,
                       PlanScratch<T>& scratch, const ConstStateRef<T>* at) const {
  scratch.pulls.clear();
  for (const auto& [pull, packed] : layer.neighbours)
    scratch.pulls.push_back({packed.data(), pull.depth, s.data() + pull.begin, s.outerStride()});
  LayerStep<T> step{layer.rows,
                    s.cols(),
                    scratch.pulls.data(),
                    static_cast<std::ptrdiff_t>(scratch.pulls.size()),
                    start.size() > 0 ? start.data() + layer.begin : nullptr,
                    start.outerStride(),
                    response,
                    out,
                    out_stride};
  if (!layer.maps.empty()) {
    add_maps(layer, s, start, scratch, at);
    step.start = scratch.sums.data();
    step.start_stride = layer.rows;
  }
  step.by_rows = layer.by_rows;
  step.before = s.data() + layer.begin;
  step.before_stride = s.outerStride();
  step.change = change;
  kernels<T>().accumulate(step);
}

template <std::floating_point T>
void LayerPlan<T>::step(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
                        const Response<T>* response, StateRef<T> out, T* change,
                        PlanScratch<T>& scratch, const ConstStateRef<T>* at) const {
  const Layer& of = layers_[layer];
  run(of, s, start, response, out.data() + of.begin, out.outerStride(), change, scratch, at);
}

template <std::floating_point T>
void LayerPlan<T>::measure(std::size_t layer, const ConstStateRef<T>& s,
                           const ConstStateRef<T>& start, const Response<T>& response, T* change,
                           PlanScratch<T>& scratch) const {
  run(layers_[layer], s, start, &response, nullptr, 0, change, scratch, nullptr);
}

template class LayerPlan<float>;
template class LayerPlan<double>;

}  // namespace equiprop
