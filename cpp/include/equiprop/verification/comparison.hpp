#pragma once
/// Comparison of both processes while they run. The memory per step does not depend on the size of the network, so any
/// number of steps and parameters fits.

#include "equiprop/base/export.hpp"
#include "equiprop/verification/trajectories.hpp"

namespace equiprop {

/// The difference between two sequences, for groups of their entries.
struct Groups {
  /// Creates groups with ends `ends_`; the last one is the number of entries.
  EQUIPROP_EXPORT explicit Groups(std::vector<Index> ends_, Index steps);

  /// Compares `value` with `reference` at step n; both are flat.
  template <class Value, class Reference>
  void compare(Index n, const Value& value, const Reference& reference);

  std::vector<Index> ends;        ///< one past the last entry of each group
  State<double> difference;       ///< (groups, steps + 1): max |value - reference|
  State<double> size;             ///< (groups, steps + 1): max |reference|
  PerSample<double> product;      ///< (groups,): sum value * reference
  PerSample<double> power;        ///< (groups,): sum reference^2
  PerSample<double> value_power;  ///< (groups,): sum value^2
};

/// Indices of the entries to store at every step.
struct Traced {
  std::vector<Index> units;       ///< units of the state
  std::vector<Index> samples;     ///< samples of the batch
  std::vector<Index> parameters;  ///< parameters in theta
};

/// Result of compare_processes. Only the traced entries are stored at every step.
struct Comparison {
  Groups states;                      ///< Stil compared with -D Sbar
  Groups parameters;                  ///< Thtil compared with Thbar
  State<double> error_states;         ///< Sbar, (samples * units, steps + 1)
  State<double> temporal_states;      ///< Stil, (samples * units, steps + 1)
  State<double> error_parameters;     ///< Thbar, (parameters, steps + 1)
  State<double> temporal_parameters;  ///< Thtil, (parameters, steps + 1)
};

/// Runs both processes and compares, for groups of units (layers) and of parameters (blocks), Stil with -D Sbar and
/// Thtil with Thbar at every step. S is double, or dual for the limit beta -> 0. `layer_ends` and `block_ends` are the
/// Groups::ends of states and parameters. Throws InvalidArgument if an option is out of range.
template <class S>
EQUIPROP_EXPORT Comparison
compare_processes(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                  const AnyEnergy<S>& nudged_energy, const AnyCost<S>& nudged_cost,
                  const ConstStateRef<double>& s_star, const NudgingRule<S>& nudging,
                  const ProcessOptions& options, const std::vector<Index>& layer_ends,
                  const std::vector<Index>& block_ends, const Traced& traced);

}  // namespace equiprop
