#include "equiprop/solver/anderson.hpp"

#include <array>

#include "equiprop/base/largest.hpp"

namespace equiprop {
namespace {

/// Returns <a, b> of two columns, where a complex or dual number counts as a pair of reals. Both are expressions whose
/// alignment Eigen does not know, so that the order of summation is the same for each column.
template <class S, class A, class B>
double overlap(const A& a, const B& b) {
  if constexpr (std::same_as<S, Complex>)
    return (a.array() * b.array().conjugate()).real().sum();
  else if constexpr (std::same_as<S, Dual<double>>)
    return a
        .binaryExpr(b, [](const S& u,
                          const S& v) { return u.value * v.value + u.derivative * v.derivative; })
        .sum();
  else
    return static_cast<double>((a.array() * b.array()).sum());
}

}  // namespace

/// Finds the coefficients c that minimise |sum_a c_a d_a - f|, from <d_a, d_b> and <d_a, f>: solves the normal
/// equations by Cholesky factorisation, which is invariant to the lengths of the d_a. If the part of a d_a that is
/// orthogonal to the vectors before it has less than `negligible` of its square, that d_a and all that follow it are
/// dropped.
template <Scalar S>
struct Anderson<S>::LeastSquares {
  template <class T>
  using Row = std::array<T, static_cast<std::size_t>(most_remembered)>;

  Row<Row<double>> products;  // <d_a, d_b> for b <= a; overwritten by the factor
  Row<double> coefficients;   // <d_a, f>; overwritten by the solution

  /// Replaces `coefficients` by the solution for the first `size` vectors. Returns how many of them are used.
  std::size_t solve(std::size_t size, double negligible) {
    std::size_t used = 0;
    while (used < size && eliminate(used, negligible)) ++used;
    for (std::size_t a = used; a-- > 0;) {
      for (std::size_t b = a + 1; b < used; ++b)
        coefficients[a] -= products[b][a] * coefficients[b];
      coefficients[a] /= products[a][a];
    }
    return used;
  }

 private:
  /// Computes row a of the factor and of the forward substitution. Returns false if vector a depends on those before
  /// it, or is not finite.
  bool eliminate(std::size_t a, double negligible) {
    Row<double>& row = products[a];
    const double square = row[a];
    for (std::size_t b = 0; b < a; ++b) {
      for (std::size_t c = 0; c < b; ++c) row[b] -= row[c] * products[b][c];
      row[b] /= products[b][b];
      row[a] -= row[b] * row[b];
      coefficients[a] -= row[b] * coefficients[b];
    }
    if (!(row[a] > negligible * square) || !std::isfinite(row[a])) return false;
    row[a] = std::sqrt(row[a]);
    coefficients[a] /= row[a];
    return true;
  }
};

template <Scalar S>
void Anderson<S>::step(StateRef<S> s, PerSample<RealOf<S>>* change) {
  if (pasts_.empty()) begin(s);
  for (Index j = 0; j < s.cols(); ++j) {
    extrapolate(j, s);
    take(s, j, start_.col(j));
  }
  stepper_->step(s, change);
  for (Index j = 0; j < s.cols(); ++j) learn(j, s, change);
}

/// Returns 1 + |dg| / |df| of the latest difference, or 0 if there is none.
template <Scalar S>
double Anderson<S>::amplification(Index j) const {
  return past(j).secant > 0 ? 1 + past(j).secant : 0;
}

template <Scalar S>
std::unique_ptr<Stepper<S>> Anderson<S>::select(Samples which) const {
  auto some = std::make_unique<Anderson>(stepper_->select(which), memory_);
  if (pasts_.empty()) return some;
  for (const Index j : which) some->pasts_.push_back(past(j));
  some->rows_ = rows_;
  some->size_ = size_;
  resize_to(some->before_, before_.rows(), static_cast<Index>(which.size()));
  resize_to(some->start_, size_, static_cast<Index>(which.size()));
  resize_to(some->image_, size_, static_cast<Index>(which.size()));
  some->residual_ = columns_of<S>(residual_, which);
  some->residuals_ = columns_of<S>(residuals_, which);
  some->images_ = columns_of<S>(images_, which);
  some->products_ = columns_of<double>(products_, which);
  return some;
}

template <Scalar S>
auto Anderson<S>::difference(State<S>& all, Index j, Index place) const {
  return all.col(j).segment(place * size_, size_);
}

/// Copies the carried rows of a sample of s to `out`.
template <Scalar S>
template <class Column>
void Anderson<S>::take(const StateRef<S>& s, Index j, Column out) const {
  Index place = 0;
  for (const auto& [begin, size] : rows_) {
    out.segment(place, size) = s.col(j).segment(begin, size);
    place += size;
  }
}

/// Returns the index of the a-th latest difference.
template <Scalar S>
Index Anderson<S>::place(const Past& past, Index a) const {
  return (past.place + memory_ - 1 - a) % memory_;
}

template <Scalar S>
void Anderson<S>::find_rows(Index units) {
  rows_ = stepper_->carried();
  if (rows_.empty()) rows_.push_back({0, units});
  size_ = 0;
  for (const Rows& rows : rows_) size_ += rows.size;
}

template <Scalar S>
void Anderson<S>::begin(const ConstStateRef<S>& s) {
  pasts_.resize(static_cast<std::size_t>(s.cols()));
  if (rows_.empty()) find_rows(s.rows());
  resize_to(before_, s.rows(), s.cols());
  for (State<S>* array : {&start_, &image_, &residual_}) array->resize(size_, s.cols());
  resize_to(residuals_, memory_ * size_, s.cols());
  resize_to(images_, memory_ * size_, s.cols());
  resize_to(products_, memory_ * memory_, s.cols());
}

template <Scalar S>
void Anderson<S>::extrapolate(Index j, StateRef<S>& s) {
  Past& past = this->past(j);
  const bool possible = past.remembered > 0 && past.square > 0;
  take(s, j, image_.col(j));
  past.mixed = possible && mix(j);
  past.fell_back = possible && !past.mixed;
  if (past.fell_back) past.remembered = 0;
  difference(images_, j, past.place) = image_.col(j);
  if (!past.mixed) return;
  before_.col(j) = s.col(j);
  Index place = 0;
  for (const auto& [begin, size] : rows_) {
    s.col(j).segment(begin, size) = start_.col(j).segment(place, size);
    place += size;
  }
  stepper_->project(s.middleCols(j, 1));
}

/// Stores s' in start_. Returns true if the next step may start there.
template <Scalar S>
bool Anderson<S>::mix(Index j) {
  Past& past = this->past(j);
  LeastSquares system;
  past.remembered = solve(j, system);
  start_.col(j) = image_.col(j);
  for (Index a = 0; a < past.remembered; ++a)
    start_.col(j) -= S(static_cast<RealOf<S>>(system.coefficients[static_cast<std::size_t>(a)])) *
                     difference(images_, j, place(past, a));
  const double beyond = overlap<S>(start_.col(j) - image_.col(j), residual_.col(j));
  return past.remembered > 0 && past.square + beyond > 0;  // <s' - (g(s) - f), f>
}

/// Stores the coefficients of the latest differences in `system`, the newest first. Returns how many there are.
template <Scalar S>
Index Anderson<S>::solve(Index j, LeastSquares& system) {
  const Past& past = this->past(j);
  const auto size = static_cast<std::size_t>(past.remembered);
  for (std::size_t a = 0; a < size; ++a) {
    const Index row = place(past, static_cast<Index>(a));
    for (std::size_t b = 0; b <= a; ++b)
      system.products[a][b] = products_(row * memory_ + place(past, static_cast<Index>(b)), j);
    system.coefficients[a] = overlap<S>(difference(residuals_, j, row), residual_.col(j));
  }
  // Products are rounded to about eps: a remainder of a square is reliable only if it is much larger.
  constexpr double negligible = 100.0 * std::numeric_limits<RealOf<S>>::epsilon();
  return static_cast<Index>(system.solve(size, negligible));
}

template <Scalar S>
void Anderson<S>::learn(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change) {
  Past& past = this->past(j);
  take(s, j, image_.col(j));
  const auto residual = image_.col(j) - start_.col(j);
  const double square = overlap<S>(residual, residual);
  // A stepper that measures the change rejects a step that is not finite.
  const bool finite = std::isfinite(square) && (change == nullptr || std::isfinite((*change)(j)));
  if (past.mixed && !(finite && square <= past.square)) return take_back(j, s, change);
  if (!finite) {
    past = Past{};
    return;
  }
  if (past.stepped) remember(j);
  residual_.col(j) = residual;
  if (change != nullptr && size_ < s.rows())
    (*change)(j) = largest_of<S>(size_, residual_.col(j).data());
  past.square = square;
  past.stepped = true;
}

/// Restores s and the change to those of the step before, and forgets the past of the sample.
template <Scalar S>
void Anderson<S>::take_back(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change) {
  Past& past = this->past(j);
  s.col(j) = before_.col(j);
  if (change != nullptr) (*change)(j) = largest_of<S>(size_, residual_.col(j).data());
  past.remembered = 0;
  past.fell_back = true;
}

template <Scalar S>
void Anderson<S>::remember(Index j) {
  Past& past = this->past(j);
  const Index row = past.place;
  auto newest = difference(residuals_, j, row), image = difference(images_, j, row);
  newest = image_.col(j) - start_.col(j) - residual_.col(j);
  image = image_.col(j) - image;
  past.place = (row + 1) % memory_;
  past.remembered = std::min(past.remembered + 1, memory_);
  for (Index a = 0; a < past.remembered; ++a) {
    const Index other = place(past, a);
    products_(row * memory_ + other, j) = products_(other * memory_ + row, j) =
        overlap<S>(newest, difference(residuals_, j, other));
  }
  past.secant = std::sqrt(overlap<S>(image, image) / products_(row * memory_ + row, j));
}

template class Anderson<float>;
template class Anderson<double>;
template class Anderson<Complex>;
template class Anderson<Dual<double>>;

}  // namespace equiprop
