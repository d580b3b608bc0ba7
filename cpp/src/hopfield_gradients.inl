/// The parameter gradients of a Hopfield network, as sums or as steps; part of hopfield.cpp.

namespace equiprop {
namespace {

void require_energy(bool conservative) {
  require(conservative, "parameter_gradient",
          "dE/dtheta belongs to an energy; a vector field has <v, dmu/dtheta> alone.",
          "a network with separate feedback weights");
}

/// Where a parameter gradient goes, block by block: onto another one,
template <class S>
struct Accumulated {
  ParametersRef<S>& grad;

  void weights(const Block& w, const std::vector<OuterProduct<S>>& products) {
    Dense::add_outer<S>(products, Eigen::Map<State<S>>(grad.data() + w.offset, w.rows, w.columns));
  }
  void bias(const Block& b, const Parameters<S>& g) { grad.segment(b.offset, b.rows) += g; }
  void finish() {}
};

/// or straight into the parameters, once it is known that no sum can overflow, nor the update it takes part in at any
/// rate below 1e6.
template <class S>
struct Descended {
  const Descending<S>& descending;
  bool done = false;

  void weights(const Block& w, std::vector<OuterProduct<S>> products) {
    double sum = 0;
    for (const auto& [scale, a, b] : products) sum += std::abs(scale) * norm(a) * norm(b);
    raise_to(sum, bound);
    sums.emplace_back(&w, std::move(products));
  }
  void bias(const Block& b, Parameters<S> g) {
    raise_to(norm(g), bound);
    biases.emplace_back(&b, std::move(g));
  }
  void finish() {
    constexpr auto limits = std::numeric_limits<S>();
    done = bound <= static_cast<double>(limits.max()) * static_cast<double>(limits.epsilon());
    if (!done) return;
    for (const auto& [w, products] : sums) Dense::descend<S>(products, descending, *w);
    for (const auto& [b, g] : biases) descending.apply(b->offset, g);
  }

  std::vector<std::pair<const Block*, std::vector<OuterProduct<S>>>> sums{};
  std::vector<std::pair<const Block*, Parameters<S>>> biases{};
  double bound = 0;  // NaN is none

 private:
  /// sum |a_ij|: no entry of a b^T exceeds the product of two of them.
  static double norm(const ConstStateRef<S>& a) { return static_cast<double>(a.cwiseAbs().sum()); }
};

}  // namespace

/// sum_k weights_k dE/dtheta(states_k), block by block. At a clamped neighbour the signals are summed first; elsewhere
/// the states stand side by side. One pass for each coupling, however many states.
template <class S, class W>
template <class Sink>
void ClampedHopfield<S, W>::contrast_into(const std::vector<ConstStateRef<S>>& states,
                                          const std::vector<S>& weights, Sink&& sink) const {
  std::vector<State<S>>& signals = scratch_.signals;
  signals.resize(states.size());
  for (std::size_t j = 0; j < states.size(); ++j) take_signals(states[j], signals[j]);
  const auto signal_in = [&](std::size_t j, std::size_t k) {
    const Signal u = signal(k, states[j], signals[j]);
    return Signal{-weights[j] * u.scale, u.rows};
  };
  State<S> sum;  // of several states
  const auto summed = [&](std::size_t k) {
    return states.size() == 1 ? signal_in(0, k) : Signal{S(1), rows(ConstStateRef<S>(sum), k)};
  };
  if (states.size() > 1) {
    sum.resize(num_units(), batch());
    for_each_chunk(batch(), chunk_columns, [&](Index begin, Index count) {
      StateRef<S> part = sum.middleCols(begin, count);
      for (std::size_t k = 0; k < topology_->num_free(); ++k)
        for (std::size_t j = 0; j < states.size(); ++j) {
          const Signal u = signal_in(j, k);
          if (j == 0)
            rows(part, k) = u.scale * u.rows.middleCols(begin, count);
          else
            rows(part, k) += u.scale * u.rows.middleCols(begin, count);
        }
    });
  }
  const ConstStateRef<S> x = clamped_x();
  for (const auto e : topology_->from_input()) {
    const Signal to = summed(target(e));
    sink.weights(topology_->weights(e), {{to.scale, to.rows, x}});
  }
  for (const auto e : topology_->inner()) {
    std::vector<OuterProduct<S>> products;
    for (std::size_t j = 0; j < states.size(); ++j) {
      const Signal to = signal_in(j, target(e)), from = signal(source(e), states[j], signals[j]);
      products.push_back({to.scale * from.scale, to.rows, from.rows});
    }
    sink.weights(topology_->weights(e), products);
  }
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal u = summed(k);
    sink.bias(topology_->bias(k), u.scale * u.rows.rowwise().sum());
  }
  sink.finish();
}

/// weight sum <v, d2E/dtheta ds>, block by block. Tied weights have both their products in one pass.
template <class S, class W>
template <class Sink>
void ClampedHopfield<S, W>::mixed_derivative_into(const ConstStateRef<S>& s,
                                                  const ConstStateRef<S>& v, S weight,
                                                  Sink&& sink) const {
  prepare_signals(s);
  prepare_tangents(v);
  const auto product = [&](const Signal& to, const Signal& from) {
    return OuterProduct<S>{-weight * to.scale * from.scale, to.rows, from.rows};
  };
  const ConstStateRef<S> x = clamped_x();
  for (const auto e : topology_->from_input())
    sink.weights(topology_->weights(e), {product(tangent(target(e), v), Signal{S(1), x})});
  for (const auto e : topology_->inner()) {
    const auto back = product(signal(target(e), s), tangent(source(e), v));
    const auto forward = product(tangent(target(e), v), signal(source(e), s));
    if (conservative()) {
      sink.weights(topology_->weights(e), {back, forward});
    } else {
      sink.weights(topology_->feedback_weights(e), {back});
      sink.weights(topology_->weights(e), {forward});
    }
  }
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal t = tangent(k, v);
    sink.bias(topology_->bias(k), -weight * t.scale * t.rows.rowwise().sum());
  }
  sink.finish();
}

template <class S, class W>
void ClampedHopfield<S, W>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                               ParametersRef<S> grad) const {
  require_energy(conservative());
  contrast_into({s}, {weight}, Accumulated<S>{grad});
}

template <class S, class W>
void ClampedHopfield<S, W>::contrast(const std::vector<State<S>>& states,
                                     const std::vector<S>& weights, ParametersRef<S> grad) const {
  require_energy(conservative());
  contrast_into({states.begin(), states.end()}, weights, Accumulated<S>{grad});
}

template <class S, class W>
void ClampedHopfield<S, W>::mixed_derivative_product(const ConstStateRef<S>& s,
                                                     const ConstStateRef<S>& v, S weight,
                                                     ParametersRef<S> grad) const {
  mixed_derivative_into(s, v, weight, Accumulated<S>{grad});
}

template <class S, class W>
bool ClampedHopfield<S, W>::descend_contrast(
    const std::vector<State<S>>& states, const std::vector<S>& weights,
    const Descending<S>& descending) const requires std::floating_point<S> {
  require_energy(conservative());
  const std::vector<ConstStateRef<S>> all(states.begin(), states.end());
  Descended<S> sink{descending};
  contrast_into(all, weights, sink);
  return sink.done;
}

template <class S, class W>
bool ClampedHopfield<S, W>::descend_mixed_derivative(
    const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
    const Descending<S>& descending) const requires std::floating_point<S> {
  Descended<S> sink{descending};
  mixed_derivative_into(s, v, weight, sink);
  return sink.done;
}

}  // namespace equiprop
