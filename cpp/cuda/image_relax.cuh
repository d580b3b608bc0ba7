#pragma once
/// The start and the end of a relaxation of a network with images, and what lies between two sweeps.

#include "image_pass.cuh"
#include "loop.cuh"

namespace equiprop::cuda {

/// The number of this thread in the launch.
__device__ __forceinline__ std::ptrdiff_t thread_number() {
  return std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x;
}
/// The units of the layer that holds a unit.
template <class T>
__device__ __forceinline__ const Units<T>& units_at(const ImageView<T>& view, int unit) {
  int k = 0;
  while (k + 1 < view.layers && unit >= view.layer[k + 1].begin) ++k;
  return view.layer[k].rho;
}
template <class T>
__device__ __forceinline__ T beginning(const ImagePhase<T>& phase, const Units<T>& rho, int unit,
                                       int sample) {
  const T* start = phase.settings->start;
  return start == nullptr
             ? rho.rest()
             : start[unit + std::ptrdiff_t(phase.in_batch(sample)) * phase.view->units];
}

/// Launched on units * samples threads.
template <class T>
__global__ void begin_images(const __grid_constant__ ImagePhase<T> phase) {
  const std::ptrdiff_t e = thread_number();
  const int units = phase.view->units;
  const int unit = static_cast<int>(e % units), sample = static_cast<int>(e / units);
  if (sample >= phase.samples) return;
  if (unit == 0) {
    phase.progress[sample].begin(phase.settings->stopping);
    phase.change[sample] = 0;
  }
  const Units<T>& rho = units_at(*phase.view, unit);
  const T s = beginning(phase, rho, unit, sample);
  phase.state[e] = s;
  if (phase.own_signals()) phase.signals[e] = rho.signal(s);
}

/// The numbers that all outputs of a sample share in the cross-entropy; launched on `samples` threads.
template <class T>
__global__ void share_logits(const __grid_constant__ ImagePhase<T> phase) {
  const int sample = static_cast<int>(thread_number());
  if (sample >= phase.samples) return;
  const int units = phase.view->units;
  const T* s = phase.state + std::ptrdiff_t(sample + 1) * units - phase.outputs;
  const T* y = phase.y + std::ptrdiff_t(phase.in_batch(sample)) * phase.outputs;
  T top = s[0], partition = 0, weight = 0;
  for (int i = 1; i < phase.outputs; ++i) top = larger(top, s[i]);
  for (int i = 0; i < phase.outputs; ++i) {
    partition += scalar::exp<T>(phase.settings->logit_scale * (s[i] - top));
    weight += y[i];
  }
  phase.shares[sample] = top;
  phase.shares[phase.samples + sample] = partition;
  phase.shares[2 * phase.samples + sample] = weight;
}

/// Moves the samples that step to `next`; launched on units * samples threads.
template <class T>
__global__ void take_images(const __grid_constant__ ImagePhase<T> phase) {
  const std::ptrdiff_t e = thread_number();
  const int units = phase.view->units;
  const int unit = static_cast<int>(e % units), sample = static_cast<int>(e / units);
  if (sample >= phase.samples || phase.progress[sample].state != stepping) return;
  phase.state[e] = phase.next[e];
  if (phase.own_signals()) phase.signals[e] = units_at(*phase.view, unit).signal(phase.next[e]);
}

/// Returns true in all threads of a block if `mine` is true in one; `found` holds one number for each warp.
__device__ __forceinline__ bool any_thread(bool mine, int* found) {
  int any = mine ? 1 : 0;
  for (int mask = warp / 2; mask > 0; mask /= 2) any |= __shfl_xor_sync(0xffffffffu, any, mask);
  __syncthreads();
  if (threadIdx.x % warp == 0) found[threadIdx.x / warp] = any;
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / warp; ++w) any |= found[w];
  return any != 0;
}

/// Counts a step of all samples. Sets `again` if a sample steps or its residual decides, `confirm` in the latter case.
/// Launched on one block.
template <class T>
__global__ void end_step(const __grid_constant__ ImagePhase<T> phase, LoopHandles handles) {
  bool moves = false, asks = false;
  for (int sample = threadIdx.x; sample < phase.samples; sample += blockDim.x) {
    SampleProgress<T>& progress = phase.progress[sample];
    if (progress.state == stepping) {
      const T change = number_of<T>(phase.change[sample]);
      progress.count(change, phase.settings->stopping);
      if (progress.status == diverged) phase.residual[sample] = phase.error[sample] = change;
    }
    phase.change[sample] = 0;
    moves = moves || progress.state != stopped;
    asks = asks || progress.state == to_confirm;
  }
  moves = any_thread(moves, shared_memory<int>());
  asks = any_thread(asks, shared_memory<int>());
  if (threadIdx.x != 0) return;
  cudaGraphSetConditional(handles.again, moves ? 1 : 0);
  cudaGraphSetConditional(handles.confirm, asks ? 1 : 0);
}

/// Ends the samples whose residual is small. Sets `again` if a sample steps, unless no loop runs. Launched on one block.
template <class T>
__global__ void conclude_step(const __grid_constant__ ImagePhase<T> phase, LoopHandles handles,
                              bool loops) {
  bool moves = false;
  const Stopping<T>& stopping = phase.settings->stopping;
  for (int sample = threadIdx.x; sample < phase.samples; sample += blockDim.x) {
    SampleProgress<T>& progress = phase.progress[sample];
    if (progress.state == to_confirm) {
      const T residual = number_of<T>(phase.change[sample]);
      progress.conclude(residual, stopping);
      phase.residual[sample] = residual;
      phase.error[sample] = stopping.rate * residual * progress.amplification.value;
    }
    phase.change[sample] = 0;
    moves = moves || progress.state != stopped;
  }
  moves = any_thread(moves, shared_memory<int>());
  if (threadIdx.x == 0 && loops) cudaGraphSetConditional(handles.again, moves ? 1 : 0);
}

/// Copies the results; a sample that diverged gets its start state. Launched on units * samples threads.
template <class T>
__global__ void end_images(const __grid_constant__ ImagePhase<T> phase, T* state,
                           signed char* status, int* iterations) {
  const std::ptrdiff_t e = thread_number();
  const int units = phase.view->units;
  const int unit = static_cast<int>(e % units), sample = static_cast<int>(e / units);
  if (sample >= phase.samples) return;
  const SampleProgress<T>& progress = phase.progress[sample];
  state[e] = progress.status == diverged
                 ? beginning(phase, units_at(*phase.view, unit), unit, sample)
                 : phase.state[e];
  if (unit != 0) return;
  status[sample] = static_cast<signed char>(progress.status);
  iterations[sample] = progress.iterations;
}

}  // namespace equiprop::cuda
