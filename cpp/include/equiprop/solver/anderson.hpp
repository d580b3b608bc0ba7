#pragma once
/// Anderson acceleration of any Stepper: the next step starts where the last few say a fixed point would be.

#include <array>
#include <vector>

#include "equiprop/base/iterate.hpp"

namespace equiprop {

/// Steps that an acceleration can remember.
inline constexpr Index most_remembered = 20;

namespace detail {

/// The coefficients c that minimise |sum_a c_a d_a - f|, from <d_a, d_b> and <d_a, f>.
///
/// The normal equations by Cholesky's factors, which are indifferent to the lengths of the d_a; a d_a that
/// leaves less than `negligible` of its square beside those before it is dropped, with all that follow it.
struct LeastSquares {
  template <class T>
  using Row = std::array<T, static_cast<std::size_t>(most_remembered)>;

  Row<Row<double>> products;  // <d_a, d_b> for b <= a; the factor takes its place
  Row<double> coefficients;   // <d_a, f>; the solution takes its place

  /// How many of the first `size` vectors are used.
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
  /// Row a of the factor and of the forward substitution. NaN counts as dependent.
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

}  // namespace detail

/// A Stepper whose states may be extrapolated.
template <class P, class S>
concept Accelerable = Stepper<P, S> && requires(const P p, StateRef<S> s) {
  p.project(s);  // clips them to the box, in place
};

/// Anderson (1965), type II as in Walker & Ni (2011): with g(s) a step of `P`, f = g(s) - s, and the differences df_i,
/// dg_i of f and g over up to `memory` earlier steps, a sample takes its next step from
///
///     s' = g(s) - sum_i c_i dg_i        c = argmin |f - sum_i c_i df_i|_2
///
/// projected onto the box; on linear maps that is GMRES. Coefficients are real: a complex or dual number
/// is a pair of reals here, so that derivatives are extrapolated along with their values.
///
/// What a step leaves in s is always g of something, and s' is taken when the next step begins: a sample that
/// stops has not been extrapolated, and its change is that of a plain step.
///
/// A sample falls back where no df_i is left, where s' does not lie along f, and where the step from s' is longer
/// than the last one or not finite: it forgets its past and goes on plainly from g(s). Lengths alone
/// would not do: where a fixed point has nearly appeared |f| has a minimum, and the least squares would lead back
/// there after every plain step that leaves it.
template <Scalar S, Accelerable<S> P>
class Anderson {
 public:
  using Real = RealOf<S>;  ///< of changes

  /// `memory` is 1 to most_remembered.
  Anderson(P stepper, Index memory) : stepper_(std::move(stepper)), memory_(memory) {}

  /// As Stepper says.
  ///@{
  void step(StateRef<S> s, PerSample<Real>* change) {
    if (pasts_.empty()) begin(s);
    for (Index j = 0; j < s.cols(); ++j) extrapolate(j, s);
    start_ = s;
    stepper_.step(s, change);
    for (Index j = 0; j < s.cols(); ++j) learn(j, s, change);
  }
  void residual(const ConstStateRef<S>& s, bool stepped, PerSample<double>& out) {
    stepper_.residual(s, stepped, out);
  }
  bool separable() const { return stepper_.separable(); }
  bool fell_back(Index j) const { return past(j).fell_back; }

  Anderson select(Samples which) const {
    Anderson some(stepper_.select(which), memory_);
    if (pasts_.empty()) return some;
    for (const Index j : which) some.pasts_.push_back(past(j));
    some.start_ = columns_of<S>(start_, which);
    some.residual_ = columns_of<S>(residual_, which);
    some.residuals_ = columns_of<S>(residuals_, which);
    some.images_ = columns_of<S>(images_, which);
    some.products_ = columns_of<double>(products_, which);
    return some;
  }
  ///@}

 private:
  /// What is known of one sample. Differences are kept in turns, in `memory` places.
  struct Past {
    Index remembered = 0;  ///< differences
    Index place = 0;       ///< of the next difference; until it is complete, of g(s)
    bool stepped = false;  ///< there is a residual
    double square = 0;     ///< |f|^2
    bool mixed = false;    ///< the step under way is from s'
    bool fell_back = false;
  };

  Past& past(Index j) { return pasts_[static_cast<std::size_t>(j)]; }
  const Past& past(Index j) const { return pasts_[static_cast<std::size_t>(j)]; }
  auto difference(State<S>& all, Index j, Index place) const {
    return all.col(j).segment(place * start_.rows(), start_.rows());
  }
  /// The place of the a-th latest difference.
  Index place(const Past& past, Index a) const { return (past.place + memory_ - 1 - a) % memory_; }

  /// The real inner product of complex and dual numbers as pairs of reals. An expression has no address, so
  /// Eigen's order of summation is the same for each column.
  template <class A, class B>
  static double overlap(const A& a, const B& b) {
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

  void begin(const ConstStateRef<S>& s) {
    pasts_.resize(static_cast<std::size_t>(s.cols()));
    start_ = residual_ = s;
    residuals_.resize(memory_ * s.rows(), s.cols());
    images_.resize(memory_ * s.rows(), s.cols());
    products_.resize(memory_ * memory_, s.cols());
  }

  void extrapolate(Index j, StateRef<S>& s) {
    Past& past = this->past(j);
    const bool possible = past.remembered > 0 && past.square > 0;
    past.mixed = possible && mix(j, s);
    past.fell_back = possible && !past.mixed;
    if (past.fell_back) past.remembered = 0;
    difference(images_, j, past.place) = s.col(j);
    if (!past.mixed) return;
    s.col(j) = start_.col(j);
    stepper_.project(s.middleCols(j, 1));
  }

  /// start_ <- s' as above; whether it may be used.
  bool mix(Index j, const StateRef<S>& s) {
    Past& past = this->past(j);
    past.remembered = solve(j);
    start_.col(j) = s.col(j);
    for (Index a = 0; a < past.remembered; ++a)
      start_.col(j) -= S(static_cast<Real>(system_.coefficients[static_cast<std::size_t>(a)])) *
                       difference(images_, j, place(past, a));
    const double beyond = overlap(start_.col(j) - s.col(j), residual_.col(j));
    return past.remembered > 0 && past.square + beyond > 0;  // <s' - (g(s) - f), f>
  }

  /// The coefficients of the latest differences, the newest first; how many there are.
  Index solve(Index j) {
    const Past& past = this->past(j);
    const auto size = static_cast<std::size_t>(past.remembered);
    for (std::size_t a = 0; a < size; ++a) {
      const Index row = place(past, static_cast<Index>(a));
      for (std::size_t b = 0; b <= a; ++b)
        system_.products[a][b] = products_(row * memory_ + place(past, static_cast<Index>(b)), j);
      system_.coefficients[a] = overlap(difference(residuals_, j, row), residual_.col(j));
    }
    // Products are rounded to about eps, so what is left of a square is known when it is much more.
    constexpr double negligible = 100.0 * std::numeric_limits<Real>::epsilon();
    return static_cast<Index>(system_.solve(size, negligible));
  }

  void learn(Index j, StateRef<S>& s, PerSample<Real>* change) {
    Past& past = this->past(j);
    const auto residual = s.col(j) - start_.col(j);
    const double square = overlap(residual, residual);
    // A stepper that looks leaves a sample where it was when it would not stay finite.
    const bool finite = std::isfinite(square) && (change == nullptr || std::isfinite((*change)(j)));
    if (past.mixed && !(finite && square <= past.square)) return take_back(j, s, change);
    if (!finite) {
      past = Past{};
      return;
    }
    if (past.stepped) remember(j, s);
    residual_.col(j) = residual;
    past.square = square;
    past.stepped = true;
  }

  /// As if the step had not been taken; the change is again that of the last one.
  void take_back(Index j, StateRef<S>& s, PerSample<Real>* change) {
    Past& past = this->past(j);
    s.col(j) = difference(images_, j, past.place);
    if (change != nullptr)
      (*change)(j) = residual_.col(j).unaryExpr([](const S& v) { return magnitude(v); }).maxCoeff();
    past.remembered = 0;
    past.fell_back = true;
  }

  void remember(Index j, const StateRef<S>& s) {
    Past& past = this->past(j);
    const Index row = past.place;
    auto newest = difference(residuals_, j, row), image = difference(images_, j, row);
    newest = s.col(j) - start_.col(j) - residual_.col(j);
    image = s.col(j) - image;
    past.place = (row + 1) % memory_;
    past.remembered = std::min(past.remembered + 1, memory_);
    for (Index a = 0; a < past.remembered; ++a) {
      const Index other = place(past, a);
      products_(row * memory_ + other, j) = products_(other * memory_ + row, j) =
          overlap(newest, difference(residuals_, j, other));
    }
  }

  P stepper_;
  Index memory_;
  std::vector<Past> pasts_;
  State<S> start_;               // of the step under way
  State<S> residual_;            // f
  State<S> residuals_, images_;  // df_i and dg_i, those of a sample one below the other
  State<double> products_;       // <df_i, df_k>, a matrix for each sample
  detail::LeastSquares system_;
};

}  // namespace equiprop
