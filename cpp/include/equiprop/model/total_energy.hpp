#pragma once
/// F = E + beta C (Scellier & Bengio 2017): the nudged phase is the free phase of this energy, so no solver needs to
/// know beta.

#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// E + beta C. C has no parameters, so dF/dtheta = dE/dtheta.
template <class S>
class TotalEnergy final : public EnergyDecorator<S>,
                          private BlockUpdates<S>,
                          private OnePassResidual<S>,
                          private Selection<S> {
 public:
  /// Energy and cost are held by value, which shares what they share.
  TotalEnergy(const AnyEnergy<S>& energy, AnyCost<S> cost, S beta)
      : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(energy)),
        cost_(std::move(cost)),
        beta_(beta) {}

  /// See EnergyInterface.
  ///@{
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override {
    PerSample<S> cost(s.cols());
    cost_.value(outputs(s), cost);
    model().energy(s, out);
    out += beta_ * cost;
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override {
    model().gradient(s, out);
    pull(s);
    out.bottomRows(pull_.rows()) += beta_ * pull_;
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override {
    model().hessian_vector_product(s, v, out);
    add_cost_product(s, v, out);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override {
    model().transposed_hessian_vector_product(s, v, out);
    add_cost_product(s, v, out);
  }
  ///@}
  /// T under the force -beta dC/ds taken at s.
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& outer,
                       StateRef<S> out) const override {
    model().fixed_point_map(s, nudge(s, outer, 0.0), out);
  }
  /// A unit may be held or freed by the nudge itself.
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& outer, StateRef<S> out) const override {
    model().mobility(s, nudge(s, outer, 0.0), out);
  }
  /// The force moves with s: dT/ds gains -beta D d2C/ds2.
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& outer,
                              const ConstStateRef<S>& v, StateRef<S> out) const override {
    State<S> response(s.rows(), s.cols());
    mobility(s, outer, response);
    response.array() *= v.array();
    model().transposed_map_product(s, nudge(s, outer, 0.0), v, out);
    pull_.resize(this->num_outputs(), s.cols());
    cost_.hessian_vector_product(outputs(s), outputs(response), pull_);
    out.bottomRows(pull_.rows()) -= beta_ * pull_;
  }
  /// Blocks, residual and selection are those of the energy with the cost added, where the energy has them.
  ///@{
  const BlockUpdates<S>* block_updates() const override {
    return model().block_updates() != nullptr ? this : nullptr;
  }
  const OnePassResidual<S>* one_pass_residual() const override {
    return model().one_pass_residual() != nullptr ? this : nullptr;
  }
  const Selection<S>* selection() const override {
    return model().selection() != nullptr ? this : nullptr;
  }
  ///@}

 private:
  using EnergyDecorator<S>::model;

  Index num_blocks() const override { return model().block_updates()->num_blocks(); }
  Index output_block() const override { return 0; }
  /// The outputs' block comes first, and it alone feels the cost: from a free state nothing moves before it has. The
  /// cost enters by the quadratic model with its own stiffness, which is exact for SquaredError and for beta > 0 a
  /// majoriser otherwise (so each update still lowers F).
  void block_update(Index block, const Nudge<S>& outer, StateRef<S> s,
                    PerSample<RealOf<S>>* change) const override {
    model().block_updates()->block_update(
        turned(block), block == 0 ? nudge(s, outer, cost_.stiffness()) : outer, s, change);
  }
  /// The outputs' block is never left out: it settles only in the quadratic model of the cost.
  void residual(const ConstStateRef<S>& s, const Nudge<S>& outer, Index settled,
                PerSample<RealOf<S>>& largest) const override {
    model().one_pass_residual()->residual(s, nudge(s, outer, 0.0),
                                          settled > 0 ? turned(settled) : -1, largest);
  }
  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override {
    return std::make_shared<TotalEnergy>(AnyEnergy<S>(model().selection()->part(which)),
                                         cost_.select(which), beta_);
  }
  bool separable() const override { return model().selection()->separable(); }

  /// The energy's number of a block.
  Index turned(Index block) const {
    return (model().block_updates()->output_block() + block) % num_blocks();
  }
  auto outputs(const ConstStateRef<S>& s) const { return s.bottomRows(this->num_outputs()); }
  void add_cost_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                        StateRef<S>& out) const {
    pull_.resize(this->num_outputs(), s.cols());
    cost_.hessian_vector_product(outputs(s), outputs(v), pull_);
    out.bottomRows(pull_.rows()) += beta_ * pull_;
  }
  void pull(const ConstStateRef<S>& s) const {
    pull_.resize(this->num_outputs(), s.cols());
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
      nudge_.force.bottomRows(this->num_outputs()) += pull_;
    }
    return nudge_;
  }

  AnyCost<S> cost_;
  S beta_;
  mutable State<S> pull_;   // (outputs, batch), scratch
  mutable Nudge<S> nudge_;  // scratch
};

}  // namespace equiprop
