#include "lateral.hpp"

#include "equiprop/model/layer_plan.hpp"

namespace equiprop {
namespace {

/// Sink that receives a derivative with respect to the matrix W of a coupling within a layer, and hands the derivative
/// with respect to its weights to another sink. Bounds are passed on: no entry of a projection exceeds the largest one.
template <Scalar S>
class ProjectingSink final : public ParameterSink<S> {
 public:
  ProjectingSink(const Block& block, const LateralWeights& weights, bool symmetric,
                 ParameterSink<S>& sink)
      : block_(block), weights_(weights), symmetric_(symmetric), sink_(sink) {}

  bool measures() const override { return sink_.measures(); }
  void products(const Block&, std::span<const OuterProduct<S>> terms) override {
    if (sink_.measures()) return sink_.products(block_, terms);
    Parameters<S> sums = Parameters<S>::Zero(block_.size());
    AddTo<S>(sums).products({block_.name, 0, block_.rows, block_.columns}, terms);
    hand_over(sums);
  }
  void numbers(Index, const ConstParametersRef<S>& sums) override {
    Parameters<S> projected = sums;
    hand_over(projected);
  }

 private:
  void hand_over(Parameters<S>& sums) {
    weights_.project(symmetric_, sums.data());
    sink_.numbers(block_.offset, sums);
  }

  const Block& block_;
  const LateralWeights& weights_;
  bool symmetric_;
  ParameterSink<S>& sink_;
};

/// The edge of a coupling within a layer. Source and target are one layer, so the pull W u is given once, at the target.
template <Scalar S>
class LateralEdge final : public Edge<S> {
 public:
  using W = WeightOf<S>;

  LateralEdge(const EdgeEnds<S>& ends, const LateralWeights& weights, const MakeEdge<S>& make)
      : ends_(ends), weights_(weights), acting_(ends.forward.size()) {
    const Block block{ends.forward.name, 0, ends.forward.rows, ends.forward.columns};
    matrix_ = make({acting_.data(), block, block, ends.source, ends.target});
  }

  void pack() override {
    acting_ = Eigen::Map<const Parameters<W>>(ends_.parameters + ends_.forward.offset,
                                              ends_.forward.size());
    weights_.project(ends_.conservative, acting_.data());
    norm_bound_ = weights_.norm_bound(acting_.data());
    matrix_->pack();
  }
  void pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const override {
    if (end == End::target) matrix_->pull(End::target, u, out);
  }
  void tangent_pull(End end, Op op, const EdgeSignals<S>&, const EdgeSignals<S>& v,
                    StateRef<S> out) const override {
    if (end == End::source) return;
    const bool straight = op == Op::none || ends_.conservative;
    matrix_->pull(straight ? End::target : End::source, v, out);
  }
  void add_products(std::span<const EdgeSignals<S>> terms, ParameterSink<S>& sink) const override {
    thread_local std::vector<EdgeSignals<S>> halves;
    halves.clear();
    for (const auto& [source, target] : terms)
      halves.push_back({source, {S(0.5) * target.scale, target.rows}});
    ProjectingSink<S> projecting(ends_.forward, weights_, ends_.conservative, sink);
    matrix_->add_products(halves, projecting);
  }
  void add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                            ParameterSink<S>& sink) const override {
    const EdgeSignals<S> product{u.source, {scale * v.target.scale, v.target.rows}};
    ProjectingSink<S> projecting(ends_.forward, weights_, ends_.conservative, sink);
    matrix_->add_products({&product, 1}, projecting);
  }
  double norm_bound() const override { return norm_bound_; }
  bool plan(LayerPlan<RealOf<S>>& plan) const override;

  /// Adds to out the pull at the signals of a state with one sample.
  void pull_sample(const W* signals, W* out) const requires std::floating_point<S> {
    const EdgeEnd& layer = ends_.target;
    const Eigen::Map<const State<S>> rows(signals + layer.begin, layer.shape.units(), 1);
    const Signal<S> u{static_cast<S>(layer.gain), rows};
    matrix_->pull(End::target, {u, u}, Eigen::Map<State<S>>(out, layer.shape.units(), 1));
  }

 private:
  EdgeEnds<S> ends_;
  LateralWeights weights_;
  Parameters<W> acting_;  // weights of W
  double norm_bound_ = 0;
  std::unique_ptr<Edge<S>> matrix_;
};

/// The pull of an image on itself, for one sample at a time.
template <std::floating_point T>
class PlannedLateral final : public PlannedMap<T> {
 public:
  explicit PlannedLateral(const LateralEdge<T>& edge) : edge_(edge) {}
  void add(const T* signals, T* out) const override { edge_.pull_sample(signals, out); }
  void add_tangent(const T*, const T* tangents, T* out) const override {
    edge_.pull_sample(tangents, out);
  }

 private:
  const LateralEdge<T>& edge_;
};

template <Scalar S>
bool LateralEdge<S>::plan(LayerPlan<RealOf<S>>& plan) const {
  if constexpr (std::floating_point<S>) {
    const EdgeEnd& layer = ends_.target;
    const Index units = layer.shape.units();
    const bool dense =
        weights_.channels == units && weights_.groups == 1 && weights_.kernel == Extent{1, 1};
    if (dense)
      plan.add(layer.layer,
               {layer.begin, units, acting_.data(), false, static_cast<S>(layer.gain)});
    else
      plan.add(layer.layer, std::make_unique<PlannedLateral<S>>(*this));
    return true;
  }
  return false;
}

}  // namespace

template <Scalar S>
std::unique_ptr<Edge<S>> lateral_edge(const EdgeEnds<S>& ends, const LateralWeights& weights,
                                      const MakeEdge<S>& make) {
  return std::make_unique<LateralEdge<S>>(ends, weights, make);
}

#define INSTANTIATE(S)                                                                      \
  template std::unique_ptr<Edge<S>> lateral_edge(const EdgeEnds<S>&, const LateralWeights&, \
                                                 const MakeEdge<S>&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
