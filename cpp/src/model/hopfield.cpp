#include "equiprop/model/hopfield.hpp"

namespace equiprop {
namespace {

void require_energy(bool conservative) {
  require(conservative, "parameter_gradient",
          "Only an energy has dE/dtheta; a vector field has <v, dmu/dtheta> instead.",
          "a network with separate feedback weights");
}

}  // namespace

template <Scalar S>
ClampedHopfield<S>::ClampedHopfield(std::shared_ptr<const Topology> topology,
                                    std::shared_ptr<const Parameters<WeightOf<S>>> parameters,
                                    const ConstStateRef<S>& x)
    : ClampedHopfield(std::make_shared<ClampedInput<S>>(
          std::make_shared<BoundNetwork<S>>(std::move(topology), std::move(parameters)), x)) {}

template <Scalar S>
ClampedHopfield<S>::ClampedHopfield(std::shared_ptr<ClampedInput<S>> input)
    : input_(std::move(input)),
      fields_(std::make_shared<HopfieldFields<S>>(input_)),
      relaxation_(fields_),
      terms_(fields_) {}

template <Scalar S>
ClampedHopfield<S>& ClampedHopfield<S>::operator=(const ClampedHopfield& other) {
  input_ = other.input_;
  fields_ = std::make_shared<HopfieldFields<S>>(input_);
  relaxation_ = HopfieldRelaxation<S>(fields_);
  terms_ = HopfieldTerms<S>(fields_);
  return *this;
}

template <Scalar S>
ClampedHopfield<S> ClampedHopfield<S>::select(Samples which) const {
  return ClampedHopfield(std::make_shared<ClampedInput<S>>(input_->select(which)));
}

template <Scalar S>
std::shared_ptr<const EnergyInterface<S>> ClampedHopfield<S>::part(Samples which) const {
  return std::make_shared<ClampedHopfield>(select(which));
}

/// Stores sum leak(s) - <u, drive by input and bias> - 1/2 <u, inner pulls> of each sample in out.
template <Scalar S>
void ClampedHopfield<S>::energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
  if (!conservative()) {
    fill(out, S(std::numeric_limits<RealOf<S>>::quiet_NaN()), s.cols());
    return;
  }
  State<S>& p = fields_->drive(s);
  fill(out, 0, s.cols());
  p = S(0.5) * (p + input_->drive());
  for (std::size_t k = 0; k < topology().num_free(); ++k) {
    const Block& block = topology().state()[k];
    topology().units(k).template add_leak<S>(rows_of(s, block), out);
    const Signal<S> u = fields_->signal(k, s);
    out -= u.scale * inner<S>(u.rows, rows_of(p, block));
  }
  if (!input_->network().homogeneous()) add_inhomogeneous(s, out);
}

/// Adds (<u_target, pull> + <u_source, pull>) / 2 - <u_target, pull> of the edges that are not homogeneous, whose energy
/// is -<u_target, pull on the target>; requires signals at s.
template <Scalar S>
void ClampedHopfield<S>::add_inhomogeneous(const ConstStateRef<S>& s, PerSample<S>& out) const {
  const BoundNetwork<S>& network = input_->network();
  for (const auto e : topology().inner()) {
    if (network.edge(e).homogeneous()) continue;
    const EdgeSignals<S> u{fields_->signal(network.source(e), s),
                           fields_->signal(network.target(e), s)};
    const auto product = [&](End end, const Signal<S>& own) {
      State<S> pull = State<S>::Zero(own.rows.rows(), own.rows.cols());
      network.edge(e).pull(end, u, pull);
      return PerSample<S>(own.scale * inner<S>(own.rows, pull));
    };
    out += S(0.5) * (product(End::source, u.source) - product(End::target, u.target));
  }
}

template <Scalar S>
void ClampedHopfield<S>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
  fields_->gradient(s, out);
}

template <Scalar S>
void ClampedHopfield<S>::hessian_vector_product(const ConstStateRef<S>& s,
                                                const ConstStateRef<S>& v, StateRef<S> out) const {
  fields_->hessian_product(s, v, Op::none, out);
}

template <Scalar S>
void ClampedHopfield<S>::transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                           const ConstStateRef<S>& v,
                                                           StateRef<S> out) const {
  fields_->hessian_product(s, v, Op::transpose, out);
}

template <Scalar S>
void ClampedHopfield<S>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                            ParametersRef<S> grad) const {
  require_energy(conservative());
  AddTo<S> sum(grad);
  terms_.parameter_gradient(s, weight, sum);
}

template <Scalar S>
void ClampedHopfield<S>::mixed_derivative_product(const ConstStateRef<S>& s,
                                                  const ConstStateRef<S>& v, S weight,
                                                  ParametersRef<S> grad) const {
  AddTo<S> sum(grad);
  terms_.mixed_derivative(s, v, weight, sum);
}

template <Scalar S>
bool ClampedHopfield<S>::contrast(std::span<const State<S>> states, std::span<const S> weights,
                                  ParameterSink<S>& sink) const {
  require_energy(conservative());
  return terms_.contrast(states, weights, nullptr, sink);
}

template <Scalar S>
bool ClampedHopfield<S>::weighted_contrast(std::span<const State<S>> states,
                                           std::span<const S> weights,
                                           const PerSample<RealOf<S>>& samples,
                                           ParameterSink<S>& sink) const {
  require_energy(conservative());
  return terms_.contrast(states, weights, &samples, sink);
}

template <Scalar S>
bool ClampedHopfield<S>::mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                          S weight, ParameterSink<S>& sink) const {
  return terms_.mixed_derivative(s, v, weight, sink);
}

template <Scalar S>
void ClampedHopfield<S>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                         StateRef<S> out) const {
  relaxation_.fixed_point_map(s, nudge, out);
}

template <Scalar S>
void ClampedHopfield<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                  StateRef<S> out) const {
  relaxation_.mobility(s, nudge, out);
}

template <Scalar S>
void ClampedHopfield<S>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                                const ConstStateRef<S>& v, StateRef<S> out) const {
  relaxation_.transposed_map_product(s, nudge, v, out);
}

template <Scalar S>
void ClampedHopfield<S>::input_gradient(const ConstStateRef<S>& s, S weight,
                                        StateRef<S> out) const {
  fields_->take_signals(s);
  for (const auto e : topology().from_input()) {
    const Signal<S> u = fields_->signal(input_->network().target(e), s);
    input_->add_input_pulls(e, {-weight * u.scale, u.rows}, out);
  }
}

template <Scalar S>
void ClampedHopfield<S>::mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                             S weight, StateRef<S> out) const {
  fields_->take_signals(s);
  fields_->take_tangents(v);
  for (const auto e : topology().from_input()) {
    const Signal<S> t = fields_->tangent(input_->network().target(e), v);
    input_->add_input_pulls(e, {-weight * t.scale, t.rows}, out);
  }
}

template class ClampedHopfield<float>;
template class ClampedHopfield<double>;
template class ClampedHopfield<Complex>;
template class ClampedHopfield<Dual<double>>;

}  // namespace equiprop
