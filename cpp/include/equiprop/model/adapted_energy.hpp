#pragma once
/// Adapter from types that satisfy the concept Energy to EnergyInterface.

#include "equiprop/model/energy_interface.hpp"

namespace equiprop {

/// Holds an object of type E and implements EnergyInterface. If E satisfies a refinement of the concept Energy, its
/// functions are used; otherwise the default implementations are.
template <Energy E>
class AdaptedEnergy final : public EnergyInterface<typename E::Scalar>,
                            private InputDerivatives<typename E::Scalar>,
                            private BlockUpdates<typename E::Scalar>,
                            private Selection<typename E::Scalar> {
  using S = typename E::Scalar;
  using Default = EnergyInterface<S>;

 public:
  /// Stores the energy by value.
  explicit AdaptedEnergy(E energy) : e_(std::move(energy)) {}

  /// See EnergyInterface.
  ///@{
  Index num_units() const override { return e_.num_units(); }
  Index num_outputs() const override { return e_.num_outputs(); }
  Index num_parameters() const override { return e_.num_parameters(); }
  bool conservative() const override {
    if constexpr (MaybeNonconservative<E>)
      return e_.conservative();
    else
      return true;
  }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override { e_.energy(s, out); }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override { e_.gradient(s, out); }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override {
    e_.hessian_vector_product(s, v, out);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override {
    if constexpr (MaybeNonconservative<E>)
      e_.transposed_hessian_vector_product(s, v, out);
    else
      e_.hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight,
                          ParametersRef<S> grad) const override {
    e_.parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const override {
    e_.mixed_derivative_product(s, v, weight, grad);
  }
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S> out) const override {
    if constexpr (HasFixedPointMap<E>)
      e_.fixed_point_map(s, nudge, out);
    else
      Default::fixed_point_map(s, nudge, out);
  }
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const override {
    if constexpr (HasFixedPointMap<E>)
      e_.mobility(s, nudge, out);
    else
      Default::mobility(s, nudge, out);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const override {
    if constexpr (HasFixedPointMap<E>)
      e_.transposed_map_product(s, nudge, v, out);
    else
      Default::transposed_map_product(s, nudge, v, out);
  }
  void project(StateRef<S> s) const override {
    if constexpr (HasFixedPointMap<E>) e_.project(s);
  }
  const InputDerivatives<S>* input_derivatives() const override {
    return HasInputGradient<E> ? this : nullptr;
  }
  const BlockUpdates<S>* block_updates() const override {
    return HasBlockUpdate<E> ? this : nullptr;
  }
  const Selection<S>* selection() const override { return Divisible<E> ? this : nullptr; }
  ///@}

 private:
  Index num_inputs() const override {
    if constexpr (HasInputGradient<E>)
      return e_.num_inputs();
    else
      return 0;
  }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const override {
    if constexpr (HasInputGradient<E>) e_.input_gradient(s, weight, out);
  }
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const override {
    if constexpr (HasInputGradient<E>) e_.mixed_input_product(s, v, weight, out);
  }

  Index num_blocks() const override {
    if constexpr (HasBlockUpdate<E>)
      return e_.num_blocks();
    else
      return 0;
  }
  Index output_block() const override {
    if constexpr (HasMeasuredBlockUpdate<E>)
      return e_.output_block();
    else
      return 0;
  }
  bool holds(Index block, Index) const override {
    return block == output_block();  // without layers, a cost acts on the outputs only
  }
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                    PerSample<RealOf<S>>* change) const override {
    if constexpr (HasMeasuredBlockUpdate<E>) {
      e_.block_update(block, nudge, s, change);
    } else if constexpr (HasBlockUpdate<E>) {
      const State<S> before = s;
      e_.block_update(block, nudge, s);
      if (change != nullptr) raise_to_difference<S>(s, before, *change);
    }
  }

  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override {
    if constexpr (Divisible<E>)
      return std::make_shared<AdaptedEnergy>(e_.select(which));
    else
      return nullptr;
  }
  bool separable() const override {
    if constexpr (MaybeSeparable<E>)
      return e_.separable();
    else
      return false;
  }

  E e_;
};

}  // namespace equiprop
