/// The map of a Hopfield network and its block updates; part of hopfield.cpp.

namespace equiprop {

/// The force on a layer, or nullptr; it stays until the next call.
template <class S, class W>
const State<S>* ClampedHopfield<S, W>::force_on(std::size_t free_layer,
                                                const Nudge<S>& nudge) const {
  if (nudge.force.rows() > num_outputs()) {
    scratch_.force = rows(ConstStateRef<S>(nudge.force), free_layer);
    return &scratch_.force;
  }
  return free_layer + 1 == topology_->num_free() && nudge.force.size() > 0 ? &nudge.force : nullptr;
}

template <class S, class W>
void ClampedHopfield<S, W>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                            StateRef<S> out) const {
  if (packed_ != nullptr) {
    const Index forced = std::max(num_outputs(), nudge.force.rows());
    out.bottomRows(forced) = s.bottomRows(forced);  // smooth ones respond to a force from there
    for (std::size_t k = 0; k < topology_->num_free(); ++k) relax_layer(k, s, nudge, out);
    return;
  }
  drive(s);
  const ConstStateRef<S> p(scratch_.drive);
  out = s;
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    topology_->units(k).template respond<S>(rows(p, k), force_on(k, nudge), stiffness_on(k, nudge),
                                            rows(out, k));
}

template <class S, class W>
void ClampedHopfield<S, W>::mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                     StateRef<S> out) const {
  drive(s);
  StateRef<S> p(scratch_.drive);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Units& units = topology_->units(k);
    if (const State<S>* force = force_on(k, nudge))
      rows(p, k) += *force / real_scalar<S>(units.signal_gain());
    units.template mobility<S>(rows(p, k), rows(out, k));
  }
}

/// M^T D v for a Legendre potential; (1 - H^T) D v where T is a step along -dE/ds.
template <class S, class W>
void ClampedHopfield<S, W>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                                   const ConstStateRef<S>& v,
                                                   StateRef<S> out) const {
  resize_like(scratch_.response, s.rows(), s.cols());
  mobility(s, nudge, scratch_.response);
  scratch_.response.array() *= v.array();
  const ConstStateRef<S> response(scratch_.response);
  if (topology_->potential() == Potential::legendre) {
    pull_tangents(response, Op::transpose);
    out = scratch_.pulls;
  } else {
    hessian_product(s, response, Op::transpose, out);
    out = response - out;
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::project(StateRef<S> s) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    topology_->units(k).template project<S>(rows(s, k));
}

template <class S, class W>
Index ClampedHopfield<S, W>::num_blocks() const {
  return topology_->has_block_update() ? static_cast<Index>(topology_->blocks().size()) : 0;
}

template <class S, class W>
Index ClampedHopfield<S, W>::output_block() const {
  const auto holds_outputs = [&](const std::vector<std::size_t>& layers) {
    return std::find(layers.begin(), layers.end(), topology_->num_free() - 1) != layers.end();
  };
  const auto& blocks = topology_->blocks();
  return std::find_if(blocks.begin(), blocks.end(), holds_outputs) - blocks.begin();
}

template <class S, class W>
void ClampedHopfield<S, W>::block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                                         PerSample<RealOf<S>>* change) const {
  for (const auto k : topology_->blocks()[static_cast<std::size_t>(block)])
    relax_layer(k, s, nudge, s, change);
}

/// The response of a layer that a kernel computes, if one does.
template <class S, class W>
std::optional<Response<S>> ClampedHopfield<S, W>::kernel_response(
    std::size_t free_layer, const Nudge<S>& nudge) const requires std::floating_point<S> {
  if constexpr (std::floating_point<S>)  // clang 14 compiles this for other scalars too
    return topology_->units(free_layer)
        .template kernel_response<S>(force_on(free_layer, nudge), stiffness_on(free_layer, nudge));
  return {};
}

template <class S, class W>
bool ClampedHopfield<S, W>::residual(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                     Index settled, PerSample<RealOf<S>>& largest) const {
  if constexpr (std::floating_point<S>) {
    if (packed_ == nullptr) return false;
    largest.setZero(s.cols());
    scratch_.change.setZero(kernels<S>().lanes, s.cols());
    for (Index block = 0; block < num_blocks(); ++block) {
      if (block == settled) continue;
      for (const auto k : topology_->blocks()[static_cast<std::size_t>(block)]) {
        const auto response = kernel_response(k, nudge);
        if (!response) return false;
        packed_->measure(topology_->state()[k], k, s, clamped_drive(), &*response,
                         scratch_.change.data(), scratch_.neighbours);
      }
    }
    kernels<S>().largest_change(s.cols(), scratch_.change.data(), largest.data());
    return true;
  }
  return false;
}

/// Rows of a layer in out = T(s), by a kernel that responds as it stores; false where none does.
template <class S, class W>
bool ClampedHopfield<S, W>::relax_in_kernel(std::size_t free_layer, const ConstStateRef<S>& s,
                                            const Nudge<S>& nudge, StateRef<S>& out,
                                            PerSample<RealOf<S>>* change) const {
  if constexpr (std::floating_point<S>) {
    const auto response = kernel_response(free_layer, nudge);
    if (!response) return false;
    if (change != nullptr) scratch_.change.setZero(kernels<S>().lanes, s.cols());
    packed_->step(topology_->state()[free_layer], free_layer, s, clamped_drive(), &*response, out,
                  change != nullptr ? scratch_.change.data() : nullptr, scratch_.neighbours);
    if (change != nullptr)
      kernels<S>().largest_change(s.cols(), scratch_.change.data(), change->data());
    return true;
  }
  return false;
}

/// The same in any way; `out` may be s, which `change` is measured from.
template <class S, class W>
void ClampedHopfield<S, W>::relax_layer(std::size_t free_layer, const ConstStateRef<S>& s,
                                        const Nudge<S>& nudge, StateRef<S> out,
                                        PerSample<RealOf<S>>* change) const {
  if (relax_in_kernel(free_layer, s, nudge, out, change)) return;
  resize_like(scratch_.drive, s.rows(), s.cols());
  StateRef<S> p(scratch_.drive);
  const ConstStateRef<S> input = clamped_drive();
  if constexpr (std::floating_point<S>) {
    packed_->step(topology_->state()[free_layer], free_layer, s, input, nullptr, p, nullptr,
                  scratch_.neighbours);
  } else {
    rows(p, free_layer) = rows(input, free_layer);
    add_pulls_on(free_layer, s, scratch_.drive);
  }
  const auto respond = [&] {
    topology_->units(free_layer)
        .template respond<S>(rows(p, free_layer), force_on(free_layer, nudge),
                             stiffness_on(free_layer, nudge), rows(out, free_layer));
  };
  if (change == nullptr) return respond();
  scratch_.response = rows(s, free_layer);
  respond();
  raise_to_difference<S>(rows(out, free_layer), scratch_.response, *change);
}

}  // namespace equiprop
