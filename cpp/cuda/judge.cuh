#pragma once
/// Kernels of a run of training steps that gather mini-batches and judge the samples of their phases.

#include <cmath>

#include "relax.cuh"
#include "update.cuh"

namespace equiprop::cuda {

constexpr signed char inaccurate = 2;  ///< the value of equiprop::Status
constexpr int judging_threads = 64;    ///< threads of a block that judges

/// Samples on the device, and a mini-batch of some of them; see DataFields.
template <class T>
struct Gathering {
  DataFields<T> data;
  const int* rows;  ///< of the mini-batch
  int inputs, outputs, batch;
  T *x, *y, *weights;
};

template <class T>
__global__ void gather(const __grid_constant__ Gathering<T> to) {
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int numbers = to.inputs + to.outputs + 1;
  if (e >= numbers * to.batch) return;
  const int sample = e / numbers, i = e % numbers;
  const std::ptrdiff_t row = to.rows[sample];
  if (i < to.inputs) {
    to.x[i + std::ptrdiff_t(sample) * to.inputs] = to.data.x[i + row * to.inputs];
  } else if (i < to.inputs + to.outputs) {
    const int o = i - to.inputs;
    to.y[o + std::ptrdiff_t(sample) * to.outputs] = to.data.labels == nullptr
                                                        ? to.data.y[o + row * to.outputs]
                                                    : to.data.labels[row] == o ? T(1)
                                                                               : T(0);
  } else if (to.data.weights != nullptr) {
    to.weights[sample] = to.data.weights[row];
  }
}

/// Reports of a phase, (batch,) each.
template <class T>
struct PhaseReport {
  signed char* status;
  int* iterations;
  T* residual;
  T* error;
};

/// The free states of a batch, their reports, and results (batch,): cost and error of each sample.
template <class T>
struct FreeJudging {
  int batch, units, outputs;
  bool classes;
  CostView<T> cost;
  const T* states;
  PhaseReport<T> report, kept;
  double *objective, *mistake;
};

/// C(o, y) of one sample
template <class T>
__device__ double cost_of(const CostView<T>& cost, const T* o, const T* y, int outputs) {
  double sum = 0;
  if (cost.logit_scale == 0) {
    for (int i = 0; i < outputs; ++i) {
      const double d = double(o[i]) - double(y[i]);
      sum += d * d;
    }
    return 0.5 * sum;
  }
  const double scale = cost.logit_scale;
  double top = o[0], partition = 0, weight = 0;
  for (int i = 1; i < outputs; ++i) top = larger(top, double(o[i]));
  for (int i = 0; i < outputs; ++i) {
    partition += scalar::exp<double>(scale * (double(o[i]) - top));
    weight += double(y[i]);
    sum += double(y[i]) * double(o[i]);
  }
  return (scale * top + std::log(partition)) * weight - scale * sum;
}

/// 1 if the largest output is not that of the class, otherwise 0; or the mean square of o - y.
template <class T>
__device__ double mistake_of(bool classes, const T* o, const T* y, int outputs) {
  int predicted = 0, label = 0;
  double sum = 0;
  for (int i = 0; i < outputs; ++i) {
    if (o[i] > o[predicted]) predicted = i;
    if (y[i] > y[label]) label = i;
    const double d = double(o[i]) - double(y[i]);
    sum += d * d;
  }
  return classes ? (predicted == label ? 0 : 1) : sum / outputs;
}

template <class T>
__global__ void judge_free(const __grid_constant__ FreeJudging<T> of) {
  const int j = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (j >= of.batch) return;
  const T* o = of.states + std::ptrdiff_t(j + 1) * of.units - of.outputs;
  const T* y = of.cost.y + std::ptrdiff_t(j) * of.outputs;
  of.objective[j] = cost_of(of.cost, o, y, of.outputs);
  of.mistake[j] = mistake_of(of.classes, o, y, of.outputs);
  of.kept.status[j] = of.report.status[j];
  of.kept.iterations[j] = of.report.iterations[j];
  of.kept.residual[j] = of.report.residual[j];
  of.kept.error[j] = of.report.error[j];
}

/// The states of a second phase, (units, nodes * batch), its reports, and the report of each sample. `states` is nullptr
/// for a side network, whose report has the estimated error already.
template <class T>
struct SecondJudging {
  int batch, nodes;
  const T* states;
  T share[most_nodes];
  AccuracyFields accuracy;
  double rounding;  ///< of a state of size 1
  PhaseReport<T> report, kept;
};

/// Returns the largest of the numbers of all threads of the block.
template <class T>
__device__ T block_largest(T mine) {
  T* const shared = shared_memory<T>();
  __syncthreads();
  shared[threadIdx.x] = mine;
  __syncthreads();
  T largest = shared[0];
  for (unsigned t = 1; t < blockDim.x; ++t) largest = larger(largest, shared[t]);
  return largest;
}

/// Returns the estimated error of the gradient of a sample; see DeviceBatch::refine. All threads of the block call it.
template <class T>
__device__ double gradient_error(const NetworkView<T>& network, const SecondJudging<T>& of, int j) {
  T size = 0;
  double response = 0, smallest = std::numeric_limits<double>::infinity();
  for (int k = 0; k < network.layers; ++k) {
    const LayerView<T>& layer = network.layer[k];
    T largest = 0;
    for (int i = static_cast<int>(threadIdx.x); i < layer.units;
         i += static_cast<int>(blockDim.x)) {
      T sum = 0, s = 0;
      for (int n = 0; n < of.nodes; ++n) {
        s = of.states[layer.begin + i + std::ptrdiff_t(n * of.batch + j) * network.units];
        sum += of.share[n] * s;
      }
      largest = larger(largest, sum < 0 ? -sum : sum);
      size = larger(size, s < 0 ? -s : s);
    }
    const double of_layer = block_largest(largest);
    response = larger(response, of_layer);
    smallest = of_layer < smallest ? of_layer : smallest;
  }
  const double of_state = block_largest(size), floor = of.accuracy.smallest_layer * response;
  const double low = (smallest < floor ? floor : smallest) / of.accuracy.layer_weight;
  const double resolved = low < response ? low : response;
  const double least = of.accuracy.negligible * of_state;
  const double divisor = resolved < least ? least : resolved;
  double error = 0;
  for (int n = 0; n < of.nodes; ++n) {
    const double residual = of.report.residual[n * of.batch + j],
                 ahead = of.report.error[n * of.batch + j], share = of.share[n];
    const double part =
        (residual + 4 * of.rounding * of_state) * (residual > 0 ? ahead / residual : 1);
    if (part != 0) error += part * (share < 0 ? -share : share) / divisor;
  }
  return error;
}

template <class T>
__global__ void judge_second(const __grid_constant__ NetworkView<T> network,
                             const __grid_constant__ SecondJudging<T> of) {
  const int j = static_cast<int>(blockIdx.x);
  const double error =
      of.states == nullptr ? double(of.report.error[j]) : gradient_error(network, of, j);
  if (threadIdx.x != 0) return;
  signed char status = 0;
  int iterations = 0;
  T residual = 0;
  for (int n = 0; n < of.nodes; ++n) {
    const int at = n * of.batch + j;
    if (of.report.status[at] > status) status = of.report.status[at];
    if (of.report.iterations[at] > iterations) iterations = of.report.iterations[at];
    residual = larger(residual, of.report.residual[at]);
  }
  if (status == converged && !(error <= of.accuracy.most_error)) status = inaccurate;
  of.kept.status[j] = status;
  of.kept.iterations[j] = iterations;
  of.kept.residual[j] = residual;
  of.kept.error[j] = T(error);
}

}  // namespace equiprop::cuda
