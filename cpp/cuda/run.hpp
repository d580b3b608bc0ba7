#pragma once
/// A run of training steps as plain data for an engine.

#include <limits>

#include "engine.hpp"
#include "equiprop/cuda/run_record.hpp"

namespace equiprop::cuda {

/// Constants of the estimated error of a gradient; see second_phase/accuracy.hpp.
struct AccuracyFields {
  double negligible = 0, smallest_layer = 0, layer_weight = 1, most_error = 0;
};

/// The settings that all steps of a run share.
struct RunFields {
  SolverFields free, second;
  bool side_network = false;  ///< the second phase is Recurrent Backpropagation
  double side_tolerance = 0;  ///< of its linear solver
  int side_limit = 0;         ///< largest number of steps of its linear solver
  CostFields cost;
  bool classes = false;  ///< the targets are classes: the error of a sample is 0 or 1
  AccuracyFields accuracy;
  /// A gradient is cut at `clip` times the running mean of the norms, which remembers its value by `memory`.
  double clip = std::numeric_limits<double>::infinity(), memory = 0;
  /// The run stops if the objective exceeds `growth` times its start, which is at least `least`. It is that of the last
  /// `judged` samples.
  double growth = std::numeric_limits<double>::infinity(), least = 0;
  int judged = 1;
};

/// One step of a run.
struct StepFields {
  std::optional<std::size_t> first;  ///< first entry of `rows`; none: the batch is clamped already
  std::size_t samples = 0;
  std::optional<std::size_t> start;   ///< slot of the states at which the free phase starts
  std::vector<double> betas, shares;  ///< nudged phases and their weights
  UpdateFields update;
  double mean_weight = 1;  ///< mean of the weights of the samples
  Averaging averaging = Averaging::none;
  double averaging_weight = 0;  ///< weight of the parameters in their average
};

/// Arrays (parameters,) in the memory of the host that receive results of a run: parameters, averages of the optimiser,
/// and the average of the parameters, which is `mean` before the run; nullptr for one that there is not.
template <class T>
struct RunArrays {
  T *theta, *first, *second;
  const T* mean;
  T* mean_after;
};

/// Reports of the two phases of the last step, (batch,) each.
struct StepReports {
  Outcome free, second;
};

/// Samples of a data set in the memory of the host: x (inputs, samples), and labels (samples,) or targets y (outputs,
/// samples). `weights` (samples,) may be nullptr.
template <class T>
struct DataFields {
  std::size_t samples = 0;
  const T* x = nullptr;
  const T* y = nullptr;
  const int* labels = nullptr;
  const T* weights = nullptr;
};

}  // namespace equiprop::cuda
