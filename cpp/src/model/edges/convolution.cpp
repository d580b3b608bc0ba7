#include "equiprop/model/convolution.hpp"

#include "geometry.hpp"
#include "image_edge.hpp"
#include "lateral.hpp"

namespace equiprop {
namespace {

/// A convolution with mean pooling folded into its weights.
template <Scalar S>
class ConvolutionEdge final : public ImageEdge<S> {
 public:
  ConvolutionEdge(const EdgeEnds<S>& ends, const MeanFolding& folding)
      : ImageEdge<S>(ends, folding) {}

  void pull_image(End end, const ImagePair<S>& u, S* out) const override {
    if (end == End::target)
      this->forward().add_forward(u.source, out);
    else
      this->backward().add_transposed(u.target, out);
  }
  void tangent_image(End end, Op op, const ImagePair<S>&, const ImagePair<S>& v,
                     S* out) const override {
    const bool own = (end == End::target) == (op == Op::none);
    const ImageProducts<S>& weights = own ? this->forward() : this->backward();
    if (end == End::target)
      weights.add_forward(v.source, out);
    else
      weights.add_transposed(v.target, out);
  }

 protected:
  void add_gradient(const ImagePair<S>& u, GradientSums<S>& sums) const override {
    sums.add(S(1), u.target, u.source);
  }
  void add_tangent_gradient(S scale, const ImagePair<S>& u, const ImagePair<S>& v,
                            GradientSums<S>& forward, GradientSums<S>& backward) const override {
    forward.add(scale, v.target, u.source);
    backward.add(scale, u.target, v.source);
  }
};

/// The distances between the rows or the columns that a convolution within a layer joins.
struct Distances {
  /// Those of a kernel of an odd number of taps begin with 0.
  Distances(Index taps, Index dilation, Index size)
      : any(taps % 2 == 1 || dilation / 2 < size),
        positive(taps % 2 == 1 ? taps > 1 && dilation < size : dilation / 2 < size) {}

  bool any, positive;  // whether one, or a positive one, is smaller than the image
};

/// Returns true if a weight of a convolution within a layer joins two different units.
bool acts_within(const ConvolutionShape& s) {
  const Distances y(s.kernel.y, s.dilation.y, s.height), x(s.kernel.x, s.dilation.x, s.width);
  return y.any && x.any && (s.channels > s.groups || y.positive || x.positive);
}

}  // namespace

WeightShape Convolution::weights_of(const Shape& from, const Shape& to) const {
  const Extent one{1, 1};
  require(source != target || (windows.stride == one && mean_pool == 1), "Convolution",
          "A convolution within a layer has the stride 1 and no pooling.", "stride ",
          windows.stride.y, " x ", windows.stride.x, ", mean_pool ", mean_pool);
  const ConvolutionShape shape = convolution_shape("Convolution", windows, mean_pool, from, to);
  MeanFolding(shape, mean_pool).folded().check();
  require(source != target || acts_within(shape), "Convolution",
          "A convolution within a layer joins different units of it: a channel with another one of "
          "its group, or different positions.",
          windows.kernel.y, " x ", windows.kernel.x, " with ", windows.groups, " groups for ",
          from.channels, " x ", from.height, " x ", from.width);
  return weight_shape(shape);
}

template <Scalar S>
std::unique_ptr<Edge<S>> Convolution::bind(const EdgeEnds<S>& ends) const {
  const MeanFolding folding(
      convolution_shape("Convolution", windows, mean_pool, ends.source.shape, ends.target.shape),
      mean_pool);
  const auto edge = [&](const EdgeEnds<S>& own) {
    return std::make_unique<ConvolutionEdge<S>>(own, folding);
  };
  if (is_lateral(ends)) return lateral_edge<S>(ends, lateral_weights(ends.source.shape), edge);
  return edge(ends);
}

template std::unique_ptr<Edge<float>> Convolution::bind(const EdgeEnds<float>&) const;
template std::unique_ptr<Edge<double>> Convolution::bind(const EdgeEnds<double>&) const;
template std::unique_ptr<Edge<Complex>> Convolution::bind(const EdgeEnds<Complex>&) const;
template std::unique_ptr<Edge<Dual<double>>> Convolution::bind(const EdgeEnds<Dual<double>>&) const;

}  // namespace equiprop
