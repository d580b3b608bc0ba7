#pragma once
/// The energy concept as virtual functions, with what can be derived where a model does not offer it.

#include <memory>
#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/model/energy.hpp"

namespace equiprop {

/// A model may be a subclass of this in place of a type that satisfies Energy. What it must define is what Energy
/// asks for; the rest is derived: a symmetric Hessian, T(s) = s - dE/ds, mobility 1, no box, no block updates, no
/// derivatives with respect to the input, the whole batch at once. The functions of one refinement (energy.hpp) belong
/// together: a model that overrides `project` overrides the other three of HasFixedPointMap as well.
template <class S>
class EnergyInterface {
 public:
  using Scalar = S;  ///< of states

  virtual ~EnergyInterface() = default;

  /// As the concept Energy says.
  ///@{
  virtual Index num_units() const = 0;
  virtual Index num_outputs() const = 0;
  virtual Index num_parameters() const = 0;
  virtual void energy(const ConstStateRef<S>& s, PerSample<S>& out) const = 0;
  virtual void gradient(const ConstStateRef<S>& s, StateRef<S> out) const = 0;
  virtual void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                      StateRef<S> out) const = 0;
  virtual void parameter_gradient(const ConstStateRef<S>& s, S weight,
                                  ParametersRef<S> grad) const = 0;
  virtual void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                        S weight, ParametersRef<S> grad) const = 0;
  ///@}

  /// As MaybeNonconservative says; by default the Hessian is symmetric.
  ///@{
  virtual bool conservative() const { return true; }
  virtual void transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                 const ConstStateRef<S>& v, StateRef<S> out) const {
    hessian_vector_product(s, v, out);
  }
  ///@}

  /// As HasContrast and HasDescent say; by default nothing descends.
  ///@{
  virtual void contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                        ParametersRef<S> grad) const {
    for (std::size_t k = 0; k < states.size(); ++k) parameter_gradient(states[k], weights[k], grad);
  }
  virtual bool descend_contrast(const std::vector<State<S>>&, const std::vector<S>&,
                                const Descending<S>&) const {
    return false;
  }
  virtual bool descend_mixed_derivative(const ConstStateRef<S>&, const ConstStateRef<S>&, S,
                                        const Descending<S>&) const {
    return false;
  }
  ///@}

  /// As HasInputGradient says; by default there is no input.
  ///@{
  virtual Index num_inputs() const { return 0; }
  virtual void input_gradient(const ConstStateRef<S>&, S, StateRef<S>) const {}
  virtual void mixed_input_product(const ConstStateRef<S>&, const ConstStateRef<S>&, S,
                                   StateRef<S>) const {}
  ///@}

  /// As HasFixedPointMap says; by default a step of the gradient, without a box.
  ///@{
  virtual void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                               StateRef<S> out) const {
    gradient(s, out);
    out = s - out;
    if (nudge.force.size() == 0) return;
    out.bottomRows(nudge.force.rows()) += nudge.force;
    out.bottomRows(num_outputs()) -= nudge.stiffness * s.bottomRows(num_outputs());
  }
  virtual void mobility(const ConstStateRef<S>&, const Nudge<S>&, StateRef<S> out) const {
    out.setOnes();
  }
  virtual void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                      const ConstStateRef<S>& v, StateRef<S> out) const {
    transposed_hessian_vector_product(s, v, out);
    out = v - out;
    out.bottomRows(num_outputs()) -= nudge.stiffness * v.bottomRows(num_outputs());
  }
  virtual void project(StateRef<S>) const {}
  ///@}

  /// As HasResidual says; by default there is no such pass.
  virtual bool residual(const ConstStateRef<S>&, const Nudge<S>&, Index,
                        PerSample<RealOf<S>>&) const {
    return false;
  }

  /// As HasMeasuredBlockUpdate says; by default there are no blocks.
  ///@{
  virtual Index num_blocks() const { return 0; }
  virtual Index output_block() const { return 0; }
  virtual void block_update(Index, const Nudge<S>&, StateRef<S>, PerSample<RealOf<S>>*) const {}
  ///@}

  /// As HasBlockHessian says; by default it cannot.
  virtual bool block_hessian_product(Index, const ConstStateRef<S>&, const ConstStateRef<S>&,
                                     StateRef<S>) const {
    return false;
  }

  /// As Divisible and MaybeSeparable say; by default a batch is one piece.
  ///@{
  virtual bool divisible() const { return false; }
  virtual bool separable() const { return false; }
  virtual std::shared_ptr<const EnergyInterface> select(Samples) const {
    throw InvalidArgument(
        "[samples] This energy works on its whole batch only. Received a choice of its samples.");
  }
  ///@}
};

}  // namespace equiprop
