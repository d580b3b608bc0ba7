#pragma once
/// Runs of training steps on a device: the host prepares them, and waits once, at their end.

#include <limits>
#include <optional>
#include <vector>

#include "equiprop/cuda/run_record.hpp"
#include "equiprop/linear/linear_solver.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::cuda {

/// Settings that all steps of a run share.
template <std::floating_point T>
struct RunSettings {
  Solver free, nudged;  ///< solvers of the phases
  std::optional<ConjugateGradient>
      side_network;        ///< given for Recurrent Backpropagation, which needs no nudged phases
  double logit_scale = 0;  ///< 0 for the squared error
  bool classes = false;    ///< targets are classes; see StepRecord::error
  bool adam = false;       ///< the step is that of AdamStep, otherwise that of MomentumStep
  T momentum = 0, decay = 0, beta1 = 0, beta2 = 0, epsilon = 0;  ///< numbers of the optimiser
  /// A gradient is cut at `clip` times the running mean of the norms, which keeps `memory` of its value in each step.
  double clip = std::numeric_limits<double>::infinity(), memory = 0;
  /// The run stops after a step whose objective exceeds `growth` times that of the start, which counts as at least
  /// `least`. The mean over the last `judged` samples counts.
  double growth = std::numeric_limits<double>::infinity(), least = 0;
  Index judged = 1;
};

/// One step of a run.
template <std::floating_point T>
struct RunStep {
  std::optional<Index>
      first;  ///< its first entry in the list of samples; none: on the batch that is clamped
  Index samples = 0;  ///< number of samples
  std::optional<Slot>
      start;  ///< slot with the states at which the free phase starts, other than free_slot
  NudgingRule<T> rule;                 ///< nudged phases; unused by Recurrent Backpropagation
  BlockRates<T> rates;                 ///< learning rates
  T correction1 = 1, correction2 = 1;  ///< see AdamStep
  double mean_weight = 1;              ///< mean of the weights of the samples
  Averaging averaging = Averaging::none;
  T averaging_weight = 0;  ///< weight of the parameters in their average
};

/// Samples in the memory of the host: x (inputs, samples), and labels (samples,) or targets y (outputs, samples).
/// `weights` (samples,) may be nullptr.
template <std::floating_point T>
struct HeldSamples {
  Index count = 0;
  const T* x = nullptr;
  const T* y = nullptr;
  const int* labels = nullptr;
  const T* weights = nullptr;
};

/// Results of a run: metrics of its steps, and arrays (parameters,) after it: parameters, averages of the optimiser (the
/// velocity, or mean and mean square), and the average of the parameters; empty if there is none.
template <std::floating_point T>
struct RunResult {
  std::vector<StepRecord> records;
  Parameters<T> theta, first, second, mean;
};

/// Reports of the phases of the last step of a run.
struct RunReports {
  Report free, second;
};

}  // namespace equiprop::cuda
