#pragma once
/// Costs C(o, y) on the outputs o of a network, summed over outputs, one number per sample.

#include <memory>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/error.hpp"

namespace [[gnu::visibility("default")]] equiprop {

template <class C>
concept Cost = requires(const C c, const State<typename C::Scalar> o, State<typename C::Scalar> out,
                        PerSample<typename C::Scalar> per_sample) {
  { c.num_outputs() } -> std::convertible_to<Index>;
  { c.batch() } -> std::convertible_to<Index>;
  {
    c.stiffness()
    } -> std::convertible_to<double>;          // an upper bound of d2C/do2, used as a majoriser
  c.value(o, per_sample);                      // (batch,)
  c.gradient(o, out);                          // (outputs, batch)  dC/do
  c.hessian_vector_product(o, o, out);         // (outputs, batch)  d2C/do2 . v
  { c.select(Samples{}) } -> std::same_as<C>;  // the same for some samples
};

namespace detail {

/// Targets y (outputs, batch), which copies of a cost and ranges of its samples share.
template <Scalar S>
class Targets {
 public:
  explicit Targets(State<S> y) : y_(std::make_shared<State<S>>(std::move(y))), batch_(y_->cols()) {}

  /// Takes other targets of the same shape, for all that share these.
  void retarget(const ConstStateRef<S>& y) {
    require(y.rows() == y_->rows() && y.cols() == y_->cols(), "retarget",
            "The new targets have the shape of the old ones.", y.rows(), " x ", y.cols(), " for ",
            y_->rows(), " x ", y_->cols());
    *y_ = y;
  }
  auto y() const { return y_->middleCols(begin_, batch_); }
  Index num_outputs() const { return y_->rows(); }
  Index batch() const { return batch_; }

 protected:
  /// Keeps some samples; a range shares the memory.
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

/// C = 1/2 |o - y|^2.
template <class S>
class SquaredError : public detail::Targets<S> {
 public:
  using Scalar = S;
  using detail::Targets<S>::Targets;

  double stiffness() const { return 1; }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const {
    out = S(0.5) * (o - this->y()).array().square().colwise().sum().transpose();
  }
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const { out = o - this->y(); }
  void hessian_vector_product(const ConstStateRef<S>&, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    out = v;
  }
  SquaredError select(Samples which) const {
    SquaredError some(*this);
    some.narrow(which);
    return some;
  }
};

/// C = -sum_i y_i log softmax(o)_i, for targets that sum to one.
template <class S>
class CrossEntropy : public detail::Targets<S> {
 public:
  using Scalar = S;
  using detail::Targets<S>::Targets;

  double stiffness() const { return 0.5; }  // the Hessian diag(p) - p p^T is at most 1/2
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const {
    using std::exp, std::log;
    for (Index j = 0; j < o.cols(); ++j) {
      const S top = largest(o, j);
      const S partition = sum(o.rows(), [&](Index i) { return exp(o(i, j) - top); });
      out(j) = (top + log(partition)) * total_target(j) -
               sum(o.rows(), [&](Index i) { return this->y()(i, j) * o(i, j); });
    }
  }
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const {
    for (Index j = 0; j < o.cols(); ++j) {
      softmax(o, j, out);
      out.col(j) = out.col(j) * total_target(j) - this->y().col(j);
    }
  }
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    for (Index j = 0; j < o.cols(); ++j) {
      softmax(o, j, out);
      const S mean = sum(o.rows(), [&](Index i) { return out(i, j) * v(i, j); });
      out.col(j).array() *= (v.col(j).array() - mean) * total_target(j);
    }
  }
  CrossEntropy select(Samples which) const {
    CrossEntropy some(*this);
    some.narrow(which);
    return some;
  }

 private:
  /// Shifting the logits changes nothing but the range of exp.
  static S largest(const ConstStateRef<S>& o, Index j) {
    RealOf<S> top = real_part(o(0, j));
    for (Index i = 1; i < o.rows(); ++i) top = std::max(top, real_part(o(i, j)));
    return S(top);
  }
  static void softmax(const ConstStateRef<S>& o, Index j, StateRef<S>& out) {
    using std::exp;
    const S top = largest(o, j);
    for (Index i = 0; i < o.rows(); ++i) out(i, j) = exp(o(i, j) - top);
    out.col(j) /= sum(o.rows(), [&](Index i) { return out(i, j); });
  }
  S total_target(Index j) const {
    return sum(this->y().rows(), [&](Index i) { return this->y()(i, j); });
  }
  /// In order and one by one: Eigen's vectors begin where memory is aligned, and a sample's bits would depend on where
  /// it lies.
  template <class Term>
  static S sum(Index count, const Term& term) {
    S total(0);
    for (Index i = 0; i < count; ++i) total += term(i);
    return total;
  }
};

}  // namespace equiprop
