#pragma once
/// The antisymmetric term that makes Equilibrium Propagation exact where couplings are not symmetric.

#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// ds/dt = mu(s) - (A - A^T)(s - s*), A = dmu/ds at s* (Scurria et al. 2026, AEP). The fixed point s* and
/// the velocity there stay; the linear response becomes that of A^T, which is the side network of
/// Recurrent Backpropagation. For symmetric A nothing changes.
template <class S>
class Symmetrized {
 public:
  using Scalar = S;  ///< of states

  /// s_star is a fixed point of the energy, (units, batch).
  Symmetrized(AnyEnergy<S> energy, State<S> s_star)
      : energy_(std::move(energy)),
        s_star_(std::move(s_star)),
        distance_(s_star_),
        product_(s_star_) {}

  /// As the concept Energy says and its refinements.
  ///@{
  Index num_units() const { return energy_.num_units(); }
  Index num_inputs() const { return energy_.num_inputs(); }
  Index num_outputs() const { return energy_.num_outputs(); }
  Index num_parameters() const { return energy_.num_parameters(); }
  bool conservative() const { return energy_.conservative(); }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const { energy_.energy(s, out); }
  ///@}
  /// With G = -mu and H = dG/ds(s*) = -A:  G(s) + (H^T - H)(s - s*).
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    energy_.gradient(s, out);
    distance_ = s - s_star_;
    add_turn(distance_, 1, out);
  }
  /// As the concept Energy says and its refinements.
  ///@{
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    energy_.hessian_vector_product(s, v, out);
    add_turn(v, 1, out);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const {
    energy_.transposed_hessian_vector_product(s, v, out);
    add_turn(v, -1, out);
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    energy_.parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    energy_.mixed_derivative_product(s, v, weight, grad);
  }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const {
    energy_.input_gradient(s, weight, out);
  }
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const {
    energy_.mixed_input_product(s, v, weight, out);
  }
  ///@}

  /// T(s) of the energy under the force -(H^T - H)(s - s*) on all units: it rests where the gradient above is 0. With
  /// D its mobility, the Jacobian at s* turns from 1 - D H into 1 - D H^T, which has the same eigenvalues: near s* the
  /// map contracts as fast as the energy's own.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    energy_.fixed_point_map(s, with_turn(s, nudge), out);
  }
  /// As the refinements say.
  ///@{
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    energy_.mobility(s, with_turn(s, nudge), out);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const {
    State<S> response(s.rows(), s.cols());
    mobility(s, nudge, response);
    response.array() *= v.array();
    energy_.transposed_map_product(s, with_turn(s, nudge), v, out);
    add_turn(response, 1, out);
  }
  void project(StateRef<S> s) const { energy_.project(s); }

  bool divisible() const { return energy_.divisible(); }
  Symmetrized select(Samples which) const {
    return {energy_.select(which), columns_of<S>(s_star_, which)};
  }
  ///@}

 private:
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
    energy_.transposed_hessian_vector_product(s_star_, v, product_);
    out += S(sign) * product_;
    energy_.hessian_vector_product(s_star_, v, product_);
    out -= S(sign) * product_;
  }

  AnyEnergy<S> energy_;
  State<S> s_star_;
  mutable State<S> distance_, product_;  // scratch, see ClampedHopfield
  mutable Nudge<S> nudge_;               // scratch
};

}  // namespace equiprop
