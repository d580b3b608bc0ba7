#pragma once
/// The one erasure: solvers and second phases are compiled for `AnyEnergy<S>` and `AnyCost<S>` only, so
/// a model or a cost written later, in C++ or in Python, meets code that exists already.

#include <memory>
#include <utility>

#include "equiprop/model/cost.hpp"
#include "equiprop/model/energy_interface.hpp"

namespace equiprop {

/// Any type that satisfies Energy, or a subclass of EnergyInterface. What the model does not offer is derived there.
template <class S>
class AnyEnergy {
 public:
  using Scalar = S;  ///< of states

  /// Any energy converts.
  template <class E>
  requires(Energy<E> && !std::same_as<E, AnyEnergy>) AnyEnergy(E energy)
      : model_(std::make_shared<Held<E>>(std::move(energy))) {}
  /// So does one that is a subclass; copies share it.
  explicit AnyEnergy(std::shared_ptr<const EnergyInterface<S>> model) : model_(std::move(model)) {}

  /// As the concept Energy says, and its refinements in energy.hpp.
  ///@{
  Index num_units() const { return model_->num_units(); }
  Index num_inputs() const { return model_->num_inputs(); }
  Index num_outputs() const { return model_->num_outputs(); }
  Index num_parameters() const { return model_->num_parameters(); }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const { model_->energy(s, out); }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const { model_->gradient(s, out); }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    model_->hessian_vector_product(s, v, out);
  }
  bool conservative() const { return model_->conservative(); }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const {
    model_->transposed_hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    model_->parameter_gradient(s, weight, grad);
  }
  void contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                ParametersRef<S> grad) const {
    model_->contrast(states, weights, grad);
  }
  bool descend_contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                        const Descending<S>& descending) const {
    return model_->descend_contrast(states, weights, descending);
  }
  bool descend_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                const Descending<S>& descending) const {
    return model_->descend_mixed_derivative(s, v, weight, descending);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    model_->mixed_derivative_product(s, v, weight, grad);
  }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const {
    model_->input_gradient(s, weight, out);
  }
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const {
    model_->mixed_input_product(s, v, weight, out);
  }
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    model_->fixed_point_map(s, nudge, out);
  }
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    model_->mobility(s, nudge, out);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const {
    model_->transposed_map_product(s, nudge, v, out);
  }
  void project(StateRef<S> s) const { model_->project(s); }
  bool residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                PerSample<RealOf<S>>& largest) const {
    return model_->residual(s, nudge, settled, largest);
  }
  Index num_blocks() const { return model_->num_blocks(); }
  Index output_block() const { return model_->output_block(); }
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                    PerSample<RealOf<S>>* change = nullptr) const {
    model_->block_update(block, nudge, s, change);
  }
  bool block_hessian_product(Index block, const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                             StateRef<S> out) const {
    return model_->block_hessian_product(block, s, v, out);
  }
  bool divisible() const { return model_->divisible(); }
  bool separable() const { return model_->separable(); }
  AnyEnergy select(Samples which) const { return AnyEnergy(model_->select(which)); }
  ///@}
  /// The same problem for samples [begin, begin + count). Throws InvalidArgument unless divisible().
  AnyEnergy samples(Index begin, Index count) const { return select(sample_range(begin, count)); }

 private:
  template <class E>
  struct Model final : EnergyInterface<S> {
    using Default = EnergyInterface<S>;

    explicit Model(E energy) : e(std::move(energy)) {}

    Index num_units() const override { return e.num_units(); }
    Index num_outputs() const override { return e.num_outputs(); }
    Index num_parameters() const override { return e.num_parameters(); }
    void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override { e.energy(s, out); }
    void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override { e.gradient(s, out); }
    void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                StateRef<S> out) const override {
      e.hessian_vector_product(s, v, out);
    }
    void parameter_gradient(const ConstStateRef<S>& s, S weight,
                            ParametersRef<S> grad) const override {
      e.parameter_gradient(s, weight, grad);
    }
    void contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                  ParametersRef<S> grad) const override {
      if constexpr (HasContrast<E>)
        e.contrast(states, weights, grad);
      else
        Default::contrast(states, weights, grad);
    }
    bool descend_contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                          const Descending<S>& descending) const override {
      if constexpr (HasDescent<E>)
        return e.descend_contrast(states, weights, descending);
      else
        return Default::descend_contrast(states, weights, descending);
    }
    bool descend_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                  const Descending<S>& descending) const override {
      if constexpr (HasDescent<E>)
        return e.descend_mixed_derivative(s, v, weight, descending);
      else
        return Default::descend_mixed_derivative(s, v, weight, descending);
    }
    void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                  ParametersRef<S> grad) const override {
      e.mixed_derivative_product(s, v, weight, grad);
    }

    bool conservative() const override {
      if constexpr (MaybeNonconservative<E>)
        return e.conservative();
      else
        return Default::conservative();
    }
    void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                           StateRef<S> out) const override {
      if constexpr (MaybeNonconservative<E>)
        e.transposed_hessian_vector_product(s, v, out);
      else
        Default::transposed_hessian_vector_product(s, v, out);
    }

    Index num_inputs() const override {
      if constexpr (HasInputGradient<E>)
        return e.num_inputs();
      else
        return Default::num_inputs();
    }
    void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const override {
      if constexpr (HasInputGradient<E>) e.input_gradient(s, weight, out);
    }
    void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                             StateRef<S> out) const override {
      if constexpr (HasInputGradient<E>) e.mixed_input_product(s, v, weight, out);
    }

    void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                         StateRef<S> out) const override {
      if constexpr (HasFixedPointMap<E>)
        e.fixed_point_map(s, nudge, out);
      else
        Default::fixed_point_map(s, nudge, out);
    }
    void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                  StateRef<S> out) const override {
      if constexpr (HasFixedPointMap<E>)
        e.mobility(s, nudge, out);
      else
        Default::mobility(s, nudge, out);
    }
    void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                const ConstStateRef<S>& v, StateRef<S> out) const override {
      if constexpr (HasFixedPointMap<E>)
        e.transposed_map_product(s, nudge, v, out);
      else
        Default::transposed_map_product(s, nudge, v, out);
    }
    void project(StateRef<S> s) const override {
      if constexpr (HasFixedPointMap<E>) e.project(s);
    }
    bool residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                  PerSample<RealOf<S>>& largest) const override {
      if constexpr (HasResidual<E>)
        return e.residual(s, nudge, settled, largest);
      else
        return Default::residual(s, nudge, settled, largest);
    }
    Index num_blocks() const override {
      if constexpr (HasBlockUpdate<E>)
        return e.num_blocks();
      else
        return Default::num_blocks();
    }
    Index output_block() const override {
      if constexpr (HasMeasuredBlockUpdate<E>)
        return e.output_block();
      else
        return Default::output_block();
    }
    void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                      PerSample<RealOf<S>>* change) const override {
      if constexpr (HasMeasuredBlockUpdate<E>) {
        e.block_update(block, nudge, s, change);
      } else if constexpr (HasBlockUpdate<E>) {
        const State<S> before = s;
        e.block_update(block, nudge, s);
        if (change != nullptr) raise_to_difference<S>(s, before, *change);
      }
    }
    bool block_hessian_product(Index block, const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                               StateRef<S> out) const override {
      if constexpr (HasBlockHessian<E>)
        return e.block_hessian_product(block, s, v, out);
      else
        return Default::block_hessian_product(block, s, v, out);
    }

    bool divisible() const override {
      if constexpr (requires { e.divisible(); })
        return e.divisible();  // it wraps another energy
      else
        return Divisible<E>;
    }
    bool separable() const override {
      if constexpr (MaybeSeparable<E>)
        return e.separable();
      else
        return Default::separable();
    }
    std::shared_ptr<const EnergyInterface<S>> select(Samples which) const override {
      if constexpr (Divisible<E>)
        return std::make_shared<Model>(e.select(which));
      else
        return Default::select(which);
    }

    E e;
  };
  template <class E>
  using Held = std::conditional_t<std::derived_from<E, EnergyInterface<S>>, E, Model<E>>;

  std::shared_ptr<const EnergyInterface<S>> model_;
};

/// Any type that satisfies Cost, held by value.
template <class S>
class AnyCost {
 public:
  using Scalar = S;  ///< of outputs and targets

  /// Any cost converts.
  template <class C>
  requires(Cost<C> && !std::same_as<C, AnyCost>) AnyCost(C cost)
      : model_(std::make_shared<Model<C>>(std::move(cost))) {}

  /// As the concept Cost says.
  ///@{
  Index num_outputs() const { return model_->num_outputs(); }
  Index batch() const { return model_->batch(); }
  double stiffness() const { return model_->stiffness(); }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const { model_->value(o, out); }
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const { model_->gradient(o, out); }
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    model_->hessian_vector_product(o, v, out);
  }
  AnyCost select(Samples which) const { return model_->select(which); }
  ///@}
  /// The cost of samples [begin, begin + count).
  AnyCost samples(Index begin, Index count) const { return select(sample_range(begin, count)); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Index num_outputs() const = 0;
    virtual Index batch() const = 0;
    virtual double stiffness() const = 0;
    virtual void value(const ConstStateRef<S>&, PerSample<S>&) const = 0;
    virtual void gradient(const ConstStateRef<S>&, StateRef<S>) const = 0;
    virtual void hessian_vector_product(const ConstStateRef<S>&, const ConstStateRef<S>&,
                                        StateRef<S>) const = 0;
    virtual AnyCost select(Samples) const = 0;
  };

  template <class C>
  struct Model final : Interface {
    explicit Model(C cost) : c(std::move(cost)) {}
    Index num_outputs() const override { return c.num_outputs(); }
    Index batch() const override { return c.batch(); }
    double stiffness() const override { return c.stiffness(); }
    void value(const ConstStateRef<S>& o, PerSample<S>& out) const override { c.value(o, out); }
    void gradient(const ConstStateRef<S>& o, StateRef<S> out) const override { c.gradient(o, out); }
    void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                                StateRef<S> out) const override {
      c.hessian_vector_product(o, v, out);
    }
    AnyCost select(Samples which) const override { return c.select(which); }
    C c;
  };

  std::shared_ptr<const Interface> model_;
};

/// dE/ds of the cost alone at state s: nonzero on the outputs only. out is (units, batch).
template <class S>
void cost_gradient(const AnyCost<S>& cost, const ConstStateRef<S>& s, StateRef<S> out) {
  const Index outputs = cost.num_outputs();
  out.topRows(s.rows() - outputs).setZero();
  cost.gradient(s.bottomRows(outputs), out.bottomRows(outputs));
}

}  // namespace equiprop
