#pragma once
/// Kernels of a run of training steps that decide whether a step is taken, and average the parameters.

#include "judge.cuh"

namespace equiprop::cuda {

constexpr unsigned norm_blocks = judging_threads;

/// parts[block] = sum of squares of a gradient; not finite if a number is not finite, or if the sum overflows.
template <class T>
__global__ void measure(std::ptrdiff_t count, const T* gradient, double* parts) {
  constexpr int group = 16;
  double* const sums = shared_memory<double>();
  double sum = 0;
  const std::ptrdiff_t stride = std::ptrdiff_t(gridDim.x) * blockDim.x;
  for (std::ptrdiff_t e = std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x; e < count;
       e += stride) {
    const double g = gradient[e];
    sum += g * g;
  }
  const int threads = static_cast<int>(blockDim.x), t = static_cast<int>(threadIdx.x);
  sums[t] = sum;
  __syncthreads();
  if (t % group == 0)
    for (int other = t + 1; other < t + group; ++other) sums[t] += sums[other];
  __syncthreads();
  if (t != 0) return;
  for (int other = group; other < threads; other += group) sums[0] += sums[other];
  parts[blockIdx.x] = sums[0];
}

/// All that decides about a step: results of its samples, (batch,) each, and parts of the norm of its gradient.
template <class T>
struct Closing {
  int batch;
  bool classes;
  const double *objective, *mistake;
  const T* weights;  ///< of the samples, or nullptr
  PhaseReport<T> free, second;
  const double* parts;
  int norm_parts;  ///< number of parts
  double most_error, clip, memory, growth, least, mean_weight;
  int judged;
  RunState* state;
  StepRecord* record;
};

/// Sums over the samples of a batch.
enum Sum {
  cost_sum,
  mistake_sum,
  weight_sum,
  square_sum,
  free_step_sum,
  second_step_sum,
  largest_residual,
  free_sum,
  second_sum = free_sum + statuses,
  failed_sum = second_sum + statuses,  // inaccurate samples have failed
  really_failed_sum,                   // they have not
  largest_error_of,
  norm_sum,
  num_sums
};
__device__ inline bool is_largest(int sum) {
  return sum == largest_residual || sum == largest_error_of;
}

/// Adds sample j to the sums of a thread, which are `judging_threads` apart.
template <class T>
__device__ void add_sample(const Closing<T>& of, int j, double* sums) {
  const auto add = [sums](int sum, double number) { sums[sum * judging_threads] += number; };
  const auto raise = [sums](int sum, double number) {
    sums[sum * judging_threads] = larger(sums[sum * judging_threads], number);
  };
  const double weight = of.weights == nullptr ? 1 : double(of.weights[j]);
  const double error = of.second.error[j];
  const int free = of.free.status[j], second = of.second.status[j];
  add(cost_sum, weight * of.objective[j]);
  add(mistake_sum, weight * of.mistake[j]);
  add(weight_sum, weight);
  add(square_sum, error * error);
  add(free_step_sum, of.free.iterations[j]);
  add(second_step_sum, of.second.iterations[j]);
  raise(largest_residual, of.free.residual[j]);
  add(free_sum + free, 1);
  add(second_sum + second, 1);
  const bool failed = free > fixed_steps || second > inaccurate;
  add(failed_sum, failed || second == inaccurate ? 1 : 0);
  add(really_failed_sum, failed ? 1 : 0);
  if (second == inaccurate) raise(largest_error_of, error);
}

/// Writes the metrics of a step, but for its norm and its end.
template <class T>
__device__ void write_record(const Closing<T>& of, const double* sums, StepRecord& record) {
  const double batch = of.batch;
  const double mistakes = sums[weight_sum] > 0 ? sums[mistake_sum] / sums[weight_sum] : 0;
  record.objective = sums[cost_sum] / batch;
  record.error = of.classes ? mistakes : std::sqrt(mistakes);
  record.free_iterations = sums[free_step_sum] / batch;
  record.second_iterations = sums[second_step_sum] / batch;
  record.residual = sums[largest_residual];
  record.gradient_error = std::sqrt(sums[square_sum] / batch);
  const bool accurate = record.gradient_error <= of.most_error;
  record.failed = sums[accurate ? really_failed_sum : failed_sum];
  record.largest_error = sums[largest_error_of];
  for (int s = 0; s < statuses; ++s) {
    record.free[s] = sums[free_sum + s];
    record.second[s] = sums[second_sum + s];
  }
  if (!accurate) return;
  record.second[converged] += record.second[inaccurate];
  record.second[inaccurate] = 0;
}

/// Cuts the gradient at a multiple of the running mean of the norms; see Clipping in equiprop/clipping.py.
template <class T>
__device__ void cut(const Closing<T>& of, double norm, RunState& state) {
  const double infinity = std::numeric_limits<double>::infinity();
  const bool first = state.mean_norm != state.mean_norm;
  const double largest = first ? infinity : of.clip * state.mean_norm;
  state.scale = norm > largest ? largest / norm : 1;
  state.clipped += norm > largest ? 1 : 0;
  const double counted = norm > largest ? largest : norm;
  state.mean_norm = first ? counted : of.memory * state.mean_norm + (1 - of.memory) * counted;
}

/// Returns true if the objective of a step is beyond its limit; see Health.has_run_away in equiprop/health.py.
template <class T>
__device__ bool has_run_away(const Closing<T>& of, double objective, RunState& state) {
  const bool finite = objective - objective == 0;
  if (state.steps == 0 && finite) {
    state.start = larger(state.start, objective);
    state.start = larger(state.start, of.least);
  }
  const bool whole = state.steps == 0 || of.batch >= of.judged || !finite;
  state.recent =
      whole ? objective : state.recent + (objective - state.recent) * of.batch / of.judged;
  return !(state.recent <= of.growth * state.start);
}

/// Decides whether the step is taken, and whether others follow.
template <class T>
__device__ void decide(const Closing<T>& of, const double* sums, StepRecord& record) {
  RunState& state = *of.state;
  state.go = 0;
  record.norm = std::numeric_limits<double>::quiet_NaN();
  record.stop = -1;
  if (state.stopped != 0) return;
  const Stop stop = record.free[diverged] > 0     ? Stop::free_phase
                    : record.second[diverged] > 0 ? Stop::second_phase
                    : !is_finite(sums[norm_sum])  ? Stop::gradient
                                                  : Stop::none;
  if (stop == Stop::none) {
    state.go = 1;
    state.scale = 1;
    if (of.clip != std::numeric_limits<double>::infinity()) {
      record.norm = std::sqrt(sums[norm_sum]);
      cut(of, record.norm, state);
    }
    const bool away = has_run_away(of, record.objective / of.mean_weight, state);
    state.steps += 1;
    state.stopped = static_cast<int>(away ? Stop::objective : Stop::none);
  } else {
    state.stopped = static_cast<int>(stop);
  }
  record.stop = state.stopped;
}

/// One block of judging_threads.
template <class T>
__global__ void close_step(const __grid_constant__ Closing<T> of) {
  double* const sums = shared_memory<double>();
  double* const totals = sums + num_sums * judging_threads;
  const int t = static_cast<int>(threadIdx.x);
  for (int sum = 0; sum < num_sums; ++sum) sums[t + sum * judging_threads] = 0;
  for (int j = t; j < of.batch; j += judging_threads) add_sample(of, j, sums + t);
  if (t < of.norm_parts) sums[t + norm_sum * judging_threads] = of.parts[t];
  __syncthreads();
  if (t < num_sums) {
    const double* mine = sums + t * judging_threads;
    double total = mine[0];
    for (int other = 1; other < judging_threads; ++other)
      total = is_largest(t) ? larger(total, mine[other]) : total + mine[other];
    totals[t] = total;
  }
  __syncthreads();
  if (t != 0) return;
  write_record(of, totals, *of.record);
  decide(of, totals, *of.record);
}

/// mean = theta, or moved towards theta by `weight` of the difference, if the step was taken; see Average in
/// equiprop/averaging.py.
template <class T>
__global__ void move_average(std::ptrdiff_t count, const T* theta, T* mean, bool first, T weight,
                             const RunState* state) {
  const std::ptrdiff_t e = std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= count || state->go == 0) return;
  mean[e] = first ? theta[e] : mean[e] + (theta[e] - mean[e]) * weight;
}

}  // namespace equiprop::cuda
