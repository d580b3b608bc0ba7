#include "equiprop/model/total_energy.hpp"

#include <algorithm>

namespace equiprop {

template <class S>
TotalEnergy<S>::TotalEnergy(const AnyEnergy<S>& energy, AnyCost<S> cost, S beta)
    : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(energy)),
      cost_(std::move(cost)),
      beta_(beta) {}

template <class S>
void TotalEnergy<S>::energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
  PerSample<S> cost(s.cols());
  cost_.value(s.bottomRows(cost_.num_rows()), cost);
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
  model().fixed_point_map(s, nudge(s, outer), out);
}

template <class S>
void TotalEnergy<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& outer,
                              StateRef<S> out) const {
  model().mobility(s, nudge(s, outer), out);
}

template <class S>
void TotalEnergy<S>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& outer,
                                            const ConstStateRef<S>& v, StateRef<S> out) const {
  const Index rows = cost_.num_rows();
  State<S> response(s.rows(), s.cols());
  mobility(s, outer, response);
  response.array() *= v.array();
  model().transposed_map_product(s, nudge(s, outer), v, out);
  resize_to(pull_, rows, s.cols());
  cost_.hessian_vector_product(s.bottomRows(rows), response.bottomRows(rows), pull_);
  out.bottomRows(rows) -= beta_ * pull_;
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

template <class S>
bool TotalEnergy<S>::holds(Index block, Index unit) const {
  return model().block_updates()->holds(turned(block), unit);
}

/// Adds the layers of the cost to the rows of the energy: their update depends on the gradient of the cost at s.
template <class S>
std::vector<Rows> TotalEnergy<S>::carried(Index first) const {
  std::vector<Rows> rows = model().block_updates()->carried(turned(first));
  if (rows.empty()) return rows;
  const std::size_t of_energy = rows.size();
  for (const CostedLayer& layer : cost_.layers()) {
    const Rows added{first_row() + layer.rows.begin, layer.rows.size};
    const auto covers = [&](const Rows& given) {
      return given.begin <= added.begin && added.begin < given.begin + given.size;
    };
    const auto end = rows.begin() + static_cast<std::ptrdiff_t>(of_energy);
    if (std::none_of(rows.begin(), end, covers)) rows.push_back(added);
  }
  return rows;
}

/// Updates the block of the outputs first: if the cost acts on no other one, no other block changes before it from a free
/// state. The cost is replaced by a quadratic model with the stiffness of each layer, which is exact for SquaredError and
/// otherwise, for beta > 0, a majoriser, so each update still decreases F.
template <class S>
void TotalEnergy<S>::block_update(Index block, const Nudge<S>& outer, StateRef<S> s,
                                  PerSample<RealOf<S>>* change) const {
  model().block_updates()->block_update(
      turned(block), acts_in(block) ? nudge(s, outer, Curvature::bounded) : outer, s, change);
}

/// Never skips a block in which the cost acts, because its update is exact only in the quadratic model of the cost.
template <class S>
void TotalEnergy<S>::residual(const ConstStateRef<S>& s, const Nudge<S>& outer, Index settled,
                              PerSample<RealOf<S>>& largest) const {
  const bool exact = settled >= 0 && !acts_in(settled);
  model().one_pass_residual()->residual(s, nudge(s, outer), exact ? turned(settled) : -1, largest);
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

/// Returns true if the cost acts on a layer in a block.
template <class S>
bool TotalEnergy<S>::acts_in(Index block) const {
  const auto layers = cost_.layers();
  return std::any_of(layers.begin(), layers.end(), [&](const CostedLayer& layer) {
    return holds(block, first_row() + layer.rows.begin);
  });
}

template <class S>
void TotalEnergy<S>::add_cost_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                      StateRef<S>& out) const {
  const Index rows = cost_.num_rows();
  resize_to(pull_, rows, s.cols());
  cost_.hessian_vector_product(s.bottomRows(rows), v.bottomRows(rows), pull_);
  out.bottomRows(rows) += beta_ * pull_;
}

/// Stores dC/ds at s in pull_.
template <class S>
void TotalEnergy<S>::pull(const ConstStateRef<S>& s) const {
  resize_to(pull_, cost_.num_rows(), s.cols());
  cost_.gradient(s.bottomRows(pull_.rows()), pull_);
}

/// Returns the outer nudge plus that of the cost, linearised at s, with the bounds of its curvature as stiffness or without
/// any.
template <class S>
const Nudge<S>& TotalEnergy<S>::nudge(const ConstStateRef<S>& s, const Nudge<S>& outer,
                                      Curvature curvature) const {
  pull(s);
  const auto own = s.bottomRows(pull_.rows());
  fill(nudge_.stiffness, 0, std::max(pull_.rows(), outer.stiffness.size()));
  nudge_.stiffness.tail(outer.stiffness.size()) = outer.stiffness;
  for (const auto& [rows, bound] : cost_.layers()) {
    const S k(static_cast<RealOf<S>>(curvature == Curvature::none ? 0 : bound));
    auto force = pull_.middleRows(rows.begin, rows.size);
    force = beta_ * (k * own.middleRows(rows.begin, rows.size) - force);
    nudge_.stiffness.tail(pull_.rows()).segment(rows.begin, rows.size).array() += beta_ * k;
  }
  if (outer.force.size() == 0) {
    copy_to(nudge_.force, pull_);
  } else {
    const Index rows = std::max(pull_.rows(), outer.force.rows());
    fill(nudge_.force, 0, rows, s.cols());
    nudge_.force.bottomRows(outer.force.rows()) = outer.force;
    nudge_.force.bottomRows(pull_.rows()) += pull_;
  }
  return nudge_;
}

template class TotalEnergy<float>;
template class TotalEnergy<double>;
template class TotalEnergy<Complex>;
template class TotalEnergy<Dual<double>>;

}  // namespace equiprop
