#include "equiprop/model/hopfield_terms.hpp"

#include <array>

#include "equiprop/base/parallel.hpp"

namespace equiprop {
namespace {

/// Stores the sum of a signal over the samples in out, (units,); threads share the rows.
template <class S>
void sum_samples(const Signal<S>& u, ParametersRef<S> out) {
  for_each_chunk(out.size(), chunk_columns, [&](Index begin, Index count) {
    out.segment(begin, count) = u.scale * u.rows.middleRows(begin, count).rowwise().sum();
  });
}

}  // namespace

/// Returns -weight_k signal(state_k) of a layer, times the weights of the samples. Its product with the signal of the
/// source is a term of dE/dW.
template <Scalar S>
Signal<S> HopfieldTerms<S>::weighted_signal(std::size_t layer, std::span<const Term> terms,
                                            std::size_t k) const {
  const Signal<S> u = network().signal(layer, terms[k].state, signals_[k]);
  const S scale = -terms[k].weight * u.scale;
  if (terms[k].scaled != nullptr) return {scale, rows_of(*terms[k].scaled, network().block(layer))};
  return {scale, u.rows};
}

/// Returns the sum of weighted_signal over all states.
template <Scalar S>
Signal<S> HopfieldTerms<S>::summed_signal(std::size_t layer, std::span<const Term> terms) const {
  if (terms.size() == 1) return weighted_signal(layer, terms, 0);
  return {S(1), rows_of(*sum_, network().block(layer))};
}

template <Scalar S>
ParametersRef<S> HopfieldTerms<S>::bias_gradient(std::size_t layer) {
  resize_to(biases_, network().topology().state().size(), 1);
  const Block& block = network().block(layer);
  return biases_.segment(block.offset, block.rows);
}

/// Stores the sum of the weighted signals of several states in sum_.
template <Scalar S>
void HopfieldTerms<S>::sum_signals(std::span<const Term> terms) {
  const Index batch = fields_->input().batch();
  if (sum_ == nullptr || sum_->cols() != batch)
    sum_ = shared_state<S>(network().topology().state().size(), batch);
  for_each_chunk(batch, chunk_columns, [&](Index begin, Index count) {
    for (std::size_t layer = 0; layer < network().num_free(); ++layer) {
      auto part = rows_of(*sum_, network().block(layer)).middleCols(begin, count);
      for (std::size_t k = 0; k < terms.size(); ++k) {
        const Signal<S> u = weighted_signal(layer, terms, k);
        if (k == 0)
          part = u.scale * u.rows.middleCols(begin, count);
        else
          part += u.scale * u.rows.middleCols(begin, count);
      }
    }
  });
}

/// Stores the signals of each state times the weights of the samples in scaled_.
template <Scalar S>
void HopfieldTerms<S>::scale_signals(std::span<Term> terms, const PerSample<RealOf<S>>& samples) {
  if (scaled_.size() < terms.size()) scaled_.resize(terms.size());
  for (std::size_t k = 0; k < terms.size(); ++k) {
    const ConstStateRef<S>& state = terms[k].state;
    if (scaled_[k].rows() != state.rows() || scaled_[k].cols() != state.cols())
      scaled_[k] = take_state<S>(state.rows(), state.cols());
    terms[k].scaled = &scaled_[k];
  }
  for_each_chunk(samples.size(), chunk_columns, [&](Index begin, Index count) {
    for (std::size_t k = 0; k < terms.size(); ++k)
      for (std::size_t layer = 0; layer < network().num_free(); ++layer) {
        const Signal<S> u = network().signal(layer, terms[k].state, signals_[k]);
        auto rows = rows_of(scaled_[k], network().block(layer));
        for (Index j = begin; j < begin + count; ++j) rows.col(j) = S(samples(j)) * u.rows.col(j);
      }
  });
}

/// Computes the signals of the states, scaled if the samples have weights, their weighted sum, and the derivative with
/// respect to the biases.
template <Scalar S>
void HopfieldTerms<S>::prepare_contrast(std::span<Term> terms,
                                        const PerSample<RealOf<S>>* samples) {
  signals_.resize(terms.size());
  for (std::size_t k = 0; k < terms.size(); ++k)
    network().take_signals(terms[k].state, signals_[k]);
  if (samples != nullptr) scale_signals(terms, *samples);
  if (terms.size() > 1) sum_signals(terms);
  for (std::size_t layer = 0; layer < network().num_free(); ++layer)
    sum_samples<S>(summed_signal(layer, terms), bias_gradient(layer));
}

template <Scalar S>
void HopfieldTerms<S>::show_contrast(std::span<const Term> terms, ParameterSink<S>& sink) {
  const Topology& topology = network().topology();
  const ConstStateRef<S> x = fields_->input().x(x_);
  for (const auto e : topology.from_input()) {
    const EdgeSignals<S> u{{S(1), x}, summed_signal(network().target(e), terms)};
    network().edge(e).add_products({&u, 1}, sink);
  }
  for (const auto e : topology.inner()) {
    edge_terms_.clear();
    edge_terms_.reserve(terms.size());
    for (std::size_t k = 0; k < terms.size(); ++k)
      edge_terms_.push_back({network().signal(network().source(e), terms[k].state, signals_[k]),
                             weighted_signal(network().target(e), terms, k)});
    network().edge(e).add_products(edge_terms_, sink);
  }
  show_biases(sink);
}

/// Computes the signals at s, the tangents along v, and the derivative with respect to the biases.
template <Scalar S>
void HopfieldTerms<S>::prepare_mixed_derivative(const ConstStateRef<S>& s,
                                                const ConstStateRef<S>& v, S weight) {
  fields_->take_signals(s);
  fields_->take_tangents(v);
  for (std::size_t layer = 0; layer < network().num_free(); ++layer) {
    const Signal<S> t = fields_->tangent(layer, v);
    sum_samples<S>({-weight * t.scale, t.rows}, bias_gradient(layer));
  }
}

template <Scalar S>
void HopfieldTerms<S>::show_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                             S weight, ParameterSink<S>& sink) {
  const Topology& topology = network().topology();
  const ConstStateRef<S> x = fields_->input().x(x_);
  for (const auto e : topology.from_input()) {
    Signal<S> to = fields_->tangent(network().target(e), v);
    to.scale *= -weight;
    const EdgeSignals<S> u{{S(1), x}, to};
    network().edge(e).add_products({&u, 1}, sink);
  }
  for (const auto e : topology.inner()) {
    const std::size_t a = network().source(e), b = network().target(e);
    network().edge(e).add_tangent_products(-weight, {fields_->signal(a, s), fields_->signal(b, s)},
                                           {fields_->tangent(a, v), fields_->tangent(b, v)}, sink);
  }
  show_biases(sink);
}

template <Scalar S>
void HopfieldTerms<S>::show_biases(ParameterSink<S>& sink) {
  for (std::size_t layer = 0; layer < network().num_free(); ++layer) {
    const Block& bias = network().topology().bias(layer);
    ParametersRef<S> sums = bias_gradient(layer);
    for (Index begin = bias.rows; begin < sums.size(); begin += bias.rows) {
      sums.head(bias.rows) += sums.segment(begin, bias.rows);
      sums.segment(begin, bias.rows).setZero();  // this function may be called twice
    }
    sink.numbers(bias.offset, sums.head(bias.rows));
  }
}

/// Hands a derivative to a sink; if the sink needs a bound, computes and checks the bound first.
template <Scalar S>
template <class Show>
bool HopfieldTerms<S>::give(ParameterSink<S>& sink, const Show& show) {
  if constexpr (std::floating_point<S>)
    if (sink.needs_bound()) {
      Bound<S> bound(fields_->input().x(x_).data(), fields_->input().largest_size());
      show(bound);
      if (!sink.bounded(bound.value())) return false;
    }
  show(sink);
  return true;
}

template <Scalar S>
bool HopfieldTerms<S>::contrast(std::span<const State<S>> states, std::span<const S> weights,
                                const PerSample<RealOf<S>>* samples, ParameterSink<S>& sink) {
  terms_.clear();
  terms_.reserve(states.size());
  for (std::size_t k = 0; k < states.size(); ++k) terms_.push_back({states[k], weights[k]});
  prepare_contrast(terms_, samples);
  return give(sink, [&](ParameterSink<S>& to) { show_contrast(terms_, to); });
}

template <Scalar S>
void HopfieldTerms<S>::parameter_gradient(const ConstStateRef<S>& s, S weight,
                                          ParameterSink<S>& sink) {
  Term term{s, weight};
  prepare_contrast({&term, 1}, nullptr);
  show_contrast({&term, 1}, sink);
}

template <Scalar S>
bool HopfieldTerms<S>::mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                        S weight, ParameterSink<S>& sink) {
  prepare_mixed_derivative(s, v, weight);
  return give(sink, [&](ParameterSink<S>& to) { show_mixed_derivative(s, v, weight, to); });
}

template class HopfieldTerms<float>;
template class HopfieldTerms<double>;
template class HopfieldTerms<Complex>;
template class HopfieldTerms<Dual<double>>;

}  // namespace equiprop
