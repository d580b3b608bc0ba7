#pragma once
/// The drive of a clamped network and products with its couplings, in scratch memory that is reused.

#include "equiprop/model/clamped_input.hpp"

namespace equiprop {

/// Computes, with u = signal(s) and M the couplings between free layers: the drive p = input drive + M u, products
/// M (u' v), and Hessian products. Arrays are (units, batch). Two threads must not use one object at the same time; a
/// copy shares the input, not the scratch memory.
template <Scalar S>
class EQUIPROP_EXPORT HopfieldFields {
 public:
  /// Shares the input.
  explicit HopfieldFields(std::shared_ptr<const ClampedInput<S>> input)
      : input_(std::move(input)) {}

  const ClampedInput<S>& input() const { return *input_; }              ///< the clamped input
  const BoundNetwork<S>& network() const { return input_->network(); }  ///< network of the input

  /// Returns the drive p at s, in writable scratch memory that the next call of any function overwrites.
  State<S>& drive(const ConstStateRef<S>& s);
  /// Returns the signals of the units with a nonlinear signal, from the last call of `take_signals` or `drive`.
  const State<S>& signals() const { return signals_; }
  /// Computes signals() at s and returns signal_array(s).
  ConstStateRef<S> take_signals(const ConstStateRef<S>& s) {
    network().take_signals(s, signals_);
    return signal_array(s);
  }
  /// Returns the array that the steps of the plan read: s itself if all signals are linear, otherwise signals().
  ConstStateRef<S> signal_array(const ConstStateRef<S>& s) const {
    return network().topology().has_linear_signals() ? s : ConstStateRef<S>(signals_);
  }
  /// Computes signal'(s) v, given signals() at s.
  void take_tangents(const ConstStateRef<S>& v) {
    network().take_tangents(signals_, v, slopes_, tangents_);
  }
  /// The signal of layer k at s, and its tangent signal'(s) v, given signals() and the tangents.
  ///@{
  Signal<S> signal(std::size_t k, const ConstStateRef<S>& s) const {
    return network().signal(k, s, signals_);
  }
  Signal<S> tangent(std::size_t k, const ConstStateRef<S>& v) const {
    return network().signal(k, v, tangents_);
  }
  ///@}
  /// Returns the derivative M of the pulls at s times (u' v), or M^T (u' v) for Op::transpose, in scratch memory;
  /// requires signals() at s.
  const State<S>& tangent_pulls(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Op op);
  /// Adds M u at s for one layer to the rows of that layer in out; requires signals() at s.
  void add_pulls_on(std::size_t layer, const ConstStateRef<S>& s, State<S>& out) const;

  /// Stores dE/ds at s in out.
  void gradient(const ConstStateRef<S>& s, StateRef<S>& out);
  /// Stores H v at s in out, or H^T v for Op::transpose.
  void hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Op op,
                       StateRef<S>& out);
  /// Returns true if all slopes are constant and the packed kernels can multiply by H, whose diagonal blocks are then
  /// diagonal, but for layers with couplings within.
  bool multiplies_in_kernel() const;
  /// Stores H v, computed by the kernels, in out. If `block` >= 0, only the rows of that block are computed; the others
  /// are set to zero.
  void multiply_in_kernel(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Index block,
                          StateRef<S>& out);

  /// Returns the scratch memory for LayerPlan::step.
  PlanScratch<RealOf<S>>& plan_scratch() { return plan_scratch_; }

 private:
  std::shared_ptr<const ClampedInput<S>> input_;
  State<S> drive_, signals_, slopes_, tangents_, pulls_;  // (units, batch)
  PlanScratch<RealOf<S>> plan_scratch_;
};

extern template class HopfieldFields<float>;
extern template class HopfieldFields<double>;
extern template class HopfieldFields<Complex>;
extern template class HopfieldFields<Dual<double>>;

}  // namespace equiprop
