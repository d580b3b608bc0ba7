#pragma once
/// The antisymmetric term that makes Equilibrium Propagation exact where couplings are not symmetric.

#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// ds/dt = mu(s) - (A - A^T)(s - s*), A = dmu/ds at s* (Scurria et al. 2026, AEP). The fixed point s* and
/// the velocity there stay; the linear response becomes that of A^T, which is the side network of
/// Recurrent Backpropagation. For symmetric A nothing changes. It has no block updates.
template <class S>
class Symmetrized final : public EnergyDecorator<S>, private Selection<S> {
 public:
  /// s_star is a fixed point of the energy, (units, batch).
  Symmetrized(const AnyEnergy<S>& energy, State<S> s_star)
      : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(energy)),
        s_star_(std::move(s_star)),
        distance_(s_star_),
        product_(s_star_) {}

  /// With G = -mu and H = dG/ds(s*) = -A:  G(s) + (H^T - H)(s - s*).
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override {
    model().gradient(s, out);
    distance_ = s - s_star_;
    add_turn(distance_, 1, out);
  }
  /// See EnergyInterface.
  ///@{
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override {
    model().hessian_vector_product(s, v, out);
    add_turn(v, 1, out);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override {
    model().transposed_hessian_vector_product(s, v, out);
    add_turn(v, -1, out);
  }
  ///@}
  /// T(s) of the energy under the force -(H^T - H)(s - s*) on all units: it rests where the gradient above is 0. With
  /// D its mobility, the Jacobian at s* turns from 1 - D H into 1 - D H^T, which has the same eigenvalues: near s* the
  /// map contracts as fast as the energy's own.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S> out) const override {
    model().fixed_point_map(s, with_turn(s, nudge), out);
  }
  /// See EnergyInterface.
  ///@{
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const override {
    model().mobility(s, with_turn(s, nudge), out);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const override {
    State<S> response(s.rows(), s.cols());
    mobility(s, nudge, response);
    response.array() *= v.array();
    model().transposed_map_product(s, with_turn(s, nudge), v, out);
    add_turn(response, 1, out);
  }
  const BlockUpdates<S>* block_updates() const override { return nullptr; }
  const OnePassResidual<S>* one_pass_residual() const override { return nullptr; }
  const Selection<S>* selection() const override {
    return model().selection() != nullptr ? this : nullptr;
  }
  ///@}

 private:
  using EnergyDecorator<S>::model;

  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override {
    return std::make_shared<Symmetrized>(AnyEnergy<S>(model().selection()->part(which)),
                                         columns_of<S>(s_star_, which));
  }
  /// The nudge with the force -(H^T - H)(s - s*).
  const Nudge<S>& with_turn(const ConstStateRef<S>& s, const Nudge<S>& nudge) const {
    distance_ = s - s_star_;
    nudge_.force.setZero(s.rows(), s.cols());
    StateRef<S> force(nudge_.force);
    add_turn(distance_, -1, force);
    if (nudge.force.size() > 0) force.bottomRows(nudge.force.rows()) += nudge.force;
    nudge_.stiffness = nudge.stiffness;
    return nudge_;
  }
  /// out += sign (H^T - H) v
  void add_turn(const ConstStateRef<S>& v, int sign, StateRef<S>& out) const {
    model().transposed_hessian_vector_product(s_star_, v, product_);
    out += S(sign) * product_;
    model().hessian_vector_product(s_star_, v, product_);
    out -= S(sign) * product_;
  }

  State<S> s_star_;
  mutable State<S> distance_, product_;  // scratch
  mutable Nudge<S> nudge_;               // scratch
};

}  // namespace equiprop
