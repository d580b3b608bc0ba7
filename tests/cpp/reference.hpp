#pragma once
/// The Hopfield network by dense algebra, on any scalar of parameters, input and states: a reference for its
/// derivatives.

#include "support.hpp"

namespace equiprop::tests {

/// E = leak(s) - <u, b + X x> - <u, M u> / 2 with u = signal(s). M (units, units) holds the weights of all couplings
/// between free layers in both directions, X (units, inputs) those from the input. With separate feedback M is not
/// symmetric, and there is no energy. The functions are those of the concepts in energy.hpp.
template <class S>
class ReferenceNetwork {
 public:
  using Scalar = S;

  ReferenceNetwork(const Topology& topology, const Parameters<S>& theta, const State<S>& x)
      : topology_(topology), theta_(theta), x_(x), m_(num_units(), num_units()) {
    m_.setZero();
    inputs_ = State<S>::Zero(num_units(), num_inputs());
    for (const auto e : topology_.from_input())
      inputs_.middleRows(to(e).offset, to(e).rows) +=
          matrix(e, topology_.weights(e), to(e).rows, topology_.num_inputs());
    for (const auto e : topology_.inner()) {
      const Index rows = to(e).rows, columns = from(e).rows;
      between(m_, to(e), from(e)) += matrix(e, topology_.weights(e), rows, columns);
      if (!is_within(e))
        between(m_, from(e), to(e)) +=
            matrix(e, topology_.feedback_weights(e), rows, columns).transpose();
    }
    drive_ = inputs_ * x_;
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      drive_.middleRows(layer(k).offset, layer(k).rows).colwise() +=
          theta_.segment(topology_.bias(k).offset, layer(k).rows);
  }

  Index num_units() const { return topology_.state().size(); }
  Index num_inputs() const { return topology_.num_inputs(); }
  Index num_outputs() const { return topology_.num_outputs(); }
  Index num_parameters() const { return theta_.size(); }
  bool conservative() const { return topology_.feedback() == Feedback::tied; }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
    const State<S> u = signal(s), pulls = drive_ + S(0.5) * (m_ * u);
    out = -u.cwiseProduct(pulls).colwise().sum().transpose().array();
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      topology_.units(k).template add_leak<S>(s.middleRows(layer(k).offset, layer(k).rows), out);
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    out = by_layer(s, &Units::leak_gradient<S>) - slope(s).cwiseProduct(drive(s));
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    out = hessian_product(s, v, m_);
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const {
    out = hessian_product(s, v, m_.transpose());
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    const State<S> u = signal(s);
    add_products(-weight * u, S(0.5) * u, grad);
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    add_products(-weight * slope(s).cwiseProduct(v), signal(s), grad);
  }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const {
    out -= weight * (inputs_.transpose() * signal(s));
  }
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const {
    out -= weight * (inputs_.transpose() * slope(s).cwiseProduct(v));
  }

  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    out = s;
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      respond(&Units::respond<S>, k, s, nudge, out);
  }
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const {
    State<S> p = drive(s);
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      if (const State<S> force = force_on(k, nudge); force.size() > 0)
        p.middleRows(layer(k).offset, layer(k).rows) += force / S(topology_.units(k).signal_gain());
    out = by_layer(p, &Units::mobility<S>);
  }
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const {
    mobility(s, nudge, out);
    const State<S> response = out.cwiseProduct(v);
    if (topology_.potential() == Potential::legendre)
      out = m_.transpose() * response;
    else
      out = response - hessian_product(s, response, m_.transpose());
  }
  void project(StateRef<S> s) const {
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      topology_.units(k).template project<S>(s.middleRows(layer(k).offset, layer(k).rows));
  }
  Index num_blocks() const { return static_cast<Index>(topology_.blocks().size()); }
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s) const {
    const State<S> before = s;
    for (const auto k : topology_.blocks()[static_cast<std::size_t>(block)])
      if (pulls_on_itself(k))
        descend_together(k, before, nudge, s);
      else
        respond(&Units::descend<S>, k, before, nudge, s);
  }

 private:
  const Block& layer(std::size_t k) const { return topology_.state()[k]; }
  /// Returns the force of a nudge on a layer, (units, batch), or nothing.
  State<S> force_on(std::size_t k, const Nudge<S>& nudge) const {
    if (nudge.force.size() == 0) return {};
    State<S> whole = State<S>::Zero(num_units(), nudge.force.cols());
    whole.bottomRows(nudge.force.rows()) = nudge.force;
    const bool reached = layer(k).offset >= num_units() - nudge.force.rows();
    return reached ? State<S>(whole.middleRows(layer(k).offset, layer(k).rows)) : State<S>();
  }
  /// Returns the stiffness of a nudge on a layer.
  S stiffness_on(std::size_t k, const Nudge<S>& nudge) const {
    Parameters<S> whole = Parameters<S>::Zero(num_units());
    whole.tail(nudge.stiffness.size()) = nudge.stiffness;
    return whole(layer(k).offset);
  }
  const Block& from(std::size_t coupling) const {
    return layer(static_cast<std::size_t>(topology_.couplings()[coupling].source()) - 1);
  }
  const Block& to(std::size_t coupling) const {
    return layer(static_cast<std::size_t>(topology_.couplings()[coupling].target()) - 1);
  }
  bool is_within(std::size_t coupling) const {
    return topology_.couplings()[coupling].source() == topology_.couplings()[coupling].target();
  }
  /// Returns the matrix of a coupling that acts, (target, source), given the block of its weights.
  State<S> matrix(std::size_t coupling, const Block& block, Index rows, Index columns) const {
    if (const auto* identity = topology_.couplings()[coupling].template as<Identity>())
      return S(identity->gain) * State<S>::Identity(rows, columns);
    const State<S> w = Eigen::Map<const State<S>>(theta_.data() + block.offset, rows, columns);
    return is_within(coupling) ? within(w) : w;
  }
  /// Returns a matrix without its diagonal, and symmetric if there is an energy.
  State<S> within(const State<S>& a) const {
    State<S> w = a;
    if (conservative()) w = S(0.5) * (a + a.transpose());
    w.diagonal().setZero();
    return w;
  }
  template <class Matrix>
  static auto between(Matrix& m, const Block& rows, const Block& columns) {
    return m.block(rows.offset, columns.offset, rows.rows, columns.rows);
  }

  /// Applies a function of Units to each layer.
  State<S> by_layer(const ConstStateRef<S>& s,
                    void (Units::*function)(const ConstStateRef<S>&, StateRef<S>) const) const {
    State<S> out(s.rows(), s.cols());
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      (topology_.units(k).*function)(s.middleRows(layer(k).offset, layer(k).rows),
                                     out.middleRows(layer(k).offset, layer(k).rows));
    return out;
  }
  State<S> signal(const ConstStateRef<S>& s) const { return by_layer(s, &Units::signal<S>); }
  State<S> slope(const ConstStateRef<S>& s) const {
    return by_layer(signal(s), &Units::signal_slope<S>);
  }
  State<S> drive(const ConstStateRef<S>& s) const { return drive_ + m_ * signal(s); }
  State<S> hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                           const State<S>& m) const {
    const State<S> slopes = slope(s), curvature = by_layer(signal(s), &Units::signal_curvature<S>);
    return (by_layer(s, &Units::leak_curvature<S>) - curvature.cwiseProduct(drive(s)))
               .cwiseProduct(v) -
           slopes.cwiseProduct(m * slopes.cwiseProduct(v));
  }
  using Response = void (Units::*)(const ConstStateRef<S>&, const ConstStateRef<S>&,
                                   const State<S>*, S, StateRef<S>) const;
  void respond(Response response, std::size_t k, const ConstStateRef<S>& s, const Nudge<S>& nudge,
               StateRef<S>& out) const {
    const State<S> p = drive(s), u = signal(s), force = force_on(k, nudge);
    (topology_.units(k).*response)(p.middleRows(layer(k).offset, layer(k).rows),
                                   u.middleRows(layer(k).offset, layer(k).rows),
                                   force.size() > 0 ? &force : nullptr, stiffness_on(k, nudge),
                                   out.middleRows(layer(k).offset, layer(k).rows));
  }
  bool pulls_on_itself(std::size_t k) const {
    for (const auto e : topology_.inner())
      if (is_within(e) && to(e).offset == layer(k).offset) return true;
    return false;
  }
  /// Updates a layer of linked units: a minimiser under a pull a to the old state, and a step of the way to it.
  void descend_together(std::size_t k, const State<S>& before, const Nudge<S>& nudge,
                        StateRef<S>& s) const {
    const Index begin = layer(k).offset, units = layer(k).rows;
    const State<double> w =
        m_.block(begin, begin, units, units).unaryExpr([](const S& v) -> double {
          return real_part(v);
        });
    const double bound = 1.001 * std::min(w.cwiseAbs().colwise().sum().maxCoeff(),
                                          std::sqrt((w.transpose() * w).norm()));
    const State<S> outside = force_on(k, nudge);
    const S stiffness = stiffness_on(k, nudge);
    const auto [pull, step] = topology_.units(k).damping(bound, real_part(stiffness));
    const State<S> at = before.middleRows(begin, units);
    State<S> force = S(pull) * at, next = at;
    if (outside.size() > 0) force += outside;
    topology_.units(k).template descend<S>(drive(before).middleRows(begin, units),
                                           signal(before).middleRows(begin, units), &force,
                                           stiffness + S(pull), next);
    s.middleRows(begin, units) = at + S(step) * (next - at);
  }
  /// Adds the sums over samples of a b^T, a x^T and a to the gradient with respect to the weights in M, those in X, and
  /// the biases.
  void add_products(const State<S>& a, const State<S>& b, ParametersRef<S>& grad) const {
    const auto add = [&](const Block& block, const State<S>& product) {
      if (block.size() == 0) return;  // an identity
      Eigen::Map<State<S>>(grad.data() + block.offset, block.rows, block.columns) += product;
    };
    const State<S> inputs = a * x_.transpose(), pulls = a * b.transpose();
    for (const auto e : topology_.from_input())
      add(topology_.weights(e), inputs.middleRows(to(e).offset, to(e).rows));
    for (const auto e : topology_.inner()) {
      if (is_within(e)) {
        add(topology_.weights(e), within(between(pulls, to(e), from(e))));
        continue;
      }
      add(topology_.weights(e), between(pulls, to(e), from(e)));
      add(topology_.feedback_weights(e), between(pulls, from(e), to(e)).transpose());
    }
    for (std::size_t k = 0; k < topology_.num_free(); ++k)
      add(topology_.bias(k), a.middleRows(layer(k).offset, layer(k).rows).rowwise().sum());
  }

  Topology topology_;
  Parameters<S> theta_;
  State<S> x_, m_;
  State<S> inputs_;  // X
  State<S> drive_;   // b + X x
};

}  // namespace equiprop::tests
