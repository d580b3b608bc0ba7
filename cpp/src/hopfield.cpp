#include "equiprop/model/hopfield.hpp"

namespace equiprop {
namespace {

/// Columns of a weight gradient per task.
constexpr Index outer_columns = 128;

template <class S>
S real_scalar(double number) {
  return S(static_cast<RealOf<S>>(number));
}

template <class S>
void resize_like(State<S>& a, Index rows, Index columns) {
  if (a.rows() != rows || a.cols() != columns) a.resize(rows, columns);
}

}  // namespace

template <class S>
ClampedHopfield<S>::ClampedHopfield(std::shared_ptr<const Topology> topology,
                                    std::shared_ptr<const Parameters<S>> parameters,
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
      rows(drive, k).colwise() = parameters_->segment(bias.offset, bias.rows);
    }
    for (const auto e : topology_->from_input())
      Dense::pull_target<S>(S(1), weights(e), clamped->x.middleCols(begin, count),
                            rows(drive, target(e)));
  });
  clamped_ = std::move(clamped);
}

template <class S>
Eigen::Map<const State<S>> ClampedHopfield<S>::weights(std::size_t coupling) const {
  const Block& block = topology_->weights(coupling);
  return {parameters_->data() + block.offset, block.rows, block.columns};
}

template <class S>
auto ClampedHopfield<S>::rows(const ConstStateRef<S>& a, std::size_t free_layer) const {
  const Block& block = topology_->state()[free_layer];
  return a.middleRows(block.offset, block.rows);
}

template <class S>
auto ClampedHopfield<S>::rows(StateRef<S>& a, std::size_t free_layer) const {
  const Block& block = topology_->state()[free_layer];
  return a.middleRows(block.offset, block.rows);
}

template <class S>
std::size_t ClampedHopfield<S>::source(std::size_t coupling) const {
  return static_cast<std::size_t>(topology_->couplings()[coupling].source) - 1;
}

template <class S>
std::size_t ClampedHopfield<S>::target(std::size_t coupling) const {
  return static_cast<std::size_t>(topology_->couplings()[coupling].target) - 1;
}

template <class S>
void ClampedHopfield<S>::prepare_signals(const ConstStateRef<S>& s) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    if (topology_->units(k).signal_is_linear()) continue;
    resize_like(scratch_.signal, s.rows(), s.cols());
    StateRef<S> u(scratch_.signal);
    topology_->units(k).template signal<S>(rows(s, k), rows(u, k));
  }
}

/// scratch_.slope = signal'(s), scratch_.tangent = signal'(s) v; needs prepare_signals(s).
template <class S>
void ClampedHopfield<S>::prepare_tangents(const ConstStateRef<S>& v) const {
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

template <class S>
auto ClampedHopfield<S>::signal(std::size_t free_layer, const ConstStateRef<S>& s) const -> Signal {
  const Units& units = topology_->units(free_layer);
  if (units.signal_is_linear()) return {real_scalar<S>(units.signal_gain()), rows(s, free_layer)};
  return {S(1), rows(ConstStateRef<S>(scratch_.signal), free_layer)};
}

template <class S>
auto ClampedHopfield<S>::tangent(std::size_t free_layer, const ConstStateRef<S>& v) const
    -> Signal {
  const Units& units = topology_->units(free_layer);
  if (units.signal_is_linear()) return {real_scalar<S>(units.signal_gain()), rows(v, free_layer)};
  return {S(1), rows(ConstStateRef<S>(scratch_.tangent), free_layer)};
}

/// out += M u over the couplings between free layers.
template <class S>
template <class SignalOf>
void ClampedHopfield<S>::add_pulls(const SignalOf& signal_of, State<S>& out) const {
  StateRef<S> to(out);
  for (const auto e : topology_->inner()) {
    const Signal a = signal_of(source(e)), b = signal_of(target(e));
    Dense::pull_target<S>(a.scale, weights(e), a.rows, rows(to, target(e)));
    Dense::pull_source<S>(b.scale, weights(e), b.rows, rows(to, source(e)));
  }
}

template <class S>
void ClampedHopfield<S>::add_pulls_on(std::size_t free_layer, const ConstStateRef<S>& s,
                                      State<S>& out) const {
  StateRef<S> to(out);
  for (const auto e : topology_->inner()) {
    if (target(e) == free_layer) {
      const Signal a = signal(source(e), s);
      Dense::pull_target<S>(a.scale, weights(e), a.rows, rows(to, free_layer));
    } else if (source(e) == free_layer) {
      const Signal b = signal(target(e), s);
      Dense::pull_source<S>(b.scale, weights(e), b.rows, rows(to, free_layer));
    }
  }
}

/// scratch_.drive = the drive p of every free layer at s.
template <class S>
void ClampedHopfield<S>::drive(const ConstStateRef<S>& s) const {
  scratch_.drive = clamped_drive();
  prepare_signals(s);
  add_pulls([&](std::size_t k) { return signal(k, s); }, scratch_.drive);
}

template <class S>
const State<S>* ClampedHopfield<S>::force_on(std::size_t free_layer, const Nudge<S>& nudge) const {
  return free_layer + 1 == topology_->num_free() && nudge.force.size() > 0 ? &nudge.force : nullptr;
}

/// sum leak(s) - <u, drive by input and bias> - 1/2 <u, inner pulls>.
template <class S>
void ClampedHopfield<S>::energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
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

template <class S>
void ClampedHopfield<S>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
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

template <class S>
void ClampedHopfield<S>::hessian_vector_product(const ConstStateRef<S>& s,
                                                const ConstStateRef<S>& v, StateRef<S> out) const {
  const bool linear = topology_->has_block_update();  // every signal linear: no drive needed
  if (!linear) drive(s);
  prepare_tangents(v);
  scratch_.pulls.setZero(s.rows(), s.cols());
  add_pulls([&](std::size_t k) { return tangent(k, v); }, scratch_.pulls);
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

/// Block of `coupling` in grad += scale * u_to u_from^T, shared between threads by columns.
template <class S>
void ClampedHopfield<S>::add_outer(S scale, const Signal& from, const Signal& to,
                                   std::size_t coupling, ParametersRef<S>& grad) const {
  const Block& block = topology_->weights(coupling);
  Eigen::Map<State<S>> w(grad.data() + block.offset, block.rows, block.columns);
  for_each_chunk(block.columns, outer_columns, [&](Index begin, Index count) {
    Dense::add_outer<S>(scale * from.scale * to.scale, from.rows.middleRows(begin, count), to.rows,
                        w.middleCols(begin, count));
  });
}

template <class S>
void ClampedHopfield<S>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                            ParametersRef<S> grad) const {
  prepare_signals(s);
  for (const auto e : topology_->from_input())
    add_outer(-weight, Signal{S(1), clamped_x()}, signal(target(e), s), e, grad);
  for (const auto e : topology_->inner())
    add_outer(-weight, signal(source(e), s), signal(target(e), s), e, grad);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal u = signal(k, s);
    grad.segment(topology_->bias(k).offset, u.rows.rows()) -=
        weight * u.scale * u.rows.rowwise().sum();
  }
}

template <class S>
void ClampedHopfield<S>::mixed_derivative_product(const ConstStateRef<S>& s,
                                                  const ConstStateRef<S>& v, S weight,
                                                  ParametersRef<S> grad) const {
  prepare_signals(s);
  prepare_tangents(v);
  for (const auto e : topology_->from_input())
    add_outer(-weight, Signal{S(1), clamped_x()}, tangent(target(e), v), e, grad);
  for (const auto e : topology_->inner()) {
    add_outer(-weight, tangent(source(e), v), signal(target(e), s), e, grad);
    add_outer(-weight, signal(source(e), s), tangent(target(e), v), e, grad);
  }
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal t = tangent(k, v);
    grad.segment(topology_->bias(k).offset, t.rows.rows()) -=
        weight * t.scale * t.rows.rowwise().sum();
  }
}

template <class S>
void ClampedHopfield<S>::input_gradient(const ConstStateRef<S>& s, S weight,
                                        StateRef<S> out) const {
  prepare_signals(s);
  for (const auto e : topology_->from_input()) {
    const Signal u = signal(target(e), s);
    Dense::pull_source<S>(-weight * u.scale, weights(e), u.rows, out);
  }
}

template <class S>
void ClampedHopfield<S>::mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                             S weight, StateRef<S> out) const {
  prepare_signals(s);
  prepare_tangents(v);
  for (const auto e : topology_->from_input()) {
    const Signal t = tangent(target(e), v);
    Dense::pull_source<S>(-weight * t.scale, weights(e), t.rows, out);
  }
}

template <class S>
void ClampedHopfield<S>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                         StateRef<S> out) const {
  drive(s);
  const ConstStateRef<S> p(scratch_.drive);
  out = s;
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    topology_->units(k).template respond<S>(rows(p, k), force_on(k, nudge), nudge.stiffness,
                                            rows(out, k));
}

template <class S>
void ClampedHopfield<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
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

template <class S>
void ClampedHopfield<S>::project(StateRef<S> s) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    topology_->units(k).template project<S>(rows(s, k));
}

template <class S>
Index ClampedHopfield<S>::num_blocks() const {
  return topology_->has_block_update() ? static_cast<Index>(topology_->blocks().size()) : 0;
}

template <class S>
void ClampedHopfield<S>::block_update(Index block, const Nudge<S>& nudge, StateRef<S> s) const {
  resize_like(scratch_.drive, s.rows(), s.cols());
  StateRef<S> p(scratch_.drive);
  const ConstStateRef<S> input = clamped_drive();
  for (const auto k : topology_->blocks()[static_cast<std::size_t>(block)]) {
    rows(p, k) = rows(input, k);
    add_pulls_on(k, s, scratch_.drive);
    topology_->units(k).template respond<S>(rows(p, k), force_on(k, nudge), nudge.stiffness,
                                            rows(s, k));
  }
}

template <class S>
ClampedHopfield<S> ClampedHopfield<S>::samples(Index begin, Index count) const {
  ClampedHopfield part(*this);
  part.begin_ += begin;
  part.count_ = count;
  return part;
}

template class ClampedHopfield<float>;
template class ClampedHopfield<double>;
template class ClampedHopfield<Complex>;
template class ClampedHopfield<Dual<double>>;

}  // namespace equiprop
