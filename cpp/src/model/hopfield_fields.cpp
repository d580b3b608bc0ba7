#include "equiprop/model/hopfield_fields.hpp"

namespace equiprop {

template <Scalar S>
State<S>& HopfieldFields<S>::drive(const ConstStateRef<S>& s) {
  const ConstStateRef<S> signals = take_signals(s);
  if constexpr (std::floating_point<S>)
    if (const LayerPlan<S>* plan = network().plan()) {
      resize_to(drive_, s.rows(), s.cols());
      for (std::size_t k = 0; k < network().num_free(); ++k)
        plan->step(k, signals, input_->drive(), nullptr, drive_, nullptr, plan_scratch_);
      return drive_;
    }
  drive_ = input_->drive();
  for (const auto e : network().topology().inner()) {
    const std::size_t a = network().source(e), b = network().target(e);
    const Edge<S>& edge = network().edge(e);
    const EdgeSignals<S> u{signal(a, s), signal(b, s)};
    edge.pull(End::target, u, rows_of(drive_, network().block(b)));
    edge.pull(End::source, u, rows_of(drive_, network().block(a)));
  }
  return drive_;
}

template <Scalar S>
void HopfieldFields<S>::add_pulls_on(std::size_t layer, const ConstStateRef<S>& s,
                                     State<S>& out) const {
  for (const auto e : network().topology().inner()) {
    const std::size_t a = network().source(e), b = network().target(e);
    if (a != layer && b != layer) continue;
    network().edge(e).pull(b == layer ? End::target : End::source, {signal(a, s), signal(b, s)},
                           rows_of(out, network().block(layer)));
  }
}

template <Scalar S>
const State<S>& HopfieldFields<S>::tangent_pulls(const ConstStateRef<S>& s,
                                                 const ConstStateRef<S>& v, Op op) {
  resize_to(pulls_, v.rows(), v.cols());
  const bool conservative = network().topology().feedback() == Feedback::tied;
  take_tangents(v);
  if constexpr (std::floating_point<S>)
    if (network().plan() != nullptr && (op == Op::none || conservative)) {
      const bool linear = network().topology().has_linear_signals();
      const ConstStateRef<S> tangents = linear ? v : ConstStateRef<S>(tangents_);
      const ConstStateRef<S> signals = signal_array(s);
      for (std::size_t k = 0; k < network().num_free(); ++k)
        network().plan()->step(k, tangents, State<S>(), nullptr, pulls_, nullptr, plan_scratch_,
                               &signals);
      return pulls_;
    }
  pulls_.setZero();
  for (const auto e : network().topology().inner()) {
    const std::size_t a = network().source(e), b = network().target(e);
    const Edge<S>& edge = network().edge(e);
    const EdgeSignals<S> u{signal(a, s), signal(b, s)}, t{tangent(a, v), tangent(b, v)};
    edge.tangent_pull(End::target, op, u, t, rows_of(pulls_, network().block(b)));
    edge.tangent_pull(End::source, op, u, t, rows_of(pulls_, network().block(a)));
  }
  return pulls_;
}

template <Scalar S>
void HopfieldFields<S>::gradient(const ConstStateRef<S>& s, StateRef<S>& out) {
  const State<S>& p = drive(s);
  for (std::size_t k = 0; k < network().num_free(); ++k) {
    const Units& units = network().units(k);
    const Block& block = network().block(k);
    units.template leak_gradient<S>(rows_of(s, block), rows_of(out, block));
    if (units.signal_is_linear()) {
      rows_of(out, block) -= real_scalar<S>(units.signal_gain()) * rows_of(p, block);
    } else {
      resize_to(slopes_, s.rows(), s.cols());
      units.template signal_slope<S>(rows_of(signals_, block), rows_of(slopes_, block));
      rows_of(out, block) -= rows_of(slopes_, block).cwiseProduct(rows_of(p, block));
    }
  }
}

template <Scalar S>
bool HopfieldFields<S>::multiplies_in_kernel() const {
  if (network().plan() == nullptr || !network().homogeneous()) return false;
  for (std::size_t k = 0; k < network().num_free(); ++k)
    if (!network().units(k).has_constant_slopes()) return false;
  return true;
}

template <Scalar S>
void HopfieldFields<S>::multiply_in_kernel(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                           Index block, StateRef<S>& out) {
  if constexpr (std::floating_point<S>) {
    const auto& blocks = network().topology().blocks();
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (const auto k : blocks[b]) {
        const Block& rows = network().block(k);
        if (block >= 0 && static_cast<Index>(b) != block) {
          rows_of(out, rows).setZero();
          continue;
        }
        const Response<S> response =
            network().units(k).template kernel_curvature<S>(rows_of(v, rows));
        network().plan()->step(k, v, State<S>(), &response, out, nullptr, plan_scratch_, &s);
      }
  }
}

template <Scalar S>
void HopfieldFields<S>::hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Op op,
                                        StateRef<S>& out) {
  const Topology& topology = network().topology();
  const bool symmetric = op == Op::none || topology.feedback() == Feedback::tied;
  if (symmetric && multiplies_in_kernel()) return multiply_in_kernel(s, v, -1, out);
  if (!topology.has_linear_signals()) drive(s);
  const State<S>& pulls = tangent_pulls(s, v, op);
  for (std::size_t k = 0; k < network().num_free(); ++k) {
    const Units& units = network().units(k);
    const Block& block = network().block(k);
    auto image = rows_of(out, block);
    units.template leak_curvature<S>(rows_of(s, block), image);
    if (units.signal_is_linear()) {
      image = image.cwiseProduct(rows_of(v, block)) -
              real_scalar<S>(units.signal_gain()) * rows_of(pulls, block);
    } else {
      auto curvature = rows_of(tangents_, block);  // the tangents are no longer needed
      units.template signal_curvature<S>(rows_of(signals_, block), curvature);
      image =
          (image - curvature.cwiseProduct(rows_of(drive_, block))).cwiseProduct(rows_of(v, block)) -
          rows_of(slopes_, block).cwiseProduct(rows_of(pulls, block));
    }
  }
}

template class HopfieldFields<float>;
template class HopfieldFields<double>;
template class HopfieldFields<Complex>;
template class HopfieldFields<Dual<double>>;

}  // namespace equiprop
