#pragma once
/// Numbers that a run of training steps on a device changes, and its reports.

namespace equiprop::cuda {

/// Why a run takes no further steps.
enum class Stop {
  none,
  free_phase,    ///< a sample diverged in the free phase
  second_phase,  ///< a sample diverged in the second phase
  gradient,      ///< a number of the gradient is not finite
  objective      ///< the objective grew beyond its limit; the step was taken
};

/// How a step changes the average of the parameters.
enum class Averaging { none, first, later };

/// The numbers that a run changes with each step.
struct RunState {
  int stopped = 0;       ///< a Stop
  int steps = 0;         ///< number of steps of the training so far
  double mean_norm = 0;  ///< running mean of the norms of gradients; NaN before the first one
  double clipped = 0;    ///< number of gradients that were cut
  double start = 0;      ///< objective of the first step
  double recent = 0;     ///< objective of the last samples
  double scale = 1;      ///< factor of the gradient of the present step
  int go = 0;            ///< 1 if the present step changes parameters
};

/// Number of values of Status.
constexpr int statuses = 6;

/// Metrics of a step; see Metrics in equiprop/history.py.
struct StepRecord {
  double objective;          ///< mean cost of the mini-batch
  double error;              ///< see `error` of Metrics
  double free_iterations;    ///< mean number of steps of the free phase
  double second_iterations;  ///< mean number of steps of the second phase
  double residual;           ///< largest residual of the free phase
  double failed;             ///< number of samples that did not converge
  double norm;               ///< norm of the gradient before it is cut
  double gradient_error;     ///< estimated relative error of the gradient
  double free[statuses];     ///< number of samples with each status of the free phase
  double second[statuses];   ///< the same of the second phase, judged together
  double largest_error;      ///< of a sample whose gradient is inaccurate
  double stop;               ///< a Stop; -1 if the run had stopped before
};

}  // namespace equiprop::cuda
