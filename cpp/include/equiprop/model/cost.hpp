#pragma once
/// Costs C(o, y) on the outputs o of a network, summed over outputs, one number per sample.

#include <memory>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

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

/// Targets y, which copies of a cost share.
template <Scalar S>
class Targets {
 public:
  explicit Targets(State<S> y) : y_(std::make_shared<const State<S>>(std::move(y))) {}

  const State<S>& y() const { return *y_; }  // (outputs, batch)
  Index num_outputs() const { return y_->rows(); }
  Index batch() const { return y_->cols(); }

 private:
  std::shared_ptr<const State<S>> y_;
};

}  // namespace detail

/// C = 1/2 |o - y|^2.
template <class S>
class EQUIPROP_EXPORT SquaredError : public detail::Targets<S> {
 public:
  using Scalar = S;
  using detail::Targets<S>::Targets;

  double stiffness() const { return 1; }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  SquaredError select(Samples which) const { return SquaredError(columns_of<S>(this->y(), which)); }
};

/// C = -sum_i y_i log softmax(o)_i, for targets that sum to one.
template <class S>
class EQUIPROP_EXPORT CrossEntropy : public detail::Targets<S> {
 public:
  using Scalar = S;
  using detail::Targets<S>::Targets;

  double stiffness() const { return 0.5; }  // the Hessian diag(p) - p p^T is at most 1/2
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  CrossEntropy select(Samples which) const { return CrossEntropy(columns_of<S>(this->y(), which)); }
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
