#include "equiprop/model/cost.hpp"

namespace equiprop {
namespace {

/// Shifting the logits changes nothing but the range of exp.
template <class S>
S largest(const ConstStateRef<S>& o, Index j) {
  RealOf<S> top = real_part(o(0, j));
  for (Index i = 1; i < o.rows(); ++i) top = std::max(top, real_part(o(i, j)));
  return S(top);
}

template <class S>
void softmax(const ConstStateRef<S>& o, Index j, StateRef<S>& out) {
  out.col(j) = (o.col(j).array() - largest<S>(o, j)).exp();
  out.col(j) /= S(out.col(j).sum());
}

}  // namespace

template <class S>
void SquaredError<S>::value(const ConstStateRef<S>& o, PerSample<S>& out) const {
  out = S(0.5) * (o - this->y()).array().square().colwise().sum().transpose();
}

template <class S>
void SquaredError<S>::gradient(const ConstStateRef<S>& o, StateRef<S> out) const {
  out = o - this->y();
}

template <class S>
void SquaredError<S>::hessian_vector_product(const ConstStateRef<S>&, const ConstStateRef<S>& v,
                                             StateRef<S> out) const {
  out = v;
}

template <class S>
void CrossEntropy<S>::value(const ConstStateRef<S>& o, PerSample<S>& out) const {
  using std::log;
  for (Index j = 0; j < o.cols(); ++j) {
    const S top = largest<S>(o, j);
    const S sum = (o.col(j).array() - top).exp().sum();
    out(j) = (top + log(sum)) * this->y().col(j).sum() -
             (this->y().col(j).array() * o.col(j).array()).sum();
  }
}

template <class S>
void CrossEntropy<S>::gradient(const ConstStateRef<S>& o, StateRef<S> out) const {
  for (Index j = 0; j < o.cols(); ++j) {
    softmax<S>(o, j, out);
    out.col(j) = out.col(j) * this->y().col(j).sum() - this->y().col(j);
  }
}

template <class S>
void CrossEntropy<S>::hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                                             StateRef<S> out) const {
  for (Index j = 0; j < o.cols(); ++j) {
    softmax<S>(o, j, out);
    const S mean = (out.col(j).array() * v.col(j).array()).sum();
    out.col(j).array() *= (v.col(j).array() - mean) * this->y().col(j).sum();
  }
}

template class SquaredError<float>;
template class SquaredError<double>;
template class SquaredError<Complex>;
template class SquaredError<Dual<double>>;
template class CrossEntropy<float>;
template class CrossEntropy<double>;
template class CrossEntropy<Complex>;
template class CrossEntropy<Dual<double>>;

}  // namespace equiprop
