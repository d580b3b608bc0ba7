#pragma once
/// A kind of coupling that is not in the library: it couples each unit of a layer to one unit of another layer of equal
/// size.

#include "equiprop/model/coupling.hpp"

namespace equiprop::tests {

/// The products of the coupling, with one weight per pair of units: the energy is -sum_i w_i u_i v_i.
template <Scalar S>
class DiagonalEdge : public BilinearEdge<S> {
 public:
  explicit DiagonalEdge(const EdgeEnds<S>& ends) : BilinearEdge<S>(ends), ends_(ends) {}

 protected:
  void multiply(End end, Op op, const Signal<S>& other, StateRef<S> out) const override {
    const bool forth = (end == End::target) == (op == Op::none);
    const auto w = weights(forth ? ends_.forward : ends_.backward);
    for (Index j = 0; j < out.cols(); ++j)
      out.col(j).array() += other.scale * (w * other.rows.col(j).array());
  }
  void add_outer(const Block& weights, std::span<const OuterProduct<S>> terms,
                 ParameterSink<S>& sink) const override {
    Parameters<S> sums = Parameters<S>::Zero(weights.size());
    for (const auto& [scale, a, b] : terms) sums += scale * a.cwiseProduct(b).rowwise().sum();
    sink.numbers(weights.offset, sums);
  }

 private:
  auto weights(const Block& block) const {
    using Weights = Eigen::Map<const Parameters<WeightOf<S>>>;
    return Weights(ends_.parameters + block.offset, block.size()).array().template cast<S>();
  }

  EdgeEnds<S> ends_;
};

/// The coupling. Its weights are (units,).
struct Diagonal {
  Index source = 0;  ///< position of the source layer
  Index target = 0;  ///< position of the target layer

  static std::string_view kind_name() { return "diagonal"; }
  WeightShape weights_of(const Shape& from, const Shape& to) const {
    require(from.units() == to.units(), "Diagonal", "Both layers have as many units.", from.units(),
            " and ", to.units());
    return {to.units(), 1, 1, 1};
  }
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const {
    return std::make_unique<DiagonalEdge<S>>(ends);
  }
};

}  // namespace equiprop::tests
