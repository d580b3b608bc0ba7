#include "equiprop/model/hopfield.hpp"

#include "equiprop/base/spare_states.hpp"

namespace equiprop {
namespace {

template <class S>
S real_scalar(double number) {
  return S(static_cast<RealOf<S>>(number));
}

template <class Matrix>
void resize_like(Matrix& a, Index rows, Index columns) {
  if (a.rows() != rows || a.cols() != columns) a.resize(rows, columns);
}

}  // namespace

template <class S, class W>
ClampedHopfield<S, W>::ClampedHopfield(std::shared_ptr<const Topology> topology,
                                       std::shared_ptr<const Parameters<W>> parameters,
                                       const ConstStateRef<S>& x)
    : topology_(std::move(topology)),
      parameters_(std::move(parameters)),
      x_(shared_state<S>(x.rows(), x.cols())),
      drive_(shared_state<S>(padded_rows<S>(num_units()), x.cols())),
      x_sizes_(std::make_shared<PerSample<double>>(x.cols())),
      x_samples_(sample_range(0, x.cols())) {
  require(x.rows() == topology_->num_inputs(), "clamp",
          "The input has one row for each unit of the input layer.", x.rows(), " rows for ",
          topology_->num_inputs(), " units");
  drive_->bottomRows(drive_->rows() - num_units()).setZero();
  if constexpr (std::floating_point<S>)
    if (topology_->has_block_update()) packed_ = std::make_shared<PackedWeights<S>>(*topology_);
  reclamp(x);
}

template <class S, class W>
void ClampedHopfield<S, W>::reclamp(const Eigen::Ref<const State<S>>& x) {
  require(x.rows() == x_->rows() && x.cols() == x_->cols(), "reclamp",
          "The new input has the shape of the old one.", x.rows(), " x ", x.cols(), " for ",
          x_->rows(), " x ", x_->cols());
  for_each_chunk(x.cols(), chunk_columns, [&](Index begin, Index count) {
    for (Index j = begin; j < begin + count; ++j) {
      x_->col(j) = x.col(j);
      if constexpr (std::floating_point<S>)
        (*x_sizes_)(j) =
            static_cast<double>(kernels<S>().largest_size(x_->rows(), x_->col(j).data()));
    }
  });
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    drive_by_input(k, drive_->topRows(num_units()));
  if constexpr (std::floating_point<S>)
    if (packed_) packed_->pack(*parameters_);
}

/// Rows of a layer in out = bias + W^T x.
template <class S, class W>
void ClampedHopfield<S, W>::drive_by_input(std::size_t free_layer, StateRef<S> out) const {
  const auto& inputs = topology_->from_input();
  const auto coupling = std::find_if(inputs.begin(), inputs.end(),
                                     [&](std::size_t e) { return target(e) == free_layer; });
  const Block& block = topology_->bias(free_layer);
  const auto bias = parameters_->segment(block.offset, block.rows);
  if constexpr (std::same_as<S, W> && std::floating_point<S>) {
    if (coupling != inputs.end())
      return affine<S>(weights(*coupling), *x_, bias, rows(out, free_layer));
  }
  rows(out, free_layer).colwise() = bias.template cast<S>();
  if (coupling == inputs.end()) return;
  for_each_chunk(out.cols(), chunk_columns, [&](Index begin, Index count) {
    Dense::pull_target<S, W>(S(1), weights(*coupling), x_->middleCols(begin, count),
                             rows(out, free_layer).middleCols(begin, count));
  });
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

/// signals = signal(s) of the units whose signal is not linear.
template <class S, class W>
void ClampedHopfield<S, W>::take_signals(const ConstStateRef<S>& s, State<S>& signals) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    if (topology_->units(k).signal_is_linear()) continue;
    resize_like(signals, s.rows(), s.cols());
    StateRef<S> u(signals);
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
auto ClampedHopfield<S, W>::signal(std::size_t free_layer, const ConstStateRef<S>& s,
                                   const State<S>& signals) const -> Signal {
  const Units& units = topology_->units(free_layer);
  if (units.signal_is_linear()) return {real_scalar<S>(units.signal_gain()), rows(s, free_layer)};
  return {S(1), rows(ConstStateRef<S>(signals), free_layer)};
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
        packed_->step(topology_->state()[k], k, s, clamped_drive(), nullptr, scratch_.drive,
                      nullptr);
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

/// scratch_.pulls = M signal'(s) v, or M^T signal'(s) v; needs prepare_signals(s).
template <class S, class W>
void ClampedHopfield<S, W>::pull_tangents(const ConstStateRef<S>& v, Op op) const {
  resize_like(scratch_.pulls, v.rows(), v.cols());
  if constexpr (std::floating_point<S>)
    if (packed_ && (op == Op::none || conservative())) {
      for (std::size_t k = 0; k < topology_->num_free(); ++k)
        packed_->step(topology_->state()[k], k, v, State<S>(), nullptr, scratch_.pulls, nullptr);
      return;
    }
  prepare_tangents(v);
  scratch_.pulls.setZero();
  add_pulls([&](std::size_t k) { return tangent(k, v); }, scratch_.pulls, op);
}

/// out = H v, or the rows of one block of it, where all slopes are constants: by a kernel that combines v and its pulls
/// as it stores; false, and nothing, elsewhere.
template <class S, class W>
bool ClampedHopfield<S, W>::multiply_in_kernel(const ConstStateRef<S>& v, Index block,
                                               StateRef<S>& out) const {
  if constexpr (std::floating_point<S>) {
    if (packed_ == nullptr) return false;
    for (std::size_t k = 0; k < topology_->num_free(); ++k)
      if (!topology_->units(k).template kernel_curvature<S>(v)) return false;
    for (Index b = 0; b < num_blocks(); ++b)
      for (const auto k : topology_->blocks()[static_cast<std::size_t>(b)]) {
        if (block >= 0 && b != block) {
          rows(out, k).setZero();
          continue;
        }
        const auto response = topology_->units(k).template kernel_curvature<S>(rows(v, k));
        packed_->step(topology_->state()[k], k, v, State<S>(), &*response, out, nullptr);
      }
    return true;
  }
  return false;
}

template <class S, class W>
bool ClampedHopfield<S, W>::block_hessian_product(Index block, const ConstStateRef<S>&,
                                                  const ConstStateRef<S>& v,
                                                  StateRef<S> out) const {
  return multiply_in_kernel(v, block, out);
}

template <class S, class W>
void ClampedHopfield<S, W>::hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                            Op op, StateRef<S>& out) const {
  if ((op == Op::none || conservative()) && multiply_in_kernel(v, -1, out)) return;
  const bool linear = topology_->has_block_update();  // every signal linear: no drive needed
  if (!linear) drive(s);
  pull_tangents(v, op);
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
ConstStateRef<S> ClampedHopfield<S, W>::clamped_x() const {
  if (contiguous(x_samples_))
    return x_->middleCols(x_samples_.empty() ? 0 : x_samples_.front(), batch());
  scratch_.x = columns_of<S>(*x_, x_samples_);
  return scratch_.x;
}

/// A range shares the drive. Others copy it, and gather their input only if they are asked for it.
template <class S, class W>
ClampedHopfield<S, W> ClampedHopfield<S, W>::select(Samples which) const {
  ClampedHopfield part(*this);
  part.x_samples_.clear();
  for (const Index j : which) part.x_samples_.push_back(x_samples_[static_cast<std::size_t>(j)]);
  if (contiguous(which)) {
    part.drive_begin_ += which.empty() ? 0 : which.front();
  } else {
    part.drive_ =
        std::make_shared<State<S>>(columns_of<S>(drive_->middleCols(drive_begin_, batch()), which));
    part.drive_begin_ = 0;
  }
  return part;
}

}  // namespace equiprop

#include "hopfield_gradients.inl"
#include "hopfield_steps.inl"

namespace equiprop {

template class ClampedHopfield<float>;
template class ClampedHopfield<double>;
template class ClampedHopfield<Complex, double>;
template class ClampedHopfield<Dual<double>, double>;

}  // namespace equiprop
