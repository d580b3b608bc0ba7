#pragma once
/// F = E + beta C (Scellier & Bengio 2017): the nudged phase is the free phase of this energy, so
/// no solver ever hears of beta.

#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// Satisfies Energy and its refinements. C has no parameters, so dF/dtheta = dE/dtheta.
template <class S>
class TotalEnergy {
 public:
  using Scalar = S;  ///< of states

  /// Held by value, which shares what they share.
  TotalEnergy(AnyEnergy<S> energy, AnyCost<S> cost, S beta)
      : energy_(std::move(energy)), cost_(std::move(cost)), beta_(beta) {}

  /// As the concept Energy says.
  ///@{
  Index num_units() const { return energy_.num_units(); }
  Index num_inputs() const { return energy_.num_inputs(); }
  Index num_outputs() const { return energy_.num_outputs(); }
  Index num_parameters() const { return energy_.num_parameters(); }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
    PerSample<S> cost(s.cols());
    cost_.value(outputs(s), cost);
    energy_.energy(s, out);
    out += beta_ * cost;
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    energy_.gradient(s, out);
    pull(s);
    out.bottomRows(num_outputs()) += beta_ * pull_;
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    energy_.hessian_vector_product(s, v, out);
    add_cost_product(s, v, out);
  }
  bool conservative() const { return energy_.conservative(); }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const {
    energy_.transposed_hessian_vector_product(s, v, out);
    add_cost_product(s, v, out);
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

  /// T under the force -beta dC/ds taken at s.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& outer, StateRef<S> out) const {
    energy_.fixed_point_map(s, nudge(s, outer, 0.0), out);
  }
  /// A unit may be held or let go by the nudge itself.
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& outer, StateRef<S> out) const {
    energy_.mobility(s, nudge(s, outer, 0.0), out);
  }
  /// The force moves with s: dT/ds gains -beta D d2C/ds2.
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& outer,
                              const ConstStateRef<S>& v, StateRef<S> out) const {
    State<S> response(s.rows(), s.cols());
    mobility(s, outer, response);
    response.array() *= v.array();
    energy_.transposed_map_product(s, nudge(s, outer, 0.0), v, out);
    pull_.resize(num_outputs(), s.cols());
    cost_.hessian_vector_product(outputs(s), outputs(response), pull_);
    out.bottomRows(num_outputs()) -= beta_ * pull_;
  }
  /// As the refinements of Energy say.
  ///@{
  void project(StateRef<S> s) const { energy_.project(s); }
  /// The outputs' block comes first, and settles only in the quadratic model of the cost.
  bool residual(const ConstStateRef<S>& s, const Nudge<S>& outer, Index settled,
                PerSample<RealOf<S>>& largest) const {
    return energy_.residual(s, nudge(s, outer, 0.0), settled > 0 ? turned(settled) : -1, largest);
  }

  Index num_blocks() const { return energy_.num_blocks(); }
  Index output_block() const { return 0; }
  ///@}
  /// The outputs' block comes first, and it alone feels the cost: from a free state nothing moves before it has. The
  /// cost enters by the quadratic model with its own stiffness, which is exact for SquaredError and for beta > 0 a
  /// majoriser otherwise (so each update still lowers F).
  void block_update(Index block, const Nudge<S>& outer, StateRef<S> s,
                    PerSample<RealOf<S>>* change = nullptr) const {
    energy_.block_update(turned(block), block == 0 ? nudge(s, outer, cost_.stiffness()) : outer, s,
                         change);
  }

  /// What the energy is.
  ///@{
  bool divisible() const { return energy_.divisible(); }
  bool separable() const { return energy_.separable(); }
  TotalEnergy select(Samples which) const {
    return {energy_.select(which), cost_.select(which), beta_};
  }
  ///@}

 private:
  /// The energy's number of a block.
  Index turned(Index block) const { return (energy_.output_block() + block) % num_blocks(); }
  auto outputs(const ConstStateRef<S>& s) const { return s.bottomRows(num_outputs()); }
  void add_cost_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                        StateRef<S>& out) const {
    pull_.resize(num_outputs(), s.cols());
    cost_.hessian_vector_product(outputs(s), outputs(v), pull_);
    out.bottomRows(num_outputs()) += beta_ * pull_;
  }
  void pull(const ConstStateRef<S>& s) const {
    pull_.resize(num_outputs(), s.cols());
    cost_.gradient(outputs(s), pull_);
  }
  const Nudge<S>& nudge(const ConstStateRef<S>& s, const Nudge<S>& outer, double stiffness) const {
    const S k(static_cast<RealOf<S>>(stiffness));
    pull(s);
    pull_ = beta_ * (k * outputs(s) - pull_);
    nudge_.stiffness = beta_ * k + outer.stiffness;
    if (outer.force.size() == 0) {
      nudge_.force = pull_;
    } else {
      nudge_.force = outer.force;
      nudge_.force.bottomRows(num_outputs()) += pull_;
    }
    return nudge_;
  }

  AnyEnergy<S> energy_;
  AnyCost<S> cost_;
  S beta_;
  mutable State<S> pull_;   // (outputs, batch): scratch, see ClampedHopfield
  mutable Nudge<S> nudge_;  // scratch
};

}  // namespace equiprop
