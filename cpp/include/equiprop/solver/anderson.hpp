#pragma once
/// Anderson acceleration of any Stepper: extrapolates the start of the next step from the last few steps.

#include <memory>
#include <vector>

#include "equiprop/base/iterate.hpp"

namespace equiprop {

/// Largest number of steps that an acceleration can remember.
inline constexpr Index most_remembered = 20;

/// Anderson acceleration (Anderson 1965), type II as in Walker & Ni (2011). With g(s) a step of the stepper,
/// f = g(s) - s, and the differences df_i, dg_i of f and g over up to `memory` earlier steps, a sample takes its next
/// step from
///
///     s' = g(s) - sum_i c_i dg_i        c = argmin |f - sum_i c_i df_i|_2
///
/// projected onto the box; on linear maps this is equivalent to GMRES. The coefficients are real: a complex or dual
/// number counts as a pair of reals, so that derivatives are extrapolated together with their values.
///
/// Here s stands for the carried rows of the state (Stepper::carried): g depends on no others, which a step overwrites.
/// The change of a sample is that of these rows too.
///
/// `step` always stores the result of a plain step in s; s' is computed at the start of the next step. The final state of
/// a sample is therefore never extrapolated, and its change is that of a plain step.
///
/// A sample falls back, that is, it discards its history and continues with a plain step from g(s), in three cases: no
/// df_i is left; s' does not lie in the direction of f; or the step from s' is longer than the last one or not finite.
/// The length of the step alone is not a sufficient test: near a fold, |f| has a minimum that is no fixed point, and
/// the least squares would return to it after every plain step that leaves it.
template <Scalar S>
class EQUIPROP_EXPORT Anderson final : public Stepper<S> {
 public:
  /// Accelerates `stepper`. `memory` is 1 to most_remembered.
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
  double amplification(Index j) const override;
  void restart() override {
    stepper_->restart();
    pasts_.clear();
  }
  std::unique_ptr<Stepper<S>> select(Samples which) const override;
  ///@}

 private:
  struct LeastSquares;

  /// The history of one sample. Its differences are stored in a ring buffer of `memory` entries.
  struct Past {
    Index remembered = 0;  ///< number of stored differences
    Index place = 0;       ///< index of the next difference; until then g(s) is stored there
    bool stepped = false;  ///< true if a residual is stored
    double square = 0;     ///< |f|^2
    double secant = 0;     ///< |dg| / |df| of the latest difference, or 0
    bool mixed = false;    ///< true if the present step starts from s'
    bool fell_back = false;
  };

  Past& past(Index j) { return pasts_[static_cast<std::size_t>(j)]; }
  const Past& past(Index j) const { return pasts_[static_cast<std::size_t>(j)]; }
  auto difference(State<S>& all, Index j, Index place) const;
  template <class Column>
  void take(const StateRef<S>& s, Index j, Column out) const;
  Index place(const Past& past, Index a) const;

  void find_rows(Index units);
  void begin(const ConstStateRef<S>& s);
  void extrapolate(Index j, StateRef<S>& s);
  bool mix(Index j);
  Index solve(Index j, LeastSquares& system);
  void learn(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change);
  void take_back(Index j, StateRef<S>& s, PerSample<RealOf<S>>* change);
  void remember(Index j);

  std::unique_ptr<Stepper<S>> stepper_;
  Index memory_;
  std::vector<Past> pasts_;  // one per sample; empty before the first step
  std::vector<Rows> rows_;   // carried rows; all arrays below but the first hold these rows only
  Index size_ = 0;           // number of carried rows
  State<S> before_;          // whole states before an extrapolation
  State<S> start_;           // start of the present step
  State<S> image_;           // its result
  State<S> residual_;        // residual f
  State<S> residuals_, images_;  // df_i and dg_i, stacked in the column of each sample
  State<double> products_;       // <df_i, df_k>, one matrix per sample
};

extern template class Anderson<float>;
extern template class Anderson<double>;
extern template class Anderson<Complex>;
extern template class Anderson<Dual<double>>;

}  // namespace equiprop
