#include "equiprop/model/cost.hpp"

namespace equiprop {
namespace {

/// Returns the largest logit, which is subtracted from all before exp, so that it does not overflow.
template <class S>
S largest(const ConstStateRef<S>& o, Index j) {
  RealOf<S> top = real_part(o(0, j));
  for (Index i = 1; i < o.rows(); ++i) top = std::max(top, real_part(o(i, j)));
  return S(top);
}

/// Sums in order, one number at a time: the order of Eigen's vectorised sums depends on the alignment of the memory,
/// and so would a sample's bits.
template <class Term>
auto sum(Index count, const Term& term) {
  auto total = term(0);
  for (Index i = 1; i < count; ++i) total += term(i);
  return total;
}

template <class Matrix>
auto column_sum(const Matrix& a, Index j) {
  return sum(a.rows(), [&](Index i) { return a(i, j); });
}

/// Stores softmax(scale o) of sample j in column j of out.
template <class S>
void softmax(const ConstStateRef<S>& o, RealOf<S> scale, Index j, StateRef<S>& out) {
  using std::exp;
  const S top = largest<S>(o, j);
  for (Index i = 0; i < o.rows(); ++i) out(i, j) = exp(S(scale) * (o(i, j) - top));
  out.col(j) /= column_sum(out, j);
}

}  // namespace

template <class S>
void SquaredError<S>::value(const ConstStateRef<S>& o, PerSample<S>& out) const {
  const auto square = [](const S& difference) -> S { return difference * difference; };
  for (Index j = 0; j < o.cols(); ++j)
    out(j) = S(0.5) * sum(o.rows(), [&](Index i) { return square(o(i, j) - this->y()(i, j)); });
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
CrossEntropy<S>::CrossEntropy(State<S> y, double logit_scale)
    : detail::Targets<S>(std::move(y)), scale_(logit_scale) {
  require(logit_scale > 0 && std::isfinite(logit_scale), "CrossEntropy",
          "logit_scale is positive and finite.", logit_scale);
}

template <class S>
void CrossEntropy<S>::value(const ConstStateRef<S>& o, PerSample<S>& out) const {
  using std::exp, std::log;
  const S scale(static_cast<RealOf<S>>(scale_));
  for (Index j = 0; j < o.cols(); ++j) {
    const S top = largest<S>(o, j);
    const S partition = sum(o.rows(), [&](Index i) { return exp(scale * (o(i, j) - top)); });
    out(j) = (scale * top + log(partition)) * column_sum(this->y(), j) -
             scale * sum(o.rows(), [&](Index i) -> S { return this->y()(i, j) * o(i, j); });
  }
}

template <class S>
void CrossEntropy<S>::gradient(const ConstStateRef<S>& o, StateRef<S> out) const {
  const auto scale = static_cast<RealOf<S>>(scale_);
  for (Index j = 0; j < o.cols(); ++j) {
    softmax<S>(o, scale, j, out);
    out.col(j) = S(scale) * (out.col(j) * column_sum(this->y(), j) - this->y().col(j));
  }
}

template <class S>
void CrossEntropy<S>::hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                                             StateRef<S> out) const {
  const auto scale = static_cast<RealOf<S>>(scale_);
  for (Index j = 0; j < o.cols(); ++j) {
    softmax<S>(o, scale, j, out);
    const S mean = sum(o.rows(), [&](Index i) -> S { return out(i, j) * v(i, j); });
    out.col(j).array() *= (v.col(j).array() - mean) * (S(scale * scale) * column_sum(this->y(), j));
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
