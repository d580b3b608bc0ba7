#pragma once
/// The result of every second phase: dJ/dtheta and dJ/dx of the mean cost J at the fixed point.

#include "equiprop/base/report.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop {

/// The derivatives that a second phase computes. dJ/dx costs one more product with the weights of the input, and
/// training does not need it.
enum class Wanted { parameters, everything };

/// Result of a second phase; sums over samples are divided by the batch size. J = sum_j w_j C_j / batch, with the
/// weights of the cost (AnyCost::weighted).
template <class S>
struct Gradient {
  Parameters<S> parameters;  ///< dJ/dtheta, (parameters,), or empty if it went to a sink
  State<S> inputs;  ///< dJ/dx, (inputs, batch), or (0, batch) if only parameters are wanted
  S objective{};    ///< J at s*
  Report report;    ///< report of the second phase
};

/// Throws InvalidArgument unless the shapes of energy, cost and s_star (units, batch) agree.
template <class S>
void check_fixed_point(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                       const ConstStateRef<S>& s_star) {
  check_cost(energy, cost);
  require(s_star.rows() == energy.num_units() && s_star.cols() > 0, "second_phase",
          "The state is (units, batch) with at least one sample.", s_star.rows(), " x ",
          s_star.cols());
  require(cost.batch() == s_star.cols(), "second_phase", "Each sample has one target.",
          cost.batch(), " targets for ", s_star.cols(), " samples");
}

/// Returns zero derivatives of the right shapes, and the objective at s_star (units, batch).
template <class S>
Gradient<S> start_gradient(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                           const ConstStateRef<S>& s_star, Wanted wanted) {
  check_fixed_point<S>(energy, cost, s_star);
  PerSample<S> cost_value(s_star.cols());
  cost.value(s_star.bottomRows(cost.num_rows()), cost_value);
  return {Parameters<S>::Zero(energy.num_parameters()),
          State<S>::Zero(wanted == Wanted::everything ? energy.num_inputs() : 0, s_star.cols()),
          weighted_mean<S>(cost_value, cost.sample_weights()), Report(s_star.cols())};
}

}  // namespace equiprop
