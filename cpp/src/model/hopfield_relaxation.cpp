#include "equiprop/model/hopfield_relaxation.hpp"

#include <algorithm>

namespace equiprop {

template <Scalar S>
void HopfieldRelaxation<S>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                            StateRef<S>& out) const {
  const Topology& topology = network().topology();
  if (network().plan() != nullptr) {
    const Index forced = std::max(topology.num_outputs(), nudge.force.rows());
    out.bottomRows(forced) = s.bottomRows(forced);  // smooth units under a force need the old state
    const ConstStateRef<S> signals = fields_->take_signals(s);
    for (std::size_t k = 0; k < network().num_free(); ++k)
      relax_layer(k, Update::map, s, signals, nudge, out);
    return;
  }
  const State<S>& p = fields_->drive(s);
  out = s;
  for (std::size_t k = 0; k < network().num_free(); ++k)
    respond(k, Update::map, p, fields_->signal_array(s), nudge, out);
}

template <Scalar S>
void HopfieldRelaxation<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                     StateRef<S>& out) const {
  State<S>& p = fields_->drive(s);
  for (std::size_t k = 0; k < network().num_free(); ++k) {
    const Units& units = network().units(k);
    const Block& block = network().block(k);
    if (const State<S>* force = force_on(k, nudge))
      rows_of(p, block) += *force / real_scalar<S>(units.signal_gain());
    units.template mobility<S>(rows_of(p, block), rows_of(out, block));
  }
}

/// Stores M^T D v in out for a Legendre potential, and (1 - H^T) D v for a quadratic one, where T is a step along
/// -dE/ds.
template <Scalar S>
void HopfieldRelaxation<S>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                                   const ConstStateRef<S>& v,
                                                   StateRef<S>& out) const {
  resize_to(scratch_.response, s.rows(), s.cols());
  StateRef<S> response(scratch_.response);
  mobility(s, nudge, response);
  response.array() *= v.array();
  if (network().topology().potential() == Potential::legendre) {
    out = fields_->tangent_pulls(s, response, Op::transpose);
  } else {
    fields_->hessian_product(s, response, Op::transpose, out);
    out = response - out;
  }
}

template <Scalar S>
void HopfieldRelaxation<S>::project(StateRef<S>& s) const {
  for (std::size_t k = 0; k < network().num_free(); ++k)
    network().units(k).template project<S>(rows_of(s, network().block(k)));
}

template <Scalar S>
Index HopfieldRelaxation<S>::num_blocks() const {
  return static_cast<Index>(network().topology().blocks().size());
}

template <Scalar S>
Index HopfieldRelaxation<S>::output_block() const {
  const auto holds_outputs = [&](const std::vector<std::size_t>& layers) {
    return std::find(layers.begin(), layers.end(), network().num_free() - 1) != layers.end();
  };
  const auto& blocks = network().topology().blocks();
  return std::find_if(blocks.begin(), blocks.end(), holds_outputs) - blocks.begin();
}

template <Scalar S>
bool HopfieldRelaxation<S>::holds(Index block, Index unit) const {
  const auto& layers = network().topology().blocks()[static_cast<std::size_t>(block)];
  return std::any_of(layers.begin(), layers.end(), [&](std::size_t k) {
    const Index row = unit - network().block(k).offset;
    return row >= 0 && row < network().block(k).rows;
  });
}

template <Scalar S>
std::vector<Rows> HopfieldRelaxation<S>::carried(Index first) const {
  std::vector<bool> overwritten(network().num_free(), false);
  for (const auto k : network().topology().blocks()[static_cast<std::size_t>(first)])
    overwritten[k] = network().units(k).signal_is_linear() && !network().bends_itself(k);
  std::vector<Rows> rows;
  for (std::size_t k = 0; k < network().num_free(); ++k) {
    if (overwritten[k]) continue;
    const Block& block = network().block(k);
    if (!rows.empty() && rows.back().begin + rows.back().size == block.offset)
      rows.back().size += block.rows;
    else
      rows.push_back({block.offset, block.rows});
  }
  return rows;
}

template <Scalar S>
void HopfieldRelaxation<S>::block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                                         PerSample<RealOf<S>>* change) const {
  const ConstStateRef<S> signals = fields_->take_signals(s);
  for (const auto k : network().topology().blocks()[static_cast<std::size_t>(block)])
    relax_layer(k, Update::descent, s, signals, nudge, s, change);
}

template <Scalar S>
void HopfieldRelaxation<S>::block_hessian_product(Index block, const ConstStateRef<S>& s,
                                                  const ConstStateRef<S>& v,
                                                  StateRef<S> out) const {
  fields_->multiply_in_kernel(s, v, block, out);
}

/// Returns the force on a layer, or nullptr. One of several layers is copied to scratch memory, which the next call for
/// this layer overwrites.
template <Scalar S>
const State<S>* HopfieldRelaxation<S>::force_on(std::size_t layer, const Nudge<S>& nudge) const {
  const Block& block = network().block(layer);
  const Index first = block.offset - (network().topology().state().size() - nudge.force.rows());
  if (first < 0 || nudge.force.size() == 0) return nullptr;
  if (nudge.force.rows() == block.rows) return &nudge.force;
  scratch_.forces.resize(network().num_free());
  return &(scratch_.forces[layer] = nudge.force.middleRows(first, block.rows));
}

template <Scalar S>
S HopfieldRelaxation<S>::stiffness_on(std::size_t layer, const Nudge<S>& nudge) const {
  const Index from_end = network().topology().state().size() - network().block(layer).offset;
  const Index first = nudge.stiffness.size() - from_end;
  return first < 0 ? S(0) : nudge.stiffness(first);
}

/// Returns the response of a layer for the kernels, or nothing if they do not support it.
template <Scalar S>
std::optional<Response<S>> HopfieldRelaxation<S>::kernel_response(
    std::size_t layer, const Nudge<S>& nudge) const requires std::floating_point<S> {
  if constexpr (std::floating_point<S>)  // clang 14 instantiates this for other scalars too
    return network().units(layer).template kernel_response<S>(force_on(layer, nudge),
                                                              stiffness_on(layer, nudge));
  return {};
}

/// Computes the rows of one layer of T(s) with the fused kernel. Returns false if this layer has none.
template <Scalar S>
bool HopfieldRelaxation<S>::relax_in_kernel(std::size_t layer, const ConstStateRef<S>& signals,
                                            const Nudge<S>& nudge, StateRef<S>& out,
                                            PerSample<RealOf<S>>* change) const {
  if constexpr (std::floating_point<S>) {
    if (network().plan() == nullptr) return false;
    const auto response = kernel_response(layer, nudge);
    if (!response) return false;
    if (change != nullptr) fill(scratch_.change, 0, kernels<S>().lanes, signals.cols());
    network().plan()->step(layer, signals, fields_->input().drive(), &*response, out,
                           change != nullptr ? scratch_.change.data() : nullptr,
                           fields_->plan_scratch());
    if (change != nullptr)
      kernels<S>().largest_change(signals.cols(), scratch_.change.data(), change->data());
    return true;
  }
  return false;
}

/// Computes the rows of one layer of the drive at s, in scratch_.drive.
template <Scalar S>
void HopfieldRelaxation<S>::take_layer_drive(std::size_t layer, const ConstStateRef<S>& s,
                                             const ConstStateRef<S>& signals) const {
  resize_to(scratch_.drive, s.rows(), s.cols());
  const ConstStateRef<S> input = fields_->input().drive();
  if constexpr (std::floating_point<S>)
    if (network().plan() != nullptr)
      return network().plan()->step(layer, signals, input, nullptr, scratch_.drive, nullptr,
                                    fields_->plan_scratch());
  rows_of(scratch_.drive, network().block(layer)) = rows_of(input, network().block(layer));
  fields_->add_pulls_on(layer, s, scratch_.drive);
}

/// Replaces the rows of one layer of s by T(s) or by a descent, given the drive p and the signals at s.
template <Scalar S>
void HopfieldRelaxation<S>::respond(std::size_t layer, Update update, const State<S>& p,
                                    const ConstStateRef<S>& signals, const Nudge<S>& nudge,
                                    StateRef<S>& s) const {
  if (update == Update::descent && network().is_coupled_within(layer))
    return descend_together(layer, p, signals, nudge, s);
  const Units& units = network().units(layer);
  const Block& block = network().block(layer);
  const State<S>* force = force_on(layer, nudge);
  const S stiffness = stiffness_on(layer, nudge);
  if (update == Update::map)
    units.template respond<S>(rows_of(p, block), rows_of(signals, block), force, stiffness,
                              rows_of(s, block));
  else
    units.template descend<S>(rows_of(p, block), rows_of(signals, block), force, stiffness,
                              rows_of(s, block));
}

/// Replaces the rows of a layer of s whose units pull on each other by a state of lower energy, given the drive p and
/// the signals at s; see Units::damping.
template <Scalar S>
void HopfieldRelaxation<S>::descend_together(std::size_t layer, const State<S>& p,
                                             const ConstStateRef<S>& signals, const Nudge<S>& nudge,
                                             StateRef<S>& s) const {
  const Units& units = network().units(layer);
  const Block& block = network().block(layer);
  const State<S>* force = force_on(layer, nudge);
  const S stiffness = stiffness_on(layer, nudge);
  const Damping damping =
      units.damping(network().norm_within(layer), static_cast<double>(real_part(stiffness)));
  scratch_.layers.resize(network().num_free());
  State<S>& other = scratch_.layers[layer];
  resize_to(other, block.rows, s.cols());
  auto rows = rows_of(s, block);
  if (damping.step < 1) {
    other = rows;
    units.template descend<S>(rows_of(p, block), rows_of(signals, block), force, stiffness, rows);
    rows = other + real_scalar<S>(damping.step) * (rows - other);
  } else {
    const S held = real_scalar<S>(damping.stiffness);
    other = held * rows;
    if (force != nullptr) other += *force;
    units.template descend<S>(rows_of(p, block), rows_of(signals, block), &other, stiffness + held,
                              rows);
  }
}

/// Computes the rows of one layer of T(s), or of s after a descent, in out, given the signals at s. `out` may be s, and
/// holds s in these rows unless the units have linear signals; `change` is measured from s.
template <Scalar S>
void HopfieldRelaxation<S>::relax_layer(std::size_t layer, Update update, const ConstStateRef<S>& s,
                                        const ConstStateRef<S>& signals, const Nudge<S>& nudge,
                                        StateRef<S>& out, PerSample<RealOf<S>>* change) const {
  const bool together = update == Update::descent && network().is_coupled_within(layer);
  if (!together && relax_in_kernel(layer, signals, nudge, out, change)) return;
  take_layer_drive(layer, s, signals);
  const Block& block = network().block(layer);
  if (change != nullptr) {
    resize_to(scratch_.before, s.rows(), s.cols());
    rows_of(scratch_.before, block) = rows_of(s, block);
  }
  respond(layer, update, scratch_.drive, signals, nudge, out);
  if (change != nullptr)
    raise_to_difference<S>(rows_of(out, block), rows_of(scratch_.before, block), *change);
}

/// Raises scratch_.change by |T(s) - s| of one layer, with the fused kernel. Returns false if this layer has none.
template <Scalar S>
bool HopfieldRelaxation<S>::measure_in_kernel(std::size_t layer, const ConstStateRef<S>& signals,
                                              const Nudge<S>& nudge) const {
  if constexpr (std::floating_point<S>) {
    const auto response = kernel_response(layer, nudge);
    if (!response) return false;
    network().plan()->measure(layer, signals, fields_->input().drive(), *response,
                              scratch_.change.data(), fields_->plan_scratch());
    return true;
  }
  return false;
}

template <Scalar S>
void HopfieldRelaxation<S>::residual(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                     Index settled, PerSample<RealOf<S>>& largest) const {
  if constexpr (std::floating_point<S>) {
    fill(largest, 0, s.cols());
    fill(scratch_.change, 0, kernels<S>().lanes, s.cols());
    const ConstStateRef<S> signals = fields_->take_signals(s);
    for (Index block = 0; block < num_blocks(); ++block) {
      for (const auto k : network().topology().blocks()[static_cast<std::size_t>(block)]) {
        if (block == settled && network().units(k).signal_is_linear() &&
            !network().drives_itself(k))
          continue;
        if (measure_in_kernel(k, signals, nudge)) continue;
        resize_to(scratch_.response, s.rows(), s.cols());
        StateRef<S> image(scratch_.response);
        rows_of(image, network().block(k)) = rows_of(s, network().block(k));
        relax_layer(k, Update::map, s, signals, nudge, image, &largest);
      }
    }
    kernels<S>().largest_change(s.cols(), scratch_.change.data(), largest.data());
  }
}

template class HopfieldRelaxation<float>;
template class HopfieldRelaxation<double>;
template class HopfieldRelaxation<Complex>;
template class HopfieldRelaxation<Dual<double>>;

}  // namespace equiprop
