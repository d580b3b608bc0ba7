#pragma once
/// Rules of Equilibrium Propagation as data: nodes beta_k and weights w_k with
/// dJ/dtheta ~ sum_k w_k dF/dtheta(s^{beta_k}).

#include <numbers>
#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/scalar.hpp"

namespace equiprop {

/// One nudged phase and its weight in the sum.
template <class S>
struct NudgingNode {
  S beta;    ///< nudging factor beta_k
  S weight;  ///< weight w_k
};

/// The nodes of a rule.
template <class S>
using NudgingRule = std::vector<NudgingNode<S>>;

namespace detail {

inline void check_beta(double beta, std::string_view where) {
  require(std::isfinite(beta) && beta != 0, where, "beta is a finite number other than 0.", beta);
}

}  // namespace detail

/// Returns the rule (g(beta) - g(0)) / beta, with g = dF/dtheta at the nudged state; its error is O(beta) (Scellier &
/// Bengio 2017). beta may be negative. The node at 0 is relaxed for as many steps as the other one, so that the error
/// of an unfinished free phase cancels.
template <class S>
NudgingRule<S> one_sided(double beta) {
  detail::check_beta(beta, "one_sided");
  const auto b = static_cast<RealOf<S>>(beta);
  return {{S(0), S(-1 / b)}, {S(b), S(1 / b)}};
}

/// Returns the rule (g(beta) - g(-beta)) / (2 beta), with g = dF/dtheta at the nudged state; its error is O(beta^2)
/// (Laborieux et al. 2021).
template <class S>
NudgingRule<S> centered(double beta) {
  detail::check_beta(beta, "centered");
  const auto b = static_cast<RealOf<S>>(beta);
  return {{S(-b), S(-1 / (2 * b))}, {S(b), S(1 / (2 * b))}};
}

/// Returns Cauchy's integral over `points` nodes on the circle |beta| = radius; its error is O(radius^points) if the
/// energy is holomorphic inside the circle (Laborieux & Zenke 2022). g at the conjugate of beta is the conjugate of g
/// at beta, so the rule has only the nodes of the upper half circle, and the estimate is the real part of the sum.
inline NudgingRule<Complex> holomorphic(double radius, int points) {
  detail::check_beta(radius, "holomorphic");
  require(points >= 2 && points % 2 == 0, "holomorphic", "The number of points is even.", points);
  NudgingRule<Complex> rule;
  for (int k = 0; 2 * k <= points; ++k) {
    const double angle = 2 * std::numbers::pi * k / points;
    const bool real = k == 0 || 2 * k == points;
    const Complex turn = real ? Complex(k == 0 ? 1 : -1) : std::polar(1.0, angle);
    rule.push_back({radius * turn, std::conj(turn) * ((real ? 1 : 2) / (points * radius))});
  }
  return rule;
}

/// Returns the rule for dg/dbeta at 0, exactly: the derivative part of a relaxation with the dual number beta = 0 + e.
inline NudgingRule<Dual<double>> exact_limit() {
  return {{Dual<double>(0, 1), Dual<double>(1)}};
}

}  // namespace equiprop
