#include "equiprop/base/parameter_sink.hpp"

#include <algorithm>

namespace equiprop {
namespace {

/// Returns the learning rate of parameter `at`.
template <class S>
S rate_at(const BlockRates<S>& rates, Index at) {
  const auto behind =
      std::upper_bound(rates.begin(), rates.end(), at,
                       [](Index begin, const auto& rate) { return begin < rate.begin; });
  return std::prev(behind)->rate;
}

template <class S>
void check_rates(const BlockRates<S>& rates) {
  const bool ordered = std::is_sorted(
      rates.begin(), rates.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  require(!rates.empty() && rates.front().begin == 0 && ordered, "ParameterSink",
          "Rates are ordered by their first parameter, which is 0 for the first of them.",
          rates.size(), " rates");
}

/// Calls run(begin, count, rate) for each piece of [begin, begin + size) that has one rate.
template <class S, class Run>
void for_each_rate(const BlockRates<S>& rates, Index begin, Index size, const Run& run) {
  const Index end = begin + size;
  for (std::size_t i = 0; i < rates.size(); ++i) {
    const Index from = std::max(begin, rates[i].begin);
    const Index to = i + 1 < rates.size() ? std::min(end, rates[i + 1].begin) : end;
    if (from < to) run(from, to - from, rates[i].rate);
  }
}

/// Returns the Euclidean norm, summed in double precision by pieces whose order does not depend on the memory.
template <class S>
double euclidean_norm(const ConstParametersRef<S>& v) {
  constexpr Index lanes = 16;
  Eigen::Array<double, lanes, 1> sums = Eigen::Array<double, lanes, 1>::Zero();
  Index i = 0;
  for (; i + lanes <= v.size(); i += lanes)
    for (Index k = 0; k < lanes; ++k) {
      const auto number = static_cast<double>(v(i + k));
      sums(k) += number * number;
    }
  for (; i < v.size(); ++i) sums(0) += static_cast<double>(v(i)) * static_cast<double>(v(i));
  double total = 0;
  for (Index k = 0; k < lanes; ++k) total += sums(k);
  return std::sqrt(total);
}

/// Returns true if neither a sum with this bound nor its update with a learning rate below 1e6 can overflow.
template <class S>
bool leaves_room(double bound) {
  constexpr auto limits = std::numeric_limits<S>();
  return bound <= static_cast<double>(limits.max()) * static_cast<double>(limits.epsilon());
}

}  // namespace

template <Scalar S>
void AddTo<S>::products(const Block& weights, std::span<const OuterProduct<S>> terms) {
  Eigen::Map<State<S>> out(sum_.data() + weights.offset, weights.rows, weights.columns);
  if constexpr (std::floating_point<S>)
    add_outer_products<S>(terms, out);
  else
    for_each_chunk(out.cols(), Index{128}, [&](Index begin, Index count) {
      for (const auto& [scale, a, b] : terms)
        add_product<S>(scale, a, Op::none, b.middleRows(begin, count), Op::transpose,
                       out.middleCols(begin, count));
    });
}

template <Scalar S>
void AddTo<S>::numbers(Index begin, const ConstParametersRef<S>& sums) {
  sum_.segment(begin, sums.size()) += sums;
}

template <std::floating_point S>
DescendSGD<S>::DescendSGD(ParametersRef<S> theta, ParametersRef<S> velocity, BlockRates<S> rates,
                          S momentum, S decay)
    : theta_(theta),
      velocity_(velocity),
      rates_(std::move(rates)),
      momentum_(momentum),
      decay_(decay) {
  check_rates(rates_);
  require(velocity_.size() == theta_.size() || (velocity_.size() == 0 && momentum == 0),
          "DescendSGD", "The velocity has one number for each parameter.", velocity_.size(),
          " for ", theta_.size());
}

template <std::floating_point S>
bool DescendSGD<S>::bounded(double bound) {
  return leaves_room<S>(bound);
}

template <std::floating_point S>
void DescendSGD<S>::products(const Block& weights, std::span<const OuterProduct<S>> terms) {
  descend<S>(terms,
             Descending<S>{{rate_at(rates_, weights.offset), momentum_, decay_}, theta_, velocity_},
             weights.offset);
}

template <std::floating_point S>
void DescendSGD<S>::numbers(Index begin, const ConstParametersRef<S>& sums) {
  for_each_rate(rates_, begin, sums.size(), [&](Index at, Index count, S rate) {
    const Descending<S> step{{rate, momentum_, decay_}, theta_, velocity_};
    step.apply(at, sums.segment(at - begin, count));
  });
}

template <std::floating_point S>
DescendAdam<S>::DescendAdam(ParametersRef<S> theta, ParametersRef<S> mean, ParametersRef<S> square,
                            BlockRates<S> rates, const AdamStep<S>& step)
    : theta_(theta), mean_(mean), square_(square), rates_(std::move(rates)), step_(step) {
  check_rates(rates_);
  require(mean_.size() == theta_.size() && square_.size() == theta_.size(), "DescendAdam",
          "The averages have one number for each parameter.", mean_.size(), " and ", square_.size(),
          " for ", theta_.size());
}

template <std::floating_point S>
bool DescendAdam<S>::bounded(double bound) {
  return leaves_room<S>(bound);
}

template <std::floating_point S>
void DescendAdam<S>::products(const Block& weights, std::span<const OuterProduct<S>> terms) {
  AdamStep<S> step = step_;
  step.rate = rate_at(rates_, weights.offset);
  descend<S>(terms, AdamDescending<S>{step, theta_, mean_, square_}, weights.offset);
}

template <std::floating_point S>
void DescendAdam<S>::numbers(Index begin, const ConstParametersRef<S>& sums) {
  for_each_rate(rates_, begin, sums.size(), [&](Index at, Index count, S rate) {
    AdamStep<S> step = step_;
    step.rate = rate;
    for_each_chunk(count, update_chunk, [&](Index from, Index size) {
      step.apply(theta_.segment(at + from, size), sums.segment(at - begin + from, size),
                 mean_.segment(at + from, size), square_.segment(at + from, size));
    });
  });
}

template <std::floating_point S>
void ClipTo<S>::products(const Block&, std::span<const OuterProduct<S>>) {
  require(false, "ClipTo", "The whole derivative is summed first.", "outer products");
}

template <std::floating_point S>
void ClipTo<S>::numbers(Index begin, const ConstParametersRef<S>& sums) {
  norm_ = euclidean_norm<S>(sums);
  if (!std::isfinite(norm_)) return;
  if (norm_ <= limit_) return sink_.numbers(begin, sums);
  const Parameters<S> clipped = sums * static_cast<S>(limit_ / norm_);
  sink_.numbers(begin, clipped);
}

template <std::floating_point S>
void Bound<S>::products(const Block&, std::span<const OuterProduct<S>> terms) {
  // An entry of a b^T is at most the number of samples times the product of the largest entries of a and b.
  const auto size = [&](const ConstStateRef<S>& a) {
    return a.data() == x_ ? largest_x_ : static_cast<double>(largest_size<S>(a));
  };
  double sum = 0;
  for (const auto& [scale, a, b] : terms)
    sum += static_cast<double>(a.cols()) * std::abs(scale) * size(a) * size(b);
  raise_to(sum, value_);
}

template <std::floating_point S>
void Bound<S>::numbers(Index, const ConstParametersRef<S>& sums) {
  raise_to(static_cast<double>(largest_size<S>(ConstStateRef<S>(sums))), value_);
}

template class AddTo<float>;
template class AddTo<double>;
template class AddTo<Complex>;
template class AddTo<Dual<double>>;
template class DescendSGD<float>;
template class DescendSGD<double>;
template class DescendAdam<float>;
template class DescendAdam<double>;
template class ClipTo<float>;
template class ClipTo<double>;
template class Bound<float>;
template class Bound<double>;

}  // namespace equiprop
