#include "equiprop/verification/comparison.hpp"

#include "equiprop/base/interrupt.hpp"

namespace equiprop {
namespace {

double sensitivity(double v) {
  return v;
}
double sensitivity(const Dual<double>& v) {
  return v.derivative;
}

/// Copies the traced entries to column n of `out`.
template <class S>
void trace(const State<S>& state, const Traced& traced, State<double>& out, Index n) {
  Index k = 0;
  for (const Index sample : traced.samples)
    for (const Index unit : traced.units) out(k++, n) = sensitivity(state(unit, sample));
}

template <class S>
void trace(const Parameters<S>& parameters, const Traced& traced, State<double>& out, Index n) {
  Index k = 0;
  for (const Index i : traced.parameters) out(k++, n) = sensitivity(parameters(i));
}

}  // namespace

Groups::Groups(std::vector<Index> ends_, Index steps)
    : ends(std::move(ends_)),
      difference(State<double>::Zero(static_cast<Index>(ends.size()), steps + 1)),
      size(difference),
      product(PerSample<double>::Zero(difference.rows())),
      power(product),
      value_power(product) {}

template <class Value, class Reference>
void Groups::compare(Index n, const Value& value, const Reference& reference) {
  Index begin = 0;
  for (Index g = 0; g < difference.rows(); ++g) {
    double largest = 0, scale = 0, inner = 0, square = 0, other = 0;
    for (Index i = begin; i < ends[static_cast<std::size_t>(g)]; ++i) {
      const double a = value(i), b = reference(i), gap = std::abs(a - b);
      if (!(gap <= largest) && !std::isnan(largest)) largest = gap;  // a NaN is kept
      scale = std::max(scale, std::abs(b));
      inner += a * b;
      square += b * b;
      other += a * a;
    }
    begin = ends[static_cast<std::size_t>(g)];
    difference(g, n) =
        std::isnan(difference(g, n)) || largest <= difference(g, n) ? difference(g, n) : largest;
    size(g, n) = std::max(size(g, n), scale);
    product(g) += inner;
    power(g) += square;
    value_power(g) += other;
  }
}

template <class S>
Comparison compare_processes(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                             const AnyEnergy<S>& nudged_energy, const AnyCost<S>& nudged_cost,
                             const ConstStateRef<double>& s_star, const NudgingRule<S>& nudging,
                             const ProcessOptions& options, const std::vector<Index>& layer_ends,
                             const std::vector<Index>& block_ends, const Traced& traced) {
  ErrorProcess error(energy, cost, s_star, options);
  TemporalProcess<S> temporal(nudged_energy, nudged_cost, s_star.template cast<S>(), nudging,
                              options);
  const auto kept = static_cast<Index>(traced.units.size() * traced.samples.size());
  const auto thetas = static_cast<Index>(traced.parameters.size());
  Comparison out{Groups(layer_ends, options.steps),
                 Groups(block_ends, options.steps),
                 State<double>::Zero(kept, options.steps + 1),
                 State<double>::Zero(kept, options.steps + 1),
                 State<double>::Zero(thetas, options.steps + 1),
                 State<double>::Zero(thetas, options.steps + 1)};
  for (Index n = 0; n <= options.steps; ++n) {
    poll_interrupt();
    for (Index j = 0; j < s_star.cols(); ++j)
      out.states.compare(
          n, [&](Index i) { return sensitivity(temporal.state()(i, j)); },
          [&](Index i) { return -error.free_units()(i, j) * error.state()(i, j); });
    out.parameters.compare(
        n, [&](Index i) { return sensitivity(temporal.parameters()(i)); },
        [&](Index i) { return error.parameters()(i); });
    trace(error.state(), traced, out.error_states, n);
    trace(temporal.state(), traced, out.temporal_states, n);
    trace(error.parameters(), traced, out.error_parameters, n);
    trace(temporal.parameters(), traced, out.temporal_parameters, n);
    if (n == options.steps) break;
    error.step();
    temporal.step();
  }
  return out;
}

#define INSTANTIATE(S)                                                                          \
  template Comparison compare_processes(                                                        \
      const AnyEnergy<double>&, const AnyCost<double>&, const AnyEnergy<S>&, const AnyCost<S>&, \
      const ConstStateRef<double>&, const NudgingRule<S>&, const ProcessOptions&,               \
      const std::vector<Index>&, const std::vector<Index>&, const Traced&);
INSTANTIATE(double)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
