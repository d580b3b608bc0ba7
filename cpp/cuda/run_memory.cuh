#pragma once
/// The memory of runs of training steps, besides that of the engine.

#include <optional>

#include "memory.hpp"
#include "run.cuh"

namespace equiprop::cuda {

/// Arrays that are optional grow with the runs.
template <class T>
struct RunMemory {
  RunMemory(std::size_t most, cudaStream_t in)
      : stream(in),
        status(2 * most, in),
        iterations(2 * most, in),
        residual(2 * most, in),
        error(2 * most, in),
        of_samples(2 * most, in),
        parts(norm_blocks, in),
        state(1, in),
        most_samples(most) {}

  PhaseReport<T> report(std::size_t phase) const {
    const std::size_t at = phase * most_samples;
    return {status.data() + at, iterations.data() + at, residual.data() + at, error.data() + at};
  }
  template <class U>
  U* grown(std::optional<Array<U>>& array, std::size_t size) const {
    if (!array || array->size() < size) {
      array.reset();
      array.emplace(size, stream);
    }
    return array->data();
  }

  cudaStream_t stream;
  Array<signed char> status;
  Array<int> iterations;
  Array<T> residual, error;
  Array<double> of_samples, parts;  ///< objective and error of each sample; parts of a norm
  Array<RunState> state;
  std::size_t most_samples;
  std::optional<Array<T>> x, y, weights, mean;
  std::optional<Array<int>> labels, rows;
  std::optional<Array<StepRecord>> records;
  DataFields<T> data;  ///< the samples on the device
};

}  // namespace equiprop::cuda
