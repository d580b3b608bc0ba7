#pragma once
/// Conjugate gradients for the side network A lambda = dC/ds of a network with images; A is the Hessian of E at a state,
/// restricted to the units that no bound holds. See linear/conjugate_gradient.cpp for the rules. A launch multiplies by A;
/// another one, with one block for each sample, takes a step. Winners of maxima are those of the state.

#include "image_relax.cuh"

namespace equiprop::cuda {

/// Numbers of one sample: <r, D r>, max |D dC/ds|, the power of two by which r is divided, max |D r|.
template <class T>
struct SideNumbers {
  T rho, scale, unit, size;
};

/// The vectors (units, samples) of the solution, and the result `lambda`.
template <class T>
struct ImageSide {
  ImagePhase<T>
      phase;  ///< its stopping rule is that of the solver; `number` is the size that counts as 0
  SideVectors<T> vectors;
  T *pulled, *x, *r;  ///< slope times direction, solution, residual
  SideNumbers<T>* numbers;
  T* lambda;
  signed char* status;
  int* iterations;
};

/// The step of one sample by one block of image_threads threads.
template <class T>
class SideSample {
 public:
  __device__ __forceinline__ explicit SideSample(const ImageSide<T>& side)
      : side_(side),
        sample_(static_cast<int>(blockIdx.x)),
        units_(side.phase.view->units),
        first_(std::ptrdiff_t(sample_) * units_),
        progress_(side.phase.progress[sample_]),
        numbers_(side.numbers[sample_]),
        folded_(shared_memory<T>()) {}

  /// r = dC/ds / unit, for which the squares of r neither overflow nor vanish.
  __device__ __forceinline__ void begin() {
    const int begin = units_ - side_.phase.outputs;
    each([&](int unit, std::ptrdiff_t at) {
      side_.r[at] = unit < begin
                        ? T(0)
                        : side_.phase.cost_gradient(side_.phase.state[at], unit - begin, sample_);
      side_.x[at] = 0;
    });
    const T scale =
        largest([&](std::ptrdiff_t at) { return side_.vectors.diagonal[at] * side_.r[at]; });
    const bool usable = scale > 0 && scale - scale == T(0);
    const T unit = usable ? std::ldexp(T(1), std::ilogb(scale)) : T(1);
    each([&](int, std::ptrdiff_t at) {
      side_.r[at] /= unit;
      side_.vectors.direction[at] = side_.vectors.diagonal[at] * side_.r[at];
      side_.pulled[at] = side_.vectors.slope[at] * side_.vectors.direction[at];
    });
    const T rho = inner(side_.r, side_.vectors.direction);
    const T size = largest([&](std::ptrdiff_t at) { return side_.vectors.direction[at]; });
    if (threadIdx.x != 0) return;
    numbers_ = {rho, scale, unit, size};
    progress_.state = stepping;
    progress_.status = max_iterations;
    progress_.iterations = 0;
    judge();
  }
  /// Takes a step along the direction, and chooses the next one.
  __device__ __forceinline__ void step() {
    if (progress_.state != stepping) return;
    const T curvature = inner(side_.vectors.direction, side_.vectors.image);
    const bool convex = !(curvature <= 0), first = progress_.iterations == 0;
    if (!convex && !first) return end_indefinite();
    const T length = convex ? numbers_.rho / curvature : T(1);  // x becomes the first direction
    each([&](int, std::ptrdiff_t at) {
      side_.x[at] = fused(length, side_.vectors.direction[at], side_.x[at]);
      side_.r[at] = fused(-length, side_.vectors.image[at], side_.r[at]);
    });
    const T size =
        largest([&](std::ptrdiff_t at) { return side_.vectors.diagonal[at] * side_.r[at]; });
    if (!convex) {
      if (threadIdx.x == 0) numbers_.size = size;
      return end_indefinite();
    }
    const T rho = fold(
        [&](std::ptrdiff_t at, T sum) {
          return fused(side_.r[at], side_.vectors.diagonal[at] * side_.r[at], sum);
        },
        false);
    const T turn = rho / numbers_.rho;
    each([&](int, std::ptrdiff_t at) {
      side_.vectors.direction[at] =
          fused(turn, side_.vectors.direction[at], side_.vectors.diagonal[at] * side_.r[at]);
      side_.pulled[at] = side_.vectors.slope[at] * side_.vectors.direction[at];
    });
    __syncthreads();  // all threads have read the numbers
    if (threadIdx.x != 0) return;
    numbers_.rho = rho;
    numbers_.size = size;
    ++progress_.iterations;
    judge();
  }
  __device__ __forceinline__ void end() const {
    each([&](int, std::ptrdiff_t at) { side_.lambda[at] = side_.x[at] * numbers_.unit; });
    if (threadIdx.x != 0) return;
    const T scale = numbers_.scale;
    const T relative = scale > 0 ? numbers_.size * numbers_.unit / scale : T(0);
    side_.phase.residual[sample_] = side_.phase.error[sample_] = relative;
    side_.status[sample_] = static_cast<signed char>(progress_.status);
    side_.iterations[sample_] = progress_.iterations;
  }

 private:
  __device__ __forceinline__ void end_indefinite() {
    __syncthreads();
    if (threadIdx.x != 0) return;
    progress_.state = stopped;
    progress_.status = indefinite;
  }
  /// Ends the sample if its residual is small or not finite, or if it has taken all steps.
  __device__ __forceinline__ void judge() {
    const ImageSettings<T>& settings = *side_.phase.settings;
    const Stopping<T>& stopping = settings.stopping;
    const T size = numbers_.size, threshold = numbers_.scale / numbers_.unit * stopping.tolerance;
    progress_.state = stopped;
    if (!(size - size == T(0)))
      progress_.status = diverged;
    else if (size <= settings.number || (stopping.tolerance > 0 && size <= threshold))
      progress_.status = converged;
    else if (progress_.iterations < stopping.limit)
      progress_.state = stepping;
    else if (stopping.tolerance == 0)
      progress_.status = fixed_steps;
  }

  /// Calls run(unit, place) for all units, shared by the threads.
  template <class Run>
  __device__ __forceinline__ void each(const Run& run) const {
    for (int unit = threadIdx.x; unit < units_; unit += image_threads) run(unit, first_ + unit);
  }
  /// Folds the terms of all units: those of each thread, of the lanes of a warp, and of the warps in order.
  template <class Term>
  __device__ __forceinline__ T fold(const Term& term, bool maximum) const {
    T mine = 0;
    for (int unit = threadIdx.x; unit < units_; unit += image_threads)
      mine = term(first_ + unit, mine);
    for (int mask = warp / 2; mask > 0; mask /= 2) {
      const T other = __shfl_xor_sync(0xffffffffu, mine, mask);
      mine = maximum ? larger(mine, other) : mine + other;
    }
    __syncthreads();
    if (threadIdx.x % warp == 0) folded_[threadIdx.x / warp] = mine;
    __syncthreads();
    T all = folded_[0];
    for (int w = 1; w < image_threads / warp; ++w)
      all = maximum ? larger(all, folded_[w]) : all + folded_[w];
    return all;
  }
  __device__ __forceinline__ T inner(const T* a, const T* b) const {
    return fold([&](std::ptrdiff_t at, T sum) { return fused(a[at], b[at], sum); }, false);
  }
  template <class Value>
  __device__ __forceinline__ T largest(const Value& value) const {
    return fold(
        [&](std::ptrdiff_t at, T most) {
          const T v = value(at);
          return larger(most, v < 0 ? -v : v);
        },
        true);
  }

  const ImageSide<T>& side_;
  const int sample_, units_;
  const std::ptrdiff_t first_;
  SampleProgress<T>& progress_;
  SideNumbers<T>& numbers_;
  T* folded_;
};

// Launched on one block for each sample.

template <class T>
__global__ void __launch_bounds__(image_threads)
    begin_side(const __grid_constant__ ImageSide<T> side) {
  SideSample<T>(side).begin();
}
template <class T>
__global__ void __launch_bounds__(image_threads)
    step_side(const __grid_constant__ ImageSide<T> side) {
  SideSample<T>(side).step();
}
template <class T>
__global__ void __launch_bounds__(image_threads)
    end_side(const __grid_constant__ ImageSide<T> side) {
  SideSample<T>(side).end();
}

/// Sets `again` if a sample steps; launched on one block.
template <class T>
__global__ void find_stepping(const __grid_constant__ ImagePhase<T> phase, LoopHandles handles) {
  bool moves = false;
  for (int sample = threadIdx.x; sample < phase.samples; sample += blockDim.x)
    moves = moves || phase.progress[sample].state == stepping;
  moves = any_thread(moves, shared_memory<int>());
  if (threadIdx.x == 0) cudaGraphSetConditional(handles.again, moves ? 1 : 0);
}

}  // namespace equiprop::cuda
