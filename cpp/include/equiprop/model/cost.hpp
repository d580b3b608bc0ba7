#pragma once
/// Costs C(o, y) of the outputs o of a network and targets y, summed over the outputs, one number per sample.

#include <memory>
#include <span>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/layout.hpp"

namespace equiprop {

/// Requirements of a cost; o and v are (rows, batch), the last `num_rows()` units of a state: the outputs, unless the cost
/// acts on other layers, too (ActsOnLayers).
template <class C>
concept Cost = requires(const C c, const State<typename C::Scalar> o, State<typename C::Scalar> out,
                        PerSample<typename C::Scalar> per_sample) {
  { c.num_rows() } -> std::convertible_to<Index>;
  { c.batch() } -> std::convertible_to<Index>;
  {
    c.stiffness()
    } -> std::convertible_to<double>;          // an upper bound of d2C/do2, used as a majoriser
  c.value(o, per_sample);                      // (batch,)
  c.gradient(o, out);                          // (rows, batch)     dC/do
  c.hessian_vector_product(o, o, out);         // (rows, batch)     d2C/do2 . v
  { c.select(Samples{}) } -> std::same_as<C>;  // the cost of some samples
};

/// The units of a layer on which a cost acts.
struct CostedLayer {
  Rows rows;         ///< rows of the layer, counted from the first row that the cost reads
  double stiffness;  ///< upper bound of d2C/ds2 of these units
};

/// Requirement: the cost acts on several layers. Rows that it reads and that are in none of them do not matter.
template <class C>
concept ActsOnLayers = Cost<C> && requires(const C c) {
  { c.layers() } -> std::convertible_to<std::span<const CostedLayer>>;
};

/// Throws InvalidArgument unless `weights` is empty or has one finite number w_j >= 0 for each sample.
template <class Real>
void check_sample_weights(const PerSample<Real>& weights, Index samples) {
  if (weights.size() == 0) return;
  constexpr const char* where = "sample_weight";
  require(weights.size() == samples, where, "Each sample has one weight.", weights.size(),
          " weights for ", samples, " samples");
  for (Index j = 0; j < samples; ++j)
    require(weights(j) >= 0 && std::isfinite(weights(j)), where,
            "Weights are finite and not negative.", weights(j), " at sample ", j);
}

/// Returns sum_j w_j c_j / batch for the costs c_j of the samples; empty weights are 1.
template <Scalar S>
S weighted_mean(PerSample<S>& costs, const PerSample<RealOf<S>>& weights) {
  if (weights.size() > 0)
    for (Index j = 0; j < costs.size(); ++j) costs(j) *= S(weights(j));
  return S(costs.sum() / S(static_cast<RealOf<S>>(costs.size())));
}

namespace detail {

/// Targets y (outputs, batch). Copies and ranges of samples share the memory.
template <Scalar S>
class Targets {
 public:
  explicit Targets(State<S> y) : y_(std::make_shared<State<S>>(std::move(y))), batch_(y_->cols()) {}

  /// Replaces the targets by others of the same shape, for all objects that share the memory.
  void retarget(const ConstStateRef<S>& y) {
    require(y.rows() == y_->rows() && y.cols() == y_->cols(), "retarget",
            "The new targets have the shape of the old ones.", y.rows(), " x ", y.cols(), " for ",
            y_->rows(), " x ", y_->cols());
    *y_ = y;
  }
  auto y() const { return y_->middleCols(begin_, batch_); }
  Index num_rows() const { return y_->rows(); }
  Index batch() const { return batch_; }

 protected:
  /// Selects some samples; a range shares the memory.
  void narrow(Samples which) {
    if (!contiguous(which)) {
      y_ = std::make_shared<State<S>>(columns_of<S>(y(), which));
      begin_ = 0;
    } else if (!which.empty()) {
      begin_ += which.front();
    }
    batch_ = static_cast<Index>(which.size());
  }

 private:
  std::shared_ptr<State<S>> y_;
  Index begin_ = 0, batch_;
};

}  // namespace detail

/// Squared error, C = 1/2 |o - y|^2.
template <class S>
class EQUIPROP_EXPORT SquaredError : public detail::Targets<S> {
 public:
  using Scalar = S;                   ///< scalar of outputs and targets
  using detail::Targets<S>::Targets;  ///< creates the cost of targets y (outputs, batch)

  /// Functions of the concept Cost.
  ///@{
  double stiffness() const { return 1; }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  SquaredError select(Samples which) const {
    SquaredError some(*this);
    some.narrow(which);
    return some;
  }
  ///@}
};

/// Cross-entropy, C = -sum_i y_i log softmax(a o)_i, for targets that sum to one. The logit scale a > 0 is an inverse
/// temperature: outputs of size 1/a are enough for a given confidence.
template <class S>
class EQUIPROP_EXPORT CrossEntropy : public detail::Targets<S> {
 public:
  using Scalar = S;  ///< scalar of outputs and targets

  /// Creates the cost of targets y (outputs, batch). Throws InvalidArgument unless the scale is positive and finite.
  explicit CrossEntropy(State<S> y, double logit_scale = 1);

  /// Functions of the concept Cost.
  ///@{
  double stiffness() const {
    return 0.5 * scale_ * scale_;  // the Hessian a^2 (diag(p) - p p^T) is at most a^2 / 2
  }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  CrossEntropy select(Samples which) const {
    CrossEntropy some(*this);
    some.narrow(which);
    return some;
  }
  ///@}

 private:
  double scale_;
};

extern template class SquaredError<float>;
extern template class SquaredError<double>;
extern template class SquaredError<Complex>;
extern template class SquaredError<Dual<double>>;
extern template class CrossEntropy<float>;
extern template class CrossEntropy<double>;
extern template class CrossEntropy<Complex>;
extern template class CrossEntropy<Dual<double>>;

}  // namespace equiprop
