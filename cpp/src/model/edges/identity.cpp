#include "equiprop/model/coupling.hpp"
#include "equiprop/model/layer_plan.hpp"

namespace equiprop {
namespace {

/// The pull gain * u of each end on the other.
template <Scalar S>
class IdentityEdge final : public BilinearEdge<S> {
 public:
  IdentityEdge(const EdgeEnds<S>& ends, double gain)
      : BilinearEdge<S>(ends), ends_(ends), gain_(static_cast<RealOf<S>>(gain)) {}

  bool plan(LayerPlan<RealOf<S>>& plan) const override;

 protected:
  void multiply(End, Op, const Signal<S>& other, StateRef<S> out) const override {
    out += S(gain_) * other.scale * other.rows;
  }
  void add_outer(const Block&, std::span<const OuterProduct<S>>, ParameterSink<S>&) const override {
  }

 private:
  EdgeEnds<S> ends_;
  RealOf<S> gain_;
};

/// The pull of one layer on another, for one sample at a time.
template <std::floating_point T>
class PlannedIdentity final : public PlannedMap<T> {
 public:
  PlannedIdentity(const EdgeEnd& from, T gain)
      : begin_(from.begin), units_(from.shape.units()), gain_(gain * static_cast<T>(from.gain)) {}
  void add(const T* signals, T* out) const override {
    for (Index i = 0; i < units_; ++i) out[i] += gain_ * signals[begin_ + i];
  }
  void add_tangent(const T*, const T* tangents, T* out) const override { add(tangents, out); }

 private:
  Index begin_, units_;
  T gain_;
};

template <Scalar S>
bool IdentityEdge<S>::plan(LayerPlan<RealOf<S>>& plan) const {
  if constexpr (std::floating_point<S>) {
    plan.add(ends_.target.layer, std::make_unique<PlannedIdentity<S>>(ends_.source, gain_));
    plan.add(ends_.source.layer, std::make_unique<PlannedIdentity<S>>(ends_.target, gain_));
    return true;
  }
  return false;
}

}  // namespace

WeightShape Identity::weights_of(const Shape& from, const Shape& to) const {
  require(from == to, "Identity", "An identity coupling joins layers of one shape.", from.channels,
          " x ", from.height, " x ", from.width, " and ", to.channels, " x ", to.height, " x ",
          to.width);
  require(std::abs(gain) <= 1048576, "Identity", "The gain is a number between -2^20 and 2^20.",
          gain);
  return {0, 0, 1, 1, {0}};
}

template <Scalar S>
std::unique_ptr<Edge<S>> Identity::bind(const EdgeEnds<S>& ends) const {
  return std::make_unique<IdentityEdge<S>>(ends, gain);
}

template std::unique_ptr<Edge<float>> Identity::bind(const EdgeEnds<float>&) const;
template std::unique_ptr<Edge<double>> Identity::bind(const EdgeEnds<double>&) const;
template std::unique_ptr<Edge<Complex>> Identity::bind(const EdgeEnds<Complex>&) const;
template std::unique_ptr<Edge<Dual<double>>> Identity::bind(const EdgeEnds<Dual<double>>&) const;

}  // namespace equiprop
