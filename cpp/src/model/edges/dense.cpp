#include "equiprop/base/parallel.hpp"
#include "equiprop/model/coupling.hpp"
#include "equiprop/model/layer_plan.hpp"
#include "lateral.hpp"

namespace equiprop {
namespace {

/// The products of all-to-all weights.
template <Scalar S>
class DenseEdge final : public BilinearEdge<S> {
 public:
  explicit DenseEdge(const EdgeEnds<S>& ends) : BilinearEdge<S>(ends), ends_(ends) {}

  void drive(const ConstStateRef<S>& x, const ConstParametersRef<WeightOf<S>>& bias,
             StateRef<S> out) const override {
    if constexpr (std::floating_point<S>) {
      if (bias.size() == out.rows()) return affine<S>(matrix(ends_.forward), x, bias, out);
      thread_local Parameters<S> of_units;
      resize_to(of_units, out.rows());
      of_units.reshaped(bias.size(), ends_.target.shape.positions()).colwise() = bias;
      affine<S>(matrix(ends_.forward), x, of_units, out);
    } else {
      set_bias<S>(bias, out);
      for_each_chunk(out.cols(), chunk_columns, [&](Index begin, Index count) {
        multiply(End::target, Op::none, {S(1), x.middleCols(begin, count)},
                 out.middleCols(begin, count));
      });
    }
  }

  bool plan(LayerPlan<RealOf<S>>& plan) const override {
    add_pull(plan, ends_.source, ends_.target, ends_.forward, false);
    add_pull(plan, ends_.target, ends_.source, ends_.backward, true);
    return true;
  }

 protected:
  void multiply(End end, Op op, const Signal<S>& other, StateRef<S> out) const override {
    const bool to_target = end == End::target;
    const auto w = matrix(to_target == (op == Op::none) ? ends_.forward : ends_.backward);
    const Op turned = to_target ? Op::none : Op::transpose;
    if constexpr (std::floating_point<S>)
      add_product<S>(other.scale, w, turned, other.rows, Op::none, out);
    else
      add_real_product<S>(other.scale, w, turned, other.rows, out);
  }
  void add_outer(const Block& weights, std::span<const OuterProduct<S>> terms,
                 ParameterSink<S>& sink) const override {
    sink.products(weights, terms);
  }

 private:
  using W = WeightOf<S>;

  /// Returns the weights as a matrix (target, source).
  Eigen::Map<const State<W>> matrix(const Block& block) const {
    return {ends_.parameters + block.offset, block.rows, block.columns};
  }
  void add_pull(LayerPlan<W>& plan, const EdgeEnd& from, const EdgeEnd& to, const Block& block,
                bool transposed) const {
    plan.add(to.layer, {from.begin, from.shape.units(), ends_.parameters + block.offset, transposed,
                        static_cast<W>(from.gain)});
  }

  EdgeEnds<S> ends_;
};

}  // namespace

WeightShape Dense::weights_of(const Shape& from, const Shape& to) const {
  const Index source_units = from.units(), target_units = to.units();
  require(source != target || source_units > 1, "Dense",
          "A coupling within a layer joins different units of it.", source, " -> ", target,
          ", within a layer of 1 unit");
  return {target_units,
          source_units,
          static_cast<double>(source_units),
          static_cast<double>(target_units),
          {source_units, target_units}};
}

template <Scalar S>
std::unique_ptr<Edge<S>> Dense::bind(const EdgeEnds<S>& ends) const {
  const auto edge = [](const EdgeEnds<S>& own) { return std::make_unique<DenseEdge<S>>(own); };
  if (is_lateral(ends)) return lateral_edge<S>(ends, lateral_weights(ends.source.shape), edge);
  return edge(ends);
}

template std::unique_ptr<Edge<float>> Dense::bind(const EdgeEnds<float>&) const;
template std::unique_ptr<Edge<double>> Dense::bind(const EdgeEnds<double>&) const;
template std::unique_ptr<Edge<Complex>> Dense::bind(const EdgeEnds<Complex>&) const;
template std::unique_ptr<Edge<Dual<double>>> Dense::bind(const EdgeEnds<Dual<double>>&) const;

}  // namespace equiprop
