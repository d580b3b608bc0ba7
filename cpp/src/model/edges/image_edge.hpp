#pragma once
/// Edges between images: all products are defined for one sample, so a sample's bits do not depend on the others.

#include <mutex>

#include "equiprop/model/layer_plan.hpp"
#include "image_products.hpp"

namespace equiprop {

/// Signals of both layers for one sample.
template <Scalar S>
struct ImagePair {
  Image<S> source, target;
};

/// An edge whose pulls and derivatives are computed image by image.
template <Scalar S>
class ImageEdge : public Edge<S> {
 public:
  using W = WeightOf<S>;  ///< scalar of the weights

  void pack() override;
  void pull(End end, const EdgeSignals<S>& u, StateRef<S> out) const override;
  void tangent_pull(End end, Op op, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                    StateRef<S> out) const override;
  void add_products(std::span<const EdgeSignals<S>> terms, ParameterSink<S>& sink) const override;
  void add_tangent_products(S scale, const EdgeSignals<S>& u, const EdgeSignals<S>& v,
                            ParameterSink<S>& sink) const override;
  bool plan(LayerPlan<RealOf<S>>& plan) const override;

  /// Edge::pull for one sample.
  virtual void pull_image(End end, const ImagePair<S>& u, S* out) const = 0;
  /// Edge::tangent_pull for one sample.
  virtual void tangent_image(End end, Op op, const ImagePair<S>& u, const ImagePair<S>& v,
                             S* out) const = 0;
  /// Returns the ends.
  const EdgeEnds<S>& ends() const { return ends_; }

 protected:
  /// `pool` is the size of the windows of a maximum if the products with winners are used, otherwise 1.
  ImageEdge(const EdgeEnds<S>& ends, const MeanFolding& folding, Index pool = 1);

  /// Adds the derivative of phi at u with respect to the forward weights.
  virtual void add_gradient(const ImagePair<S>& u, GradientSums<S>& sums) const = 0;
  /// Adds the derivative of scale <v, pulls at u> with respect to the weights of both directions.
  virtual void add_tangent_gradient(S scale, const ImagePair<S>& u, const ImagePair<S>& v,
                                    GradientSums<S>& forward, GradientSums<S>& backward) const = 0;

  /// Returns the products with the weights by which the source pulls on the target.
  const ImageProducts<S>& forward() const { return forward_; }
  /// Returns the products with the weights by which the target pulls on the source.
  const ImageProducts<S>& backward() const { return tied() ? forward_ : backward_; }
  /// Returns true if the weights of both directions are one array.
  bool tied() const { return ends_.forward.offset == ends_.backward.offset; }

 private:
  template <class Add>
  void sum_images(Index batch, bool both, const Add& add, ParameterSink<S>& sink) const;
  void give_bound(S scale, const ConstStateRef<S>& above, const ConstStateRef<S>& u,
                  ParameterSink<S>& sink) const;

  /// Sums of each part of the samples, which are kept because they are large.
  struct Sums {
    std::mutex busy;
    std::vector<GradientSums<S>> forward, backward;
  };

  EdgeEnds<S> ends_;
  MeanFolding folding_;
  Index pool_;
  ImageProducts<S> forward_, backward_;
  std::unique_ptr<Sums> sums_ = std::make_unique<Sums>();
};

/// Returns memory of the thread for an image, filled with 0; it never shrinks.
template <Scalar S>
S* blank_image(std::size_t slot, Index size) {
  thread_local std::array<std::vector<S>, 4> slots;
  auto& numbers = slots[slot];
  if (numbers.size() < static_cast<std::size_t>(size))
    numbers.resize(static_cast<std::size_t>(size));
  std::fill_n(numbers.data(), size, S(0));
  return numbers.data();
}

extern template class ImageEdge<float>;
extern template class ImageEdge<double>;
extern template class ImageEdge<Complex>;
extern template class ImageEdge<Dual<double>>;

}  // namespace equiprop
