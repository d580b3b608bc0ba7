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
  Solver free;    ///< solver of the free phase
  Solver nudged;  ///< solver of the nudged phases
  std::optional<ConjugateGradient>
      side_network;        ///< given for Recurrent Backpropagation, which needs no nudged phases
  double logit_scale = 0;  ///< 0 for the squared error
  bool classes = false;    ///< targets are classes; see StepRecord::error
  bool adam = false;       ///< the step is that of AdamStep, otherwise that of MomentumStep
  T momentum = 0;          ///< momentum of SGD
  T decay = 0;             ///< weight decay
  T beta1 = 0;             ///< decay rate of Adam's mean
  T beta2 = 0;             ///< decay rate of Adam's mean square
  T epsilon = 0;           ///< lower bound of Adam's divisor
  /// A gradient is cut at `clip` times the running mean of the norms.
  double clip = std::numeric_limits<double>::infinity();
  double memory = 0;  ///< part of its value that the running mean of the norms keeps in each step
  /// The run stops after a step whose objective exceeds `growth` times that of the start.
  double growth = std::numeric_limits<double>::infinity();
  double least = 0;  ///< least objective of the start for `growth`
  Index judged = 1;  ///< number of the last samples whose mean objective is compared
};

/// One step of a run.
template <std::floating_point T>
struct RunStep {
  std::optional<Index>
      first;  ///< its first entry in the list of samples; none: on the batch that is clamped
  Index samples = 0;  ///< number of samples
  std::optional<Slot>
      start;  ///< slot with the states at which the free phase starts, other than free_slot
  NudgingRule<T> rule;                    ///< nudged phases; unused by Recurrent Backpropagation
  BlockRates<T> rates;                    ///< learning rates
  T correction1 = 1;                      ///< see AdamStep
  T correction2 = 1;                      ///< see AdamStep
  double mean_weight = 1;                 ///< mean of the weights of the samples
  Averaging averaging = Averaging::none;  ///< change of the average of the parameters
  T averaging_weight = 0;                 ///< weight of the parameters in their average
};

/// Samples in the memory of the host, with targets or labels.
template <std::floating_point T>
struct HeldSamples {
  Index count = 0;              ///< number of samples
  const T* x = nullptr;         ///< inputs (inputs, samples)
  const T* y = nullptr;         ///< targets (outputs, samples), or nullptr
  const int* labels = nullptr;  ///< labels (samples,), or nullptr
  const T* weights = nullptr;   ///< weights of the samples (samples,), or nullptr
};

/// Results of a run; arrays that do not exist are empty.
template <std::floating_point T>
struct RunResult {
  std::vector<StepRecord> records;  ///< metrics of the steps
  Parameters<T> theta;              ///< parameters after the run
  Parameters<T> first;              ///< velocity of SGD, or Adam's mean
  Parameters<T> second;             ///< Adam's mean square
  Parameters<T> mean;               ///< average of the parameters
};

/// Reports of the phases of the last step of a run.
struct RunReports {
  Report free;    ///< report of the free phase
  Report second;  ///< report of the second phase
};

}  // namespace equiprop::cuda
