#pragma once
/// The drive of a clamped network and products with its couplings, in scratch memory that is kept.

#include "equiprop/model/clamped_input.hpp"

namespace equiprop {

/// With u = signal(s), p = clamped drive + M u and M the couplings between free layers: p, M (u' v), and Hessian
/// products. Arrays are (units, batch). Use it from one thread at a time; a copy shares the input, not the scratch.
template <Scalar S>
class EQUIPROP_EXPORT HopfieldFields {
 public:
  /// Shares the input.
  explicit HopfieldFields(std::shared_ptr<const ClampedInput<S>> input)
      : input_(std::move(input)) {}

  const ClampedInput<S>& input() const { return *input_; }              ///< the clamped input
  const BoundNetwork<S>& network() const { return input_->network(); }  ///< its network

  /// The drive p at s, in scratch memory that the next call of any function overwrites; the caller may write there.
  State<S>& drive(const ConstStateRef<S>& s);
  /// Signals of the units whose signal is not linear, from the last `take_signals` or, of other networks than packed
  /// ones, `drive`.
  const State<S>& signals() const { return signals_; }
  /// Computes signals() at s.
  void take_signals(const ConstStateRef<S>& s) { network().take_signals(s, signals_); }
  /// Computes signal'(s) v given signals().
  void take_tangents(const ConstStateRef<S>& v) {
    network().take_tangents(signals_, v, slopes_, tangents_);
  }
  /// What layer k sends at s, and signal'(s) v of it, given signals() and tangents.
  ///@{
  Signal<S> signal(std::size_t k, const ConstStateRef<S>& s) const {
    return network().signal(k, s, signals_);
  }
  Signal<S> tangent(std::size_t k, const ConstStateRef<S>& v) const {
    return network().signal(k, v, tangents_);
  }
  ///@}
  /// M (u' v), or M^T (u' v), in scratch memory; needs signals() at s.
  const State<S>& tangent_pulls(const ConstStateRef<S>& v, Op op);
  /// Adds M u of one layer at s to its rows of out; needs signals() at s.
  void add_pulls_on(std::size_t layer, const ConstStateRef<S>& s, State<S>& out) const;

  /// out = dE/ds at s.
  void gradient(const ConstStateRef<S>& s, StateRef<S>& out);
  /// out = H v or H^T v at s.
  void hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Op op,
                       StateRef<S>& out);
  /// True if all slopes are constants and the packed kernels multiply by H.
  bool multiplies_in_kernel() const;
  /// out = H v by the kernels, or only the rows of one block and zeros elsewhere; -1 for all blocks.
  void multiply_in_kernel(const ConstStateRef<S>& v, Index block, StateRef<S>& out);

  /// Memory of LayerPlan::step.
  std::vector<Pull<RealOf<S>>>& plan_pulls() { return plan_pulls_; }

 private:
  std::shared_ptr<const ClampedInput<S>> input_;
  State<S> drive_, signals_, slopes_, tangents_, pulls_;  // (units, batch)
  std::vector<Pull<RealOf<S>>> plan_pulls_;
};

extern template class HopfieldFields<float>;
extern template class HopfieldFields<double>;
extern template class HopfieldFields<Complex>;
extern template class HopfieldFields<Dual<double>>;

}  // namespace equiprop
