#pragma once
/// Energies whose type is known at run time only: for plugins and programs that hold several kinds.

#include <memory>

#include "equiprop/model/energy.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// The functions of the concept Energy, to be overridden; see energy.hpp for what each computes.
template <class S>
class VirtualEnergy {
 public:
  virtual ~VirtualEnergy() = default;
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
};

/// A VirtualEnergy as a value: an Energy, so that it goes into an AnyEnergy like any other. Copies share the object,
/// which must allow calls from several threads at once.
template <class S>
class SharedEnergy {
 public:
  using Scalar = S;

  explicit SharedEnergy(std::shared_ptr<const VirtualEnergy<S>> energy)
      : energy_(std::move(energy)) {
    require(energy_ != nullptr, "SharedEnergy", "The pointer holds an energy.", "a null pointer");
  }
  Index num_units() const { return energy_->num_units(); }
  Index num_outputs() const { return energy_->num_outputs(); }
  Index num_parameters() const { return energy_->num_parameters(); }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const { energy_->energy(s, out); }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const { energy_->gradient(s, out); }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    energy_->hessian_vector_product(s, v, out);
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    energy_->parameter_gradient(s, weight, grad);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    energy_->mixed_derivative_product(s, v, weight, grad);
  }

 private:
  std::shared_ptr<const VirtualEnergy<S>> energy_;
};

}  // namespace equiprop
