#pragma once
/// Anderson acceleration of any Stepper: extrapolates the next step's start from the differences of the last few steps.

#include <memory>
#include <vector>

#include "equiprop/base/iterate.hpp"

namespace equiprop {

/// Steps that an acceleration can remember.
inline constexpr Index most_remembered = 20;

/// Anderson (1965), type II as in Walker & Ni (2011): with g(s) a step of the stepper, f = g(s) - s, and the
/// differences df_i, dg_i of f and g over up to `memory` earlier steps, a sample takes its next step from
///
///     s' = g(s) - sum_i c_i dg_i        c = argmin |f - sum_i c_i df_i|_2
///
/// projected onto the box; on linear maps this is equivalent to GMRES. Coefficients are real: a complex or dual number
/// counts as a pair of reals, so that derivatives are extrapolated together with their values.
///
/// `step` always leaves g of some state in s; s' is computed when the next step begins. The state of a sample that
/// stops is therefore never an extrapolated one, and its change is that of a plain step.
///
/// A sample falls back, which means that it forgets its past and continues with a plain step from g(s), if no df_i is
/// left, if s' does not lie along f, or if the step from s' is longer than the last one or not finite. The length of
/// the step alone is not enough: near a fold |f| has a minimum that is no fixed point, and the least squares would
/// return to it after every plain step that leaves it.
template <Scalar S>
class EQUIPROP_EXPORT Anderson final : public Stepper<S> {
 public:
  /// `memory` is 1 to most_remembered.
  Anderson(std::unique_ptr<Stepper<S>> stepper, Index memory)
      : stepper_(std::move(stepper)), memory_(memory) {}

  /// See Stepper.
  ///@{
  void step(StateRef<S> s, PerSample<RealOf<S>>* change) override;
  void residual(const ConstStateRef<S>& s, bool stepped, PerSample<double>& out) override {
    stepper_->residual(s, stepped, out);
  }
  void project(StateRef<S> s) const override { stepper_->project(s); }
  bool separable() const override { return stepper_->separable(); }
  bool fell_back(Index j) const override { return past(j).fell_back; }
  void restart() override {
    stepper_->restart();
    pasts_.clear();
  }
  std::unique_ptr<Stepper<S>> select(Samples which) const override;
  ///@}

 private:
  struct LeastSquares;

  /// The history of one sample. Its differences are stored in a ring of `memory` places.
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
  auto difference(State<S>& all, Index j, Index place) const;
  Index place(const Past& past, Index a) const;

  void begin(const ConstStateRef<S>& s);
  void extrapolate(Index j, StateRef<S>& s);
  bool mix(Index j, const StateRef<S>& s);
  Index solve(Index j, LeastSquares& system);
  void learn(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change);
  void take_back(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change);
  void remember(Index j, const StateRef<S>& s);

  std::unique_ptr<Stepper<S>> stepper_;
  Index memory_;
  std::vector<Past> pasts_;      // of each sample; empty before the first step
  State<S> start_;               // of the step under way
  State<S> residual_;            // f
  State<S> residuals_, images_;  // df_i and dg_i, those of a sample one below the other
  State<double> products_;       // <df_i, df_k>, a matrix for each sample
};

extern template class Anderson<float>;
extern template class Anderson<double>;
extern template class Anderson<Complex>;
extern template class Anderson<Dual<double>>;

}  // namespace equiprop
