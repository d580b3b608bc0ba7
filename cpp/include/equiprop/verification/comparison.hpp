#pragma once
/// Both processes side by side, compared while they run: what is kept of a step does not grow with the
/// network, so any number of steps of any number of parameters fits.

#include "equiprop/base/export.hpp"
#include "equiprop/verification/trajectories.hpp"

namespace equiprop {

/// A difference between two sequences, group by group of their entries.
struct Groups {
  /// `ends_` are `ends`, the last one the number of entries.
  EQUIPROP_EXPORT explicit Groups(std::vector<Index> ends_, Index steps);

  /// Compares value with reference, both flat, at step n.
  template <class Value, class Reference>
  void compare(Index n, const Value& value, const Reference& reference);

  std::vector<Index> ends;        ///< one past the last entry of each group
  State<double> difference;       ///< (groups, steps + 1): max |value - reference|
  State<double> size;             ///< (groups, steps + 1): max |reference|
  PerSample<double> product;      ///< (groups,): sum value * reference
  PerSample<double> power;        ///< (groups,): sum reference^2
  PerSample<double> value_power;  ///< (groups,): sum value^2
};

/// Which entries to keep of every step.
struct Traced {
  std::vector<Index> units;       ///< of the state
  std::vector<Index> samples;     ///< of the batch
  std::vector<Index> parameters;  ///< of theta
};

/// What compare_processes saw. Of every step the traced entries alone are kept.
struct Comparison {
  Groups states;                      ///< Stil with -D Sbar
  Groups parameters;                  ///< Thtil with Thbar
  State<double> error_states;         ///< Sbar, (samples * units, steps + 1)
  State<double> temporal_states;      ///< Stil, (samples * units, steps + 1)
  State<double> error_parameters;     ///< Thbar, (parameters, steps + 1)
  State<double> temporal_parameters;  ///< Thtil, (parameters, steps + 1)
};

/// Steps Sbar and Stil together, for groups of units (layers) and of parameters (blocks). Stil is
/// compared with -D Sbar, Thtil with Thbar. `S` is double, or dual for the limit beta -> 0. `layer_ends` and
/// `block_ends` are Groups::ends of each. Throws InvalidArgument as ProcessOptions::check does.
template <class S>
EQUIPROP_EXPORT Comparison
compare_processes(const AnyEnergy<double>& energy, const AnyCost<double>& cost,
                  const AnyEnergy<S>& nudged_energy, const AnyCost<S>& nudged_cost,
                  const ConstStateRef<double>& s_star, const NudgingRule<S>& nudging,
                  const ProcessOptions& options, const std::vector<Index>& layer_ends,
                  const std::vector<Index>& block_ends, const Traced& traced);

}  // namespace equiprop
