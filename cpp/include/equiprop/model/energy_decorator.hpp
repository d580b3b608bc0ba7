#pragma once
/// Base class of models that change some functions of another model.

#include "equiprop/base/export.hpp"
#include "equiprop/model/energy_interface.hpp"

namespace equiprop {

/// Forwards every function to another model; a subclass overrides the functions that differ. A subclass that changes a
/// derivative by the parameters also overrides `contrast`, `mixed_derivative` and `sample_weighting`. A subclass that
/// changes any function also overrides `selection`, because the parts of the forwarded one are parts of the other
/// model.
template <class S>
class EQUIPROP_EXPORT EnergyDecorator : public EnergyInterface<S> {
 public:
  /// Shares ownership of the model.
  explicit EnergyDecorator(std::shared_ptr<const EnergyInterface<S>> model)
      : model_(std::move(model)) {}

  /// See EnergyInterface.
  ///@{
  Index num_units() const override { return model_->num_units(); }
  Index num_outputs() const override { return model_->num_outputs(); }
  Index num_parameters() const override { return model_->num_parameters(); }
  Index num_samples() const override { return model_->num_samples(); }
  std::span<const Block> layers() const override { return model_->layers(); }
  bool conservative() const override { return model_->conservative(); }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override {
    model_->energy(s, out);
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override {
    model_->gradient(s, out);
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override {
    model_->hessian_vector_product(s, v, out);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override {
    model_->transposed_hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight,
                          ParametersRef<S> grad) const override {
    model_->parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const override {
    model_->mixed_derivative_product(s, v, weight, grad);
  }
  bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                ParameterSink<S>& sink) const override {
    return model_->contrast(states, weights, sink);
  }
  bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                        ParameterSink<S>& sink) const override {
    return model_->mixed_derivative(s, v, weight, sink);
  }
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S> out) const override {
    model_->fixed_point_map(s, nudge, out);
  }
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const override {
    model_->mobility(s, nudge, out);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const override {
    model_->transposed_map_product(s, nudge, v, out);
  }
  void project(StateRef<S> s) const override { model_->project(s); }
  const InputDerivatives<S>* input_derivatives() const override {
    return model_->input_derivatives();
  }
  const BlockUpdates<S>* block_updates() const override { return model_->block_updates(); }
  const OnePassResidual<S>* one_pass_residual() const override {
    return model_->one_pass_residual();
  }
  const WeightedContrast<S>* sample_weighting() const override {
    return model_->sample_weighting();
  }
  const Selection<S>* selection() const override { return model_->selection(); }
  ///@}

 protected:
  const EnergyInterface<S>& model() const { return *model_; }  ///< model that receives the calls

 private:
  std::shared_ptr<const EnergyInterface<S>> model_;
};

}  // namespace equiprop
