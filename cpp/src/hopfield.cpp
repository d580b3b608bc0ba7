#include "equiprop/model/hopfield.hpp"

namespace equiprop {
namespace {

/// Columns of a weight gradient per task.
constexpr Index outer_columns = 128;

template <class S>
S real_scalar(double number) {
  return S(static_cast<RealOf<S>>(number));
}

void require_energy(bool conservative) {
  require(conservative, "parameter_gradient",
          "dE/dtheta belongs to an energy; a vector field has <v, dmu/dtheta> alone.",
          "a network with separate feedback weights");
}

template <class S>
void resize_like(State<S>& a, Index rows, Index columns) {
  if (a.rows() != rows || a.cols() != columns) a.resize(rows, columns);
}

}  // namespace

template <class S, class W>
ClampedHopfield<S, W>::ClampedHopfield(std::shared_ptr<const Topology> topology,
                                       std::shared_ptr<const Parameters<W>> parameters,
                                       const Eigen::Ref<const State<S>>& x)
    : topology_(std::move(topology)), parameters_(std::move(parameters)), count_(x.cols()) {
  require(x.rows() == topology_->num_inputs(), "clamp",
          "The input has one row for each unit of the input layer.", x.rows(), " rows for ",
          topology_->num_inputs(), " units");
  auto clamped = std::make_shared<Clamped<S>>();
  clamped->x = x;
  clamped->drive.resize(num_units(), count_);
  for_each_chunk(count_, chunk_columns, [&](Index begin, Index count) {
    StateRef<S> drive = clamped->drive.middleCols(begin, count);
    for (std::size_t k = 0; k < topology_->num_free(); ++k) {
      const Block& bias = topology_->bias(k);
      rows(drive, k).colwise() = parameters_->segment(bias.offset, bias.rows).template cast<S>();
    }
    for (const auto e : topology_->from_input())
      Dense::pull_target<S, W>(S(1), weights(e), clamped->x.middleCols(begin, count),
                               rows(drive, target(e)));
  });
  clamped_ = std::move(clamped);
  if constexpr (std::floating_point<S>)
    if (topology_->has_block_update())
      packed_ = std::make_shared<const PackedWeights<S>>(*topology_, *parameters_);
}

template <class S, class W>
Eigen::Map<const State<W>> ClampedHopfield<S, W>::matrix(const Block& block) const {
  return {parameters_->data() + block.offset, block.rows, block.columns};
}

template <class S, class W>
Eigen::Map<const State<W>> ClampedHopfield<S, W>::weights(std::size_t coupling) const {
  return matrix(topology_->weights(coupling));
}

template <class S, class W>
Eigen::Map<const State<W>> ClampedHopfield<S, W>::feedback_weights(std::size_t coupling) const {
  return matrix(topology_->feedback_weights(coupling));
}

template <class S, class W>
auto ClampedHopfield<S, W>::rows(const ConstStateRef<S>& a, std::size_t free_layer) const {
  const Block& block = topology_->state()[free_layer];
  return a.middleRows(block.offset, block.rows);
}

template <class S, class W>
auto ClampedHopfield<S, W>::rows(StateRef<S>& a, std::size_t free_layer) const {
  const Block& block = topology_->state()[free_layer];
  return a.middleRows(block.offset, block.rows);
}

template <class S, class W>
std::size_t ClampedHopfield<S, W>::source(std::size_t coupling) const {
  return static_cast<std::size_t>(topology_->couplings()[coupling].source) - 1;
}

template <class S, class W>
std::size_t ClampedHopfield<S, W>::target(std::size_t coupling) const {
  return static_cast<std::size_t>(topology_->couplings()[coupling].target) - 1;
}

template <class S, class W>
void ClampedHopfield<S, W>::prepare_signals(const ConstStateRef<S>& s) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    if (topology_->units(k).signal_is_linear()) continue;
    resize_like(scratch_.signal, s.rows(), s.cols());
    StateRef<S> u(scratch_.signal);
    topology_->units(k).template signal<S>(rows(s, k), rows(u, k));
  }
}

/// scratch_.slope = signal'(s), scratch_.tangent = signal'(s) v; needs prepare_signals(s).
template <class S, class W>
void ClampedHopfield<S, W>::prepare_tangents(const ConstStateRef<S>& v) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    if (topology_->units(k).signal_is_linear()) continue;
    resize_like(scratch_.slope, v.rows(), v.cols());
    resize_like(scratch_.tangent, v.rows(), v.cols());
    const ConstStateRef<S> u(scratch_.signal);
    StateRef<S> slope(scratch_.slope), tangent(scratch_.tangent);
    topology_->units(k).template signal_slope<S>(rows(u, k), rows(slope, k));
    rows(tangent, k) = rows(slope, k).cwiseProduct(rows(v, k));
  }
}

template <class S, class W>
auto ClampedHopfield<S, W>::signal(std::size_t free_layer, const ConstStateRef<S>& s) const
    -> Signal {
  const Units& units = topology_->units(free_layer);
  if (units.signal_is_linear()) return {real_scalar<S>(units.signal_gain()), rows(s, free_layer)};
  return {S(1), rows(ConstStateRef<S>(scratch_.signal), free_layer)};
}

template <class S, class W>
auto ClampedHopfield<S, W>::tangent(std::size_t free_layer, const ConstStateRef<S>& v) const
    -> Signal {
  const Units& units = topology_->units(free_layer);
  if (units.signal_is_linear()) return {real_scalar<S>(units.signal_gain()), rows(v, free_layer)};
  return {S(1), rows(ConstStateRef<S>(scratch_.tangent), free_layer)};
}

/// out += M u over the couplings between free layers, or M^T u.
template <class S, class W>
template <class SignalOf>
void ClampedHopfield<S, W>::add_pulls(const SignalOf& signal_of, State<S>& out, Op op) const {
  StateRef<S> to(out);
  for (const auto e : topology_->inner()) {
    const bool forward = op == Op::none;
    const auto to_target = forward ? weights(e) : feedback_weights(e);
    const auto to_source = forward ? feedback_weights(e) : weights(e);
    const Signal a = signal_of(source(e)), b = signal_of(target(e));
    Dense::pull_target<S, W>(a.scale, to_target, a.rows, rows(to, target(e)));
    Dense::pull_source<S, W>(b.scale, to_source, b.rows, rows(to, source(e)));
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::add_pulls_on(std::size_t free_layer, const ConstStateRef<S>& s,
                                         State<S>& out) const {
  StateRef<S> to(out);
  for (const auto e : topology_->inner()) {
    if (target(e) == free_layer) {
      const Signal a = signal(source(e), s);
      Dense::pull_target<S, W>(a.scale, weights(e), a.rows, rows(to, free_layer));
    } else if (source(e) == free_layer) {
      const Signal b = signal(target(e), s);
      Dense::pull_source<S, W>(b.scale, feedback_weights(e), b.rows, rows(to, free_layer));
    }
  }
}

/// scratch_.drive = the drive p of every free layer at s.
template <class S, class W>
void ClampedHopfield<S, W>::drive(const ConstStateRef<S>& s) const {
  if constexpr (std::floating_point<S>)
    if (packed_) {
      resize_like(scratch_.drive, s.rows(), s.cols());
      for (std::size_t k = 0; k < topology_->num_free(); ++k)
        packed_->step(topology_->state()[k], k, s, clamped_drive(), nullptr, scratch_.drive);
      return;
    }
  scratch_.drive = clamped_drive();
  prepare_signals(s);
  add_pulls([&](std::size_t k) { return signal(k, s); }, scratch_.drive);
}

template <class S, class W>
const State<S>* ClampedHopfield<S, W>::force_on(std::size_t free_layer,
                                                const Nudge<S>& nudge) const {
  return free_layer + 1 == topology_->num_free() && nudge.force.size() > 0 ? &nudge.force : nullptr;
}

/// sum leak(s) - <u, drive by input and bias> - 1/2 <u, inner pulls>.
template <class S, class W>
void ClampedHopfield<S, W>::energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
  if (!conservative()) {  // NaN says so: there is no such number
    out.setConstant(s.cols(), S(std::numeric_limits<RealOf<S>>::quiet_NaN()));
    return;
  }
  drive(s);
  out.setZero(s.cols());
  scratch_.drive = S(0.5) * (scratch_.drive + clamped_drive());
  const ConstStateRef<S> p(scratch_.drive);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    topology_->units(k).template add_leak<S>(rows(s, k), out);
    const Signal u = signal(k, s);
    out -= u.scale * inner<S>(u.rows, rows(p, k));
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
  drive(s);
  const ConstStateRef<S> p(scratch_.drive);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Units& units = topology_->units(k);
    units.template leak_gradient<S>(rows(s, k), rows(out, k));
    if (units.signal_is_linear()) {
      rows(out, k) -= real_scalar<S>(units.signal_gain()) * rows(p, k);
    } else {
      resize_like(scratch_.slope, s.rows(), s.cols());
      StateRef<S> slope(scratch_.slope);
      units.template signal_slope<S>(rows(ConstStateRef<S>(scratch_.signal), k), rows(slope, k));
      rows(out, k) -= rows(slope, k).cwiseProduct(rows(p, k));
    }
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::hessian_vector_product(const ConstStateRef<S>& s,
                                                   const ConstStateRef<S>& v,
                                                   StateRef<S> out) const {
  hessian_product(s, v, Op::none, out);
}

template <class S, class W>
void ClampedHopfield<S, W>::transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                              const ConstStateRef<S>& v,
                                                              StateRef<S> out) const {
  hessian_product(s, v, Op::transpose, out);
}

template <class S, class W>
void ClampedHopfield<S, W>::hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                            Op op, StateRef<S>& out) const {
  const bool linear = topology_->has_block_update();  // every signal linear: no drive needed
  if (!linear) drive(s);
  prepare_tangents(v);
  scratch_.pulls.setZero(s.rows(), s.cols());
  add_pulls([&](std::size_t k) { return tangent(k, v); }, scratch_.pulls, op);
  const ConstStateRef<S> p(scratch_.drive), pulls(scratch_.pulls);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Units& units = topology_->units(k);
    units.template leak_curvature<S>(rows(s, k), rows(out, k));
    if (units.signal_is_linear()) {
      rows(out, k) = rows(out, k).cwiseProduct(rows(v, k)) -
                     real_scalar<S>(units.signal_gain()) * rows(pulls, k);
    } else {
      StateRef<S> slope(scratch_.slope), curvature(scratch_.tangent);  // the tangents are spent
      units.template signal_curvature<S>(rows(ConstStateRef<S>(scratch_.signal), k),
                                         rows(curvature, k));
      rows(out, k) =
          (rows(out, k) - rows(curvature, k).cwiseProduct(rows(p, k))).cwiseProduct(rows(v, k)) -
          rows(slope, k).cwiseProduct(rows(pulls, k));
    }
  }
}

/// `block` of grad += scale * u_to u_from^T, shared between threads by columns.
template <class S, class W>
void ClampedHopfield<S, W>::add_outer(S scale, const Signal& from, const Signal& to,
                                      const Block& block, ParametersRef<S>& grad) const {
  Eigen::Map<State<S>> w(grad.data() + block.offset, block.rows, block.columns);
  for_each_chunk(block.columns, outer_columns, [&](Index begin, Index count) {
    Dense::add_outer<S>(scale * from.scale * to.scale, from.rows.middleRows(begin, count), to.rows,
                        w.middleCols(begin, count));
  });
}

template <class S, class W>
void ClampedHopfield<S, W>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                               ParametersRef<S> grad) const {
  require_energy(conservative());
  prepare_signals(s);
  for (const auto e : topology_->from_input())
    add_outer(-weight, Signal{S(1), clamped_x()}, signal(target(e), s), topology_->weights(e),
              grad);
  for (const auto e : topology_->inner())
    add_outer(-weight, signal(source(e), s), signal(target(e), s), topology_->weights(e), grad);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal u = signal(k, s);
    grad.segment(topology_->bias(k).offset, u.rows.rows()) -=
        weight * u.scale * u.rows.rowwise().sum();
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::contrast(const std::vector<State<S>>& states,
                                     const std::vector<S>& weights, ParametersRef<S> grad) const {
  require_energy(conservative());
  const Index batch = count_, units = num_units();
  State<S> signals(units, batch * static_cast<Index>(states.size())), weighted(signals), sum;
  StateRef<S> u(signals);
  for (std::size_t j = 0; j < states.size(); ++j) {
    const Index at = batch * static_cast<Index>(j);
    StateRef<S> block = u.middleCols(at, batch);
    for (std::size_t k = 0; k < topology_->num_free(); ++k)
      topology_->units(k).template signal<S>(rows(ConstStateRef<S>(states[j]), k), rows(block, k));
    weighted.middleCols(at, batch) = weights[j] * block;
    if (j == 0)
      sum = weighted.leftCols(batch);
    else
      sum += weighted.middleCols(at, batch);
  }
  const ConstStateRef<S> all(signals), scaled(weighted), total(sum);
  const auto plain = [](auto part) { return Signal{S(1), part}; };
  for (const auto e : topology_->from_input())
    add_outer(S(-1), plain(clamped_x()), plain(rows(total, target(e))), topology_->weights(e),
              grad);
  for (const auto e : topology_->inner())
    add_outer(S(-1), plain(rows(all, source(e))), plain(rows(scaled, target(e))),
              topology_->weights(e), grad);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Block& bias = topology_->bias(k);
    grad.segment(bias.offset, bias.rows) -= rows(total, k).rowwise().sum();
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::mixed_derivative_product(const ConstStateRef<S>& s,
                                                     const ConstStateRef<S>& v, S weight,
                                                     ParametersRef<S> grad) const {
  prepare_signals(s);
  prepare_tangents(v);
  for (const auto e : topology_->from_input())
    add_outer(-weight, Signal{S(1), clamped_x()}, tangent(target(e), v), topology_->weights(e),
              grad);
  for (const auto e : topology_->inner()) {
    add_outer(-weight, tangent(source(e), v), signal(target(e), s), topology_->feedback_weights(e),
              grad);
    add_outer(-weight, signal(source(e), s), tangent(target(e), v), topology_->weights(e), grad);
  }
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal t = tangent(k, v);
    grad.segment(topology_->bias(k).offset, t.rows.rows()) -=
        weight * t.scale * t.rows.rowwise().sum();
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::input_gradient(const ConstStateRef<S>& s, S weight,
                                           StateRef<S> out) const {
  prepare_signals(s);
  for (const auto e : topology_->from_input()) {
    const Signal u = signal(target(e), s);
    Dense::pull_source<S, W>(-weight * u.scale, weights(e), u.rows, out);
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::mixed_input_product(const ConstStateRef<S>& s,
                                                const ConstStateRef<S>& v, S weight,
                                                StateRef<S> out) const {
  prepare_signals(s);
  prepare_tangents(v);
  for (const auto e : topology_->from_input()) {
    const Signal t = tangent(target(e), v);
    Dense::pull_source<S, W>(-weight * t.scale, weights(e), t.rows, out);
  }
}

template <class S, class W>
void ClampedHopfield<S, W>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                            StateRef<S> out) const {
  drive(s);
  const ConstStateRef<S> p(scratch_.drive);
  out = s;
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    topology_->units(k).template respond<S>(rows(p, k), force_on(k, nudge), nudge.stiffness,
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
    scratch_.pulls.setZero(s.rows(), s.cols());
    add_pulls([&](std::size_t k) { return tangent(k, response); }, scratch_.pulls, Op::transpose);
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
void ClampedHopfield<S, W>::block_update(Index block, const Nudge<S>& nudge, StateRef<S> s) const {
  resize_like(scratch_.drive, s.rows(), s.cols());
  for (const auto k : topology_->blocks()[static_cast<std::size_t>(block)])
    relax_layer(k, s, nudge, s);
}

/// Rows of a layer in out = T(s), in the kernel where it can be; `out` may be s.
template <class S, class W>
void ClampedHopfield<S, W>::relax_layer(std::size_t free_layer, const ConstStateRef<S>& s,
                                        const Nudge<S>& nudge, StateRef<S> out) const {
  const Units& units = topology_->units(free_layer);
  StateRef<S> p(scratch_.drive);
  const ConstStateRef<S> input = clamped_drive();
  if constexpr (std::floating_point<S>) {
    const Block& block = topology_->state()[free_layer];
    const bool inside = free_layer + 1 == topology_->num_free();
    const auto response = units.template kernel_response<S>(force_on(free_layer, nudge),
                                                            inside ? nudge.stiffness : S(0));
    packed_->step(block, free_layer, s, input, response ? &*response : nullptr, response ? out : p);
    if (response) return;
  } else {
    rows(p, free_layer) = rows(input, free_layer);
    add_pulls_on(free_layer, s, scratch_.drive);
  }
  units.template respond<S>(rows(p, free_layer), force_on(free_layer, nudge), nudge.stiffness,
                            rows(out, free_layer));
}

template <class S, class W>
ClampedHopfield<S, W> ClampedHopfield<S, W>::samples(Index begin, Index count) const {
  ClampedHopfield part(*this);
  part.begin_ += begin;
  part.count_ = count;
  return part;
}

template class ClampedHopfield<float>;
template class ClampedHopfield<double>;
template class ClampedHopfield<Complex>;
template class ClampedHopfield<Dual<double>>;
template class ClampedHopfield<Complex, double>;
template class ClampedHopfield<Dual<double>, double>;

}  // namespace equiprop
