/// The parameter gradients of a Hopfield network, as sums or as steps; part of hopfield.cpp.

namespace equiprop {
namespace {

void require_energy(bool conservative) {
  require(conservative, "parameter_gradient",
          "dE/dtheta belongs to an energy; a vector field has <v, dmu/dtheta> alone.",
          "a network with separate feedback weights");
}

template <class S>
using Products = std::span<const OuterProduct<S>>;
template <class S>
using Biases = Eigen::Ref<const Parameters<S>>;

/// Where a parameter gradient goes, block by block: onto another one,
template <class S>
struct Accumulated {
  ParametersRef<S>& grad;

  void weights(const Block& w, Products<S> products) {
    Dense::add_outer<S>(products, Eigen::Map<State<S>>(grad.data() + w.offset, w.rows, w.columns));
  }
  void bias(const Block& b, const Biases<S>& g) { grad.segment(b.offset, b.rows) += g; }
};

/// or straight into the parameters,
template <class S>
struct Descended {
  const Descending<S>& descending;

  void weights(const Block& w, Products<S> products) { Dense::descend<S>(products, descending, w); }
  void bias(const Block& b, const Biases<S>& g) { descending.apply(b.offset, g); }
};

/// once it is known that no sum can overflow, nor the update it takes part in at any rate below 1e6.
template <class S>
struct Bounded {
  struct Known {
    const S* data;
    double size;
  };
  Known x;           // the input, which need not be looked through again
  double bound = 0;  // NaN is none

  void weights(const Block&, Products<S> products) {
    double sum = 0;
    for (const auto& [scale, a, b] : products)
      sum += static_cast<double>(a.cols()) * std::abs(scale) * size(a) *
             (b.data() == x.data ? x.size : size(b));
    raise_to(sum, bound);
  }
  void bias(const Block&, const Biases<S>& g) { raise_to(size(g), bound); }
  bool holds() const {
    constexpr auto limits = std::numeric_limits<S>();
    return bound <= static_cast<double>(limits.max()) * static_cast<double>(limits.epsilon());
  }

 private:
  /// No entry of a b^T exceeds the product of two of them for each sample.
  static double size(const ConstStateRef<S>& a) { return static_cast<double>(largest_size<S>(a)); }
};

/// Takes the step of the gradient that `show` shows to a sink; false, and no step, where it has no bound.
template <class S, class Show>
bool descend_shown(const Show& show, const typename Bounded<S>::Known& x,
                   const Descending<S>& descending) {
  if constexpr (std::floating_point<S>) {  // clang 14 compiles this for other scalars too
    Bounded<S> bounded{x};
    show(bounded);
    if (!bounded.holds()) return false;
    Descended<S> descended{descending};
    show(descended);
    return true;
  }
  return false;
}

}  // namespace

/// -weight signal(s) of a layer: the slope of weight E along what it is multiplied with.
template <class S, class W>
auto ClampedHopfield<S, W>::weighted_signal(std::size_t free_layer, const ConstStateRef<S>& s,
                                            const State<S>& signals, S weight) const -> Signal {
  const Signal u = signal(free_layer, s, signals);
  return {-weight * u.scale, u.rows};
}

/// Of all states together.
template <class S, class W>
template <class States>
auto ClampedHopfield<S, W>::summed_signal(std::size_t free_layer, const States& states,
                                          const std::vector<S>& weights) const -> Signal {
  if (states.size() == 1)
    return weighted_signal(free_layer, states[0], scratch_.signals[0], weights[0]);
  return {S(1), rows(ConstStateRef<S>(*scratch_.sum), free_layer)};
}

/// out = the sum over samples; threads share its rows.
template <class S, class W>
void ClampedHopfield<S, W>::sum_samples(const Signal& u, ParametersRef<S> out) {
  for_each_chunk(out.size(), chunk_columns, [&](Index begin, Index count) {
    out.segment(begin, count) = u.scale * u.rows.middleRows(begin, count).rowwise().sum();
  });
}

/// What show_contrast shows apart from the states: their signals, the sum of several, the gradient by the biases.
template <class S, class W>
template <class States>
void ClampedHopfield<S, W>::prepare_contrast(const States& states,
                                             const std::vector<S>& weights) const {
  std::vector<State<S>>& signals = scratch_.signals;
  signals.resize(states.size());
  for (std::size_t j = 0; j < states.size(); ++j) take_signals(states[j], signals[j]);
  if (states.size() > 1) {
    if (scratch_.sum == nullptr || scratch_.sum->cols() != batch())
      scratch_.sum = shared_state<S>(num_units(), batch());
    for_each_chunk(batch(), chunk_columns, [&](Index begin, Index count) {
      StateRef<S> part = scratch_.sum->middleCols(begin, count);
      for (std::size_t k = 0; k < topology_->num_free(); ++k)
        for (std::size_t j = 0; j < states.size(); ++j) {
          const Signal u = weighted_signal(k, states[j], signals[j], weights[j]);
          if (j == 0)
            rows(part, k) = u.scale * u.rows.middleCols(begin, count);
          else
            rows(part, k) += u.scale * u.rows.middleCols(begin, count);
        }
    });
  }
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal u = summed_signal(k, states, weights);
    sum_samples(u, bias_gradient(k));
  }
}

/// sum_k weights_k dE/dtheta(states_k), block by block. At a clamped neighbour the signals are summed first; elsewhere
/// the states stand side by side. One pass for each coupling, however many states.
template <class S, class W>
template <class States, class Sink>
void ClampedHopfield<S, W>::show_contrast(const States& states, const std::vector<S>& weights,
                                          Sink& sink) const {
  const ConstStateRef<S> x = clamped_x();
  for (const auto e : topology_->from_input()) {
    const Signal to = summed_signal(target(e), states, weights);
    const OuterProduct<S> product{to.scale, to.rows, x};
    sink.weights(topology_->weights(e), {&product, 1});
  }
  for (const auto e : topology_->inner()) {
    scratch_.products.clear();
    scratch_.products.reserve(states.size());
    for (std::size_t j = 0; j < states.size(); ++j) {
      const State<S>& signals = scratch_.signals[j];
      const Signal to = weighted_signal(target(e), states[j], signals, weights[j]),
                   from = signal(source(e), states[j], signals);
      scratch_.products.push_back({to.scale * from.scale, to.rows, from.rows});
    }
    sink.weights(topology_->weights(e), scratch_.products);
  }
  show_biases(sink);
}

/// The same of weight <v, d2E/dtheta ds>: its signals, tangents, and gradient by the biases.
template <class S, class W>
void ClampedHopfield<S, W>::prepare_mixed_derivative(const ConstStateRef<S>& s,
                                                     const ConstStateRef<S>& v, S weight) const {
  prepare_signals(s);
  prepare_tangents(v);
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Signal t = tangent(k, v);
    sum_samples({-weight * t.scale, t.rows}, bias_gradient(k));
  }
}

/// weight sum <v, d2E/dtheta ds>, block by block. Tied weights have both their products in one pass.
template <class S, class W>
template <class Sink>
void ClampedHopfield<S, W>::show_mixed_derivative(const ConstStateRef<S>& s,
                                                  const ConstStateRef<S>& v, S weight,
                                                  Sink& sink) const {
  const auto product = [&](const Signal& to, const Signal& from) {
    return OuterProduct<S>{-weight * to.scale * from.scale, to.rows, from.rows};
  };
  const ConstStateRef<S> x = clamped_x();
  for (const auto e : topology_->from_input()) {
    const OuterProduct<S> forward = product(tangent(target(e), v), Signal{S(1), x});
    sink.weights(topology_->weights(e), {&forward, 1});
  }
  for (const auto e : topology_->inner()) {
    const std::array both{product(signal(target(e), s), tangent(source(e), v)),
                          product(tangent(target(e), v), signal(source(e), s))};
    if (conservative()) {
      sink.weights(topology_->weights(e), both);
    } else {
      sink.weights(topology_->feedback_weights(e), {&both[0], 1});
      sink.weights(topology_->weights(e), {&both[1], 1});
    }
  }
  show_biases(sink);
}

template <class S, class W>
ParametersRef<S> ClampedHopfield<S, W>::bias_gradient(std::size_t free_layer) const {
  resize_like(scratch_.biases, num_units(), 1);
  const Block& block = topology_->state()[free_layer];
  return scratch_.biases.segment(block.offset, block.rows);
}

template <class S, class W>
template <class Sink>
void ClampedHopfield<S, W>::show_biases(Sink& sink) const {
  for (std::size_t k = 0; k < topology_->num_free(); ++k)
    sink.bias(topology_->bias(k), bias_gradient(k));
}

template <class S, class W>
void ClampedHopfield<S, W>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                               ParametersRef<S> grad) const {
  add_contrast(std::array{s}, {weight}, grad);
}

template <class S, class W>
void ClampedHopfield<S, W>::contrast(const std::vector<State<S>>& states,
                                     const std::vector<S>& weights, ParametersRef<S> grad) const {
  add_contrast(states, weights, grad);
}

template <class S, class W>
template <class States>
void ClampedHopfield<S, W>::add_contrast(const States& states, const std::vector<S>& weights,
                                         ParametersRef<S>& grad) const {
  require_energy(conservative());
  prepare_contrast(states, weights);
  Accumulated<S> sink{grad};
  show_contrast(states, weights, sink);
}

template <class S, class W>
void ClampedHopfield<S, W>::mixed_derivative_product(const ConstStateRef<S>& s,
                                                     const ConstStateRef<S>& v, S weight,
                                                     ParametersRef<S> grad) const {
  prepare_mixed_derivative(s, v, weight);
  Accumulated<S> sink{grad};
  show_mixed_derivative(s, v, weight, sink);
}

template <class S, class W>
bool ClampedHopfield<S, W>::descend_contrast(
    const std::vector<State<S>>& states, const std::vector<S>& weights,
    const Descending<S>& descending) const requires std::floating_point<S> {
  require_energy(conservative());
  prepare_contrast(states, weights);
  return descend_shown([&](auto& sink) { show_contrast(states, weights, sink); },
                       {clamped_x().data(), largest_input()}, descending);
}

template <class S, class W>
bool ClampedHopfield<S, W>::descend_mixed_derivative(
    const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
    const Descending<S>& descending) const requires std::floating_point<S> {
  prepare_mixed_derivative(s, v, weight);
  return descend_shown([&](auto& sink) { show_mixed_derivative(s, v, weight, sink); },
                       {clamped_x().data(), largest_input()}, descending);
}

}  // namespace equiprop
