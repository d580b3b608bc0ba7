#pragma once
/// The antisymmetric term that makes Equilibrium Propagation exact for asymmetric couplings.

#include "equiprop/base/export.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// The dynamics ds/dt = mu(s) - (A - A^T)(s - s*) with A = dmu/ds at s* (Scurria et al. 2026, AEP). The fixed point s*
/// and the velocity there do not change; the Jacobian at s* becomes A^T, so the linear response is that of the side
/// network of Recurrent Backpropagation. For symmetric A nothing changes. It has no block updates.
template <class S>
class EQUIPROP_EXPORT Symmetrized final : public EnergyDecorator<S>, private Selection<S> {
 public:
  /// Creates the dynamics at s_star, a fixed point of the energy, (units, batch).
  Symmetrized(const AnyEnergy<S>& energy, State<S> s_star);

  /// Stores G(s) + (H^T - H)(s - s*) in out, with G = -mu and H = dG/ds(s*) = -A.
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override;
  /// See EnergyInterface.
  ///@{
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override;
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override;
  ///@}
  /// Stores T(s) of the energy under the additional force -(H^T - H)(s - s*) on all units in out; its fixed points are
  /// the zeros of `gradient`. With D the mobility, the Jacobian of T at s* becomes 1 - D H^T instead of 1 - D H. Both
  /// have the same eigenvalues, so near s* the map contracts as fast as that of the energy.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S> out) const override;
  /// See EnergyInterface.
  ///@{
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const override;
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const override;
  const BlockUpdates<S>* block_updates() const override { return nullptr; }
  const OnePassResidual<S>* one_pass_residual() const override { return nullptr; }
  const Selection<S>* selection() const override;
  ///@}

 private:
  using EnergyDecorator<S>::model;

  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override;
  const Nudge<S>& with_turn(const ConstStateRef<S>& s, const Nudge<S>& nudge) const;
  void add_turn(const ConstStateRef<S>& v, int sign, StateRef<S>& out) const;

  State<S> s_star_;
  mutable State<S> distance_, product_;  // scratch
  mutable Nudge<S> nudge_;               // scratch
};

extern template class Symmetrized<float>;
extern template class Symmetrized<double>;
extern template class Symmetrized<Complex>;
extern template class Symmetrized<Dual<double>>;

}  // namespace equiprop
