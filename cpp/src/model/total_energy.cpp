#include "equiprop/model/total_energy.hpp"

namespace equiprop {

template <class S>
TotalEnergy<S>::TotalEnergy(const AnyEnergy<S>& energy, AnyCost<S> cost, S beta)
    : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(energy)),
      cost_(std::move(cost)),
      beta_(beta) {}

template <class S>
void TotalEnergy<S>::energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
  PerSample<S> cost(s.cols());
  cost_.value(s.bottomRows(this->num_outputs()), cost);
  model().energy(s, out);
  out += beta_ * cost;
}

template <class S>
void TotalEnergy<S>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
  model().gradient(s, out);
  pull(s);
  out.bottomRows(pull_.rows()) += beta_ * pull_;
}

template <class S>
void TotalEnergy<S>::hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                            StateRef<S> out) const {
  model().hessian_vector_product(s, v, out);
  add_cost_product(s, v, out);
}

template <class S>
void TotalEnergy<S>::transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                       const ConstStateRef<S>& v,
                                                       StateRef<S> out) const {
  model().transposed_hessian_vector_product(s, v, out);
  add_cost_product(s, v, out);
}

template <class S>
void TotalEnergy<S>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& outer,
                                     StateRef<S> out) const {
  model().fixed_point_map(s, nudge(s, outer, 0.0), out);
}

template <class S>
void TotalEnergy<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& outer,
                              StateRef<S> out) const {
  model().mobility(s, nudge(s, outer, 0.0), out);
}

template <class S>
void TotalEnergy<S>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& outer,
                                            const ConstStateRef<S>& v, StateRef<S> out) const {
  const Index outputs = this->num_outputs();
  State<S> response(s.rows(), s.cols());
  mobility(s, outer, response);
  response.array() *= v.array();
  model().transposed_map_product(s, nudge(s, outer, 0.0), v, out);
  pull_.resize(outputs, s.cols());
  cost_.hessian_vector_product(s.bottomRows(outputs), response.bottomRows(outputs), pull_);
  out.bottomRows(outputs) -= beta_ * pull_;
}

template <class S>
const BlockUpdates<S>* TotalEnergy<S>::block_updates() const {
  return model().block_updates() != nullptr ? this : nullptr;
}

template <class S>
const OnePassResidual<S>* TotalEnergy<S>::one_pass_residual() const {
  return model().one_pass_residual() != nullptr ? this : nullptr;
}

template <class S>
const Selection<S>* TotalEnergy<S>::selection() const {
  return model().selection() != nullptr ? this : nullptr;
}

template <class S>
Index TotalEnergy<S>::num_blocks() const {
  return model().block_updates()->num_blocks();
}

/// Adds the outputs to the rows of the energy: their update depends on the gradient of the cost at s.
template <class S>
std::vector<Rows> TotalEnergy<S>::carried(Index first) const {
  std::vector<Rows> rows = model().block_updates()->carried(turned(first));
  if (rows.empty()) return rows;
  const Rows outputs{this->num_units() - this->num_outputs(), this->num_outputs()};
  const Index end = rows.back().begin + rows.back().size;
  if (end <= outputs.begin) rows.push_back(outputs);
  return rows;
}

/// Updates the block of the outputs first, because only it depends on the cost: from a free state no other block
/// changes before it. The cost is replaced by a quadratic model with its own stiffness, which is exact for SquaredError
/// and otherwise, for beta > 0, a majoriser, so each update still decreases F.
template <class S>
void TotalEnergy<S>::block_update(Index block, const Nudge<S>& outer, StateRef<S> s,
                                  PerSample<RealOf<S>>* change) const {
  model().block_updates()->block_update(
      turned(block), block == 0 ? nudge(s, outer, cost_.stiffness()) : outer, s, change);
}

/// Never skips the block of the outputs, because its update is exact only in the quadratic model of the cost.
template <class S>
void TotalEnergy<S>::residual(const ConstStateRef<S>& s, const Nudge<S>& outer, Index settled,
                              PerSample<RealOf<S>>& largest) const {
  model().one_pass_residual()->residual(s, nudge(s, outer, 0.0), settled > 0 ? turned(settled) : -1,
                                        largest);
}

template <class S>
std::shared_ptr<const EnergyInterface<S>> TotalEnergy<S>::part(Samples which) const {
  return std::make_shared<TotalEnergy>(AnyEnergy<S>(model().selection()->part(which)),
                                       cost_.select(which), beta_);
}

template <class S>
bool TotalEnergy<S>::separable() const {
  return model().selection()->separable();
}

/// Returns the number that a block has in the energy.
template <class S>
Index TotalEnergy<S>::turned(Index block) const {
  return (model().block_updates()->output_block() + block) % num_blocks();
}

template <class S>
void TotalEnergy<S>::add_cost_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                      StateRef<S>& out) const {
  const Index outputs = this->num_outputs();
  pull_.resize(outputs, s.cols());
  cost_.hessian_vector_product(s.bottomRows(outputs), v.bottomRows(outputs), pull_);
  out.bottomRows(outputs) += beta_ * pull_;
}

/// Stores dC/do at s in pull_.
template <class S>
void TotalEnergy<S>::pull(const ConstStateRef<S>& s) const {
  pull_.resize(this->num_outputs(), s.cols());
  cost_.gradient(s.bottomRows(pull_.rows()), pull_);
}

/// Returns the outer nudge plus that of the cost, linearised at s with this stiffness.
template <class S>
const Nudge<S>& TotalEnergy<S>::nudge(const ConstStateRef<S>& s, const Nudge<S>& outer,
                                      double stiffness) const {
  const S k(static_cast<RealOf<S>>(stiffness));
  pull(s);
  pull_ = beta_ * (k * s.bottomRows(pull_.rows()) - pull_);
  nudge_.stiffness = beta_ * k + outer.stiffness;
  if (outer.force.size() == 0) {
    nudge_.force = pull_;
  } else {
    nudge_.force = outer.force;
    nudge_.force.bottomRows(pull_.rows()) += pull_;
  }
  return nudge_;
}

template class TotalEnergy<float>;
template class TotalEnergy<double>;
template class TotalEnergy<Complex>;
template class TotalEnergy<Dual<double>>;

}  // namespace equiprop
