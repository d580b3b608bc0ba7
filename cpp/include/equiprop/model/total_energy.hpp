#pragma once
/// F = E + beta C (Scellier & Bengio 2017): the nudged phase is the free phase of this energy, so solvers do not depend
/// on beta.

#include "equiprop/base/export.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// The energy E + beta C. C has no parameters, so dF/dtheta = dE/dtheta.
template <class S>
class EQUIPROP_EXPORT TotalEnergy final : public EnergyDecorator<S>,
                                          private BlockUpdates<S>,
                                          private OnePassResidual<S>,
                                          private Selection<S> {
 public:
  /// Copies energy and cost, which share the memory that their copies share.
  TotalEnergy(const AnyEnergy<S>& energy, AnyCost<S> cost, S beta);

  /// See EnergyInterface.
  ///@{
  Index num_samples() const override { return cost_.batch(); }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override;
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override;
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override;
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override;
  ///@}
  /// Stores T(s) of the energy under the additional force -beta dC/ds at s in out.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& outer,
                       StateRef<S> out) const override;
  /// Stores dT/d(force) in out, (units, batch); the nudge can move a unit onto a bound or away from it.
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& outer, StateRef<S> out) const override;
  /// Stores (dT/ds)^T v in out. The force depends on s, which adds -beta D d2C/ds2 to dT/ds.
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& outer,
                              const ConstStateRef<S>& v, StateRef<S> out) const override;
  /// Blocks, residual and selection of the energy with the cost added; nullptr if the energy lacks them.
  ///@{
  const BlockUpdates<S>* block_updates() const override;
  const OnePassResidual<S>* one_pass_residual() const override;
  const Selection<S>* selection() const override;
  ///@}

 private:
  using EnergyDecorator<S>::model;

  Index num_blocks() const override;
  Index output_block() const override { return 0; }
  bool holds(Index block, Index unit) const override;
  std::vector<Rows> carried(Index first) const override;
  void block_update(Index block, const Nudge<S>& outer, StateRef<S> s,
                    PerSample<RealOf<S>>* change) const override;
  void residual(const ConstStateRef<S>& s, const Nudge<S>& outer, Index settled,
                PerSample<RealOf<S>>& largest) const override;
  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override;
  bool separable() const override;

  Index turned(Index block) const;
  Index first_row() const { return this->num_units() - cost_.num_rows(); }
  bool acts_in(Index block) const;
  void add_cost_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                        StateRef<S>& out) const;
  void pull(const ConstStateRef<S>& s) const;
  enum class Curvature { none, bounded };  // of the cost in a nudge
  const Nudge<S>& nudge(const ConstStateRef<S>& s, const Nudge<S>& outer,
                        Curvature curvature = Curvature::none) const;

  AnyCost<S> cost_;
  S beta_;
  mutable State<S> pull_;   // (rows, batch), scratch
  mutable Nudge<S> nudge_;  // scratch
};

extern template class TotalEnergy<float>;
extern template class TotalEnergy<double>;
extern template class TotalEnergy<Complex>;
extern template class TotalEnergy<Dual<double>>;

}  // namespace equiprop
