#include "equiprop/model/bound_network.hpp"

#include "edges/turned.hpp"

namespace equiprop {

template <Scalar S>
BoundNetwork<S>::BoundNetwork(std::shared_ptr<const Topology> topology,
                              std::shared_ptr<const Parameters<W>> parameters)
    : topology_(std::move(topology)), parameters_(std::move(parameters)) {
  for (std::size_t e = 0; e < topology_->couplings().size(); ++e) {
    const Coupling& coupling = topology_->couplings()[e];
    auto edge =
        coupling.bind<S>({parameters_->data(), topology_->weights(e),
                          topology_->feedback_weights(e), end_of(coupling.source()),
                          end_of(coupling.target()), topology_->feedback() == Feedback::tied});
    if (coupling.target() == 0) edge = std::make_unique<TurnedEdge<S>>(std::move(edge));
    edges_.push_back(std::move(edge));
  }
  drives_itself_.resize(num_free());
  bends_itself_.resize(num_free());
  within_.resize(num_free());
  for (const auto e : topology_->inner()) {
    if (source(e) == target(e)) {
      any_within_ = true;
      drives_itself_[source(e)] = bends_itself_[source(e)] = within_[source(e)] = true;
    }
    if (edges_[e]->bilinear()) continue;
    bilinear_ = false;
    homogeneous_ = homogeneous_ && edges_[e]->homogeneous();
    drives_itself_[source(e)] = true;
    if (!edges_[e]->homogeneous()) bends_itself_[source(e)] = true;
  }
  if constexpr (std::floating_point<S>) {
    plan_ = std::make_unique<LayerPlan<S>>(topology_->state());
    for (const auto e : topology_->inner())
      if (plan_ != nullptr && !edges_[e]->plan(*plan_)) plan_.reset();
  }
}

template <Scalar S>
EdgeEnd BoundNetwork<S>::end_of(Index layer) const {
  const Shape& shape = topology_->layers()[static_cast<std::size_t>(layer)].shape;
  if (layer == 0) return {-1, 0, shape, 1};
  const auto k = static_cast<std::size_t>(layer) - 1;
  return {layer - 1, block(k).offset, shape, units(k).signal_gain()};
}

template <Scalar S>
std::size_t BoundNetwork<S>::source(std::size_t coupling) const {
  return static_cast<std::size_t>(topology_->couplings()[coupling].source()) - 1;
}

template <Scalar S>
std::size_t BoundNetwork<S>::target(std::size_t coupling) const {
  const Coupling& ends = topology_->couplings()[coupling];
  return static_cast<std::size_t>(ends.target() > 0 ? ends.target() : ends.source()) - 1;
}

template <Scalar S>
void BoundNetwork<S>::pack() {
  for (const auto& edge : edges_) edge->pack();
  if (plan_ != nullptr) plan_->pack();
}

template <Scalar S>
double BoundNetwork<S>::norm_within(std::size_t k) const {
  double sum = 0;
  if (within_[k])
    for (const auto e : topology_->inner())
      if (target(e) == k) sum += edges_[e]->norm_bound();
  return sum;
}

template <Scalar S>
void BoundNetwork<S>::take_signals(const ConstStateRef<S>& s, State<S>& signals) const {
  if (topology_->has_linear_signals()) return;
  resize_to(signals, s.rows(), s.cols());
  for (std::size_t k = 0; k < num_free(); ++k)
    if (units(k).signal_is_linear())
      rows_of(signals, block(k)) = rows_of(s, block(k));
    else
      units(k).template signal<S>(rows_of(s, block(k)), rows_of(signals, block(k)));
}

template <Scalar S>
void BoundNetwork<S>::take_tangents(const State<S>& signals, const ConstStateRef<S>& v,
                                    State<S>& slopes, State<S>& tangents) const {
  if (topology_->has_linear_signals()) return;
  resize_to(slopes, v.rows(), v.cols());
  resize_to(tangents, v.rows(), v.cols());
  for (std::size_t k = 0; k < num_free(); ++k) {
    if (units(k).signal_is_linear()) {
      rows_of(tangents, block(k)) = rows_of(v, block(k));
      continue;
    }
    units(k).template signal_slope<S>(rows_of(signals, block(k)), rows_of(slopes, block(k)));
    rows_of(tangents, block(k)) = rows_of(slopes, block(k)).cwiseProduct(rows_of(v, block(k)));
  }
}

template <Scalar S>
Signal<S> BoundNetwork<S>::signal(std::size_t k, const ConstStateRef<S>& s,
                                  const State<S>& signals) const {
  if (units(k).signal_is_linear())
    return {real_scalar<S>(units(k).signal_gain()), rows_of(s, block(k))};
  return {S(1), rows_of(signals, block(k))};
}

template class BoundNetwork<float>;
template class BoundNetwork<double>;
template class BoundNetwork<Complex>;
template class BoundNetwork<Dual<double>>;

}  // namespace equiprop
