#pragma once
/// Both processes side by side, compared while they run: what is kept of a step does not grow with the
/// network, so any number of steps of any number of parameters fits.

#include "equiprop/verification/trajectories.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// A difference between two sequences, group by group of their entries.
struct Groups {
  explicit Groups(std::vector<Index> ends_, Index steps);

  /// Compares value with reference, both flat, at step n.
  template <class Value, class Reference>
  void compare(Index n, const Value& value, const Reference& reference);

  std::vector<Index> ends;         // one past the last entry of each group
  State<double> difference, size;  // (groups, steps + 1): max |value - reference|, max |reference|
  PerSample<double> product, power;  // (groups,): sum value * reference, sum reference^2
  PerSample<double> value_power;     // (groups,): sum value^2
};

/// Which entries to keep of every step.
struct Traced {
  std::vector<Index> units, samples, parameters;
};

struct Comparison {
  Groups states, parameters;
  State<double> error_states, temporal_states;          // (samples * units, steps + 1)
  State<double> error_parameters, temporal_parameters;  // (parameters, steps + 1)
};

/// Steps Sbar and Stil together, for groups of units (layers) and of parameters (blocks). Stil is
/// compared with -D Sbar, Thtil with Thbar. `S` is double, or dual for the limit beta -> 0.
template <class S>
Comparison compare_processes(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                             const AnyEnergy<S>& nudged_energy, const AnyCost<S>& nudged_cost,
                             const ConstStateRef<double>& s_star, const NudgingRule<S>& nudging,
                             const ProcessOptions& options, const std::vector<Index>& layer_ends,
                             const std::vector<Index>& block_ends, const Traced& traced);

}  // namespace equiprop
