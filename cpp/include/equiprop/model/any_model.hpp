#pragma once
/// Type erasure of models and costs. Solvers and second phases are compiled only for `AnyEnergy<S>` and `AnyCost<S>`,
/// so they need no recompilation for a new model or cost in C++ or Python.

#include <algorithm>
#include <memory>
#include <utility>

#include "equiprop/base/export.hpp"
#include "equiprop/model/adapted_energy.hpp"
#include "equiprop/model/cost.hpp"
#include "equiprop/model/energy_decorator.hpp"

namespace equiprop {

/// Any model: a subclass of EnergyInterface, or a type that satisfies the concept Energy. Copies share the model.
template <class S>
class EQUIPROP_EXPORT AnyEnergy final : public EnergyDecorator<S> {
 public:
  /// Converts an energy.
  template <class E>
  requires(Energy<E> && !std::same_as<E, AnyEnergy>) AnyEnergy(E energy)
      : EnergyDecorator<S>(std::make_shared<Held<E>>(std::move(energy))) {}
  /// Shares ownership of the model.
  explicit AnyEnergy(std::shared_ptr<const EnergyInterface<S>> model)
      : EnergyDecorator<S>(std::move(model)) {}

  /// Functions of the optional capabilities. Without the capability there are no inputs, no blocks, and the batch
  /// cannot be divided.
  ///@{
  Index num_inputs() const { return inputs() == nullptr ? 0 : inputs()->num_inputs(); }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const {
    if (inputs() != nullptr) inputs()->input_gradient(s, weight, out);
  }
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const {
    if (inputs() != nullptr) inputs()->mixed_input_product(s, v, weight, out);
  }
  Index num_blocks() const { return blocks() == nullptr ? 0 : blocks()->num_blocks(); }
  Index output_block() const { return blocks() == nullptr ? 0 : blocks()->output_block(); }
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                    PerSample<RealOf<S>>* change = nullptr) const {
    if (blocks() != nullptr) blocks()->block_update(block, nudge, s, change);
  }
  bool divisible() const { return this->selection() != nullptr; }
  bool separable() const { return divisible() && this->selection()->separable(); }
  ///@}
  /// Returns the energy of some samples, in the order given. Throws InvalidArgument unless divisible().
  AnyEnergy select(Samples which) const {
    require(divisible(), "samples", "This energy cannot select samples of its batch.",
            "a choice of its samples");
    return AnyEnergy(this->selection()->part(which));
  }
  /// Returns the energy of samples [begin, begin + count). Throws InvalidArgument unless divisible().
  AnyEnergy samples(Index begin, Index count) const { return select(sample_range(begin, count)); }

 private:
  template <class E>
  struct Kept {
    using Type = AdaptedEnergy<E>;
  };
  template <class E>
  requires std::derived_from<E, EnergyInterface<S>>
  struct Kept<E> {
    using Type = E;
  };
  template <class E>
  using Held = typename Kept<E>::Type;

  const InputDerivatives<S>* inputs() const { return this->input_derivatives(); }
  const BlockUpdates<S>* blocks() const { return this->block_updates(); }
};

/// Any type that satisfies the concept Cost, with optional weights of the samples. Copies share the cost.
template <class S>
class EQUIPROP_EXPORT AnyCost {
 public:
  using Scalar = S;  ///< scalar of outputs and targets

  /// Converts a cost.
  template <class C>
  requires(Cost<C> && !std::same_as<C, AnyCost>) AnyCost(C cost)
      : model_(std::make_shared<Model<C>>(std::move(cost))) {}

  /// Functions of the concept Cost.
  ///@{
  Index num_rows() const { return model_->num_rows(); }
  Index batch() const { return model_->batch(); }
  double stiffness() const { return model_->stiffness(); }
  void value(const ConstStateRef<S>& o, PerSample<S>& out) const { model_->value(o, out); }
  void gradient(const ConstStateRef<S>& o, StateRef<S> out) const { model_->gradient(o, out); }
  void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    model_->hessian_vector_product(o, v, out);
  }
  AnyCost select(Samples which) const {
    AnyCost some = model_->select(which);
    if (weights_.size() > 0) {
      resize_to(some.weights_, static_cast<Index>(which.size()));
      for (Index j = 0; j < some.weights_.size(); ++j)
        some.weights_(j) = weights_(which[static_cast<std::size_t>(j)]);
    }
    return some;
  }
  ///@}
  /// Returns the layers on which the cost acts; for a cost of the outputs it is one, with all rows.
  std::span<const CostedLayer> layers() const { return model_->layers(); }
  /// Returns this cost with weights w_j >= 0 of the samples, (batch,), in place of earlier ones: the objective is
  /// J = sum_j w_j C_j / batch, and second phases compute its derivatives. The functions above do not depend on the
  /// weights, and so neither do nudged states. Empty weights are 1. Throws InvalidArgument unless there is one finite
  /// weight for each sample.
  AnyCost weighted(PerSample<RealOf<S>> weights) const {
    check_sample_weights(weights, batch());
    AnyCost other(*this);
    other.weights_ = std::move(weights);
    return other;
  }
  /// Returns the weights of the samples, (batch,); empty if all are 1.
  const PerSample<RealOf<S>>& sample_weights() const { return weights_; }
  /// Returns the cost of samples [begin, begin + count).
  AnyCost samples(Index begin, Index count) const { return select(sample_range(begin, count)); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Index num_rows() const = 0;
    virtual Index batch() const = 0;
    virtual double stiffness() const = 0;
    virtual std::span<const CostedLayer> layers() const = 0;
    virtual void value(const ConstStateRef<S>&, PerSample<S>&) const = 0;
    virtual void gradient(const ConstStateRef<S>&, StateRef<S>) const = 0;
    virtual void hessian_vector_product(const ConstStateRef<S>&, const ConstStateRef<S>&,
                                        StateRef<S>) const = 0;
    virtual AnyCost select(Samples) const = 0;
  };

  template <class C>
  struct Model final : Interface {
    explicit Model(C cost) : c(std::move(cost)), outputs{{0, c.num_rows()}, c.stiffness()} {}
    Index num_rows() const override { return c.num_rows(); }
    Index batch() const override { return c.batch(); }
    double stiffness() const override { return c.stiffness(); }
    std::span<const CostedLayer> layers() const override {
      if constexpr (ActsOnLayers<C>)
        return c.layers();
      else
        return {&outputs, 1};
    }
    void value(const ConstStateRef<S>& o, PerSample<S>& out) const override { c.value(o, out); }
    void gradient(const ConstStateRef<S>& o, StateRef<S> out) const override { c.gradient(o, out); }
    void hessian_vector_product(const ConstStateRef<S>& o, const ConstStateRef<S>& v,
                                StateRef<S> out) const override {
      c.hessian_vector_product(o, v, out);
    }
    AnyCost select(Samples which) const override { return c.select(which); }
    C c;
    CostedLayer outputs;  // the only layer, unless the cost acts on layers
  };

  std::shared_ptr<const Interface> model_;
  PerSample<RealOf<S>> weights_;
};

/// Stores dC/ds at state s in out (units, batch); it is nonzero only in the layers on which the cost acts.
template <class S>
void cost_gradient(const AnyCost<S>& cost, const ConstStateRef<S>& s, StateRef<S> out) {
  const Index rows = cost.num_rows();
  out.topRows(s.rows() - rows).setZero();
  cost.gradient(s.bottomRows(rows), out.bottomRows(rows));
}

/// Throws InvalidArgument unless every layer on which the cost acts is that of the outputs or another one of the energy.
template <class S>
void check_cost(const AnyEnergy<S>& energy, const AnyCost<S>& cost) {
  const Index units = energy.num_units(), outputs = energy.num_outputs();
  const Index first = units - cost.num_rows();
  const auto is_layer = [&](const Rows& rows) {
    const auto starts = [&](const Block& block) {
      return block.offset == rows.begin && block.rows == rows.size;
    };
    const std::span<const Block> layers = energy.layers();
    return rows == Rows{units - outputs, outputs} ||
           std::any_of(layers.begin(), layers.end(), starts);
  };
  for (const CostedLayer& layer : cost.layers()) {
    const Rows rows{first + layer.rows.begin, layer.rows.size};
    require(rows.begin + rows.size < units || rows.size == outputs, "second_phase",
            "Targets have one row for each output unit.", rows.size, " rows for ", outputs,
            " outputs");
    require(is_layer(rows), "second_phase", "A cost acts on whole layers of the model.",
            "a cost of ", rows.size, " units from unit ", rows.begin, " on");
  }
}

extern template class EnergyInterface<float>;
extern template class EnergyInterface<double>;
extern template class EnergyInterface<Complex>;
extern template class EnergyInterface<Dual<double>>;
extern template class EnergyDecorator<float>;
extern template class EnergyDecorator<double>;
extern template class EnergyDecorator<Complex>;
extern template class EnergyDecorator<Dual<double>>;
extern template class AnyEnergy<float>;
extern template class AnyEnergy<double>;
extern template class AnyEnergy<Complex>;
extern template class AnyEnergy<Dual<double>>;
extern template class AnyCost<float>;
extern template class AnyCost<double>;
extern template class AnyCost<Complex>;
extern template class AnyCost<Dual<double>>;

}  // namespace equiprop
