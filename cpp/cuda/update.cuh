#pragma once
/// Functions of every number of an array: the factors of gradients, and the steps of optimisers (base/update.hpp).

#include "network.cuh"
#include "run.hpp"

namespace equiprop::cuda {

constexpr int elementwise_threads = 256, most_rates = 64;

/// The states of a gradient, (units, batch) each.
template <class T>
struct Terms {
  const T* states;      ///< `nodes` states side by side, or one
  const T* v;           ///< vector of a mixed derivative, or nullptr for a contrast
  const T* of_samples;  ///< weights of the samples (batch,), or nullptr
  int units, batch, nodes;
  T weight[most_nodes];  ///< of each node; weight[0] for a mixed derivative
  // Results: factors (units, planes * batch) of outer products, and the sum of the left ones over the nodes.
  T *left, *right, *sum;
};

/// For a contrast, plane n has the factors w_n u(s_n) and u(s_n). A mixed derivative has two planes: w g v with u(s), and
/// w u(s) with g v, g = signal'(s); its sum is the left factor of the first one.
template <class T>
__global__ void take_factors(const __grid_constant__ NetworkView<T> network,
                             const __grid_constant__ Terms<T> terms) {
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int numbers = terms.units * terms.batch;
  if (e >= numbers) return;
  const int unit = e % terms.units, sample = e / terms.units;
  int k = 0;
  while (k + 1 < network.layers && unit >= network.layer[k + 1].begin) ++k;
  const Units<T>& rho = network.layer[k].rho;
  const T of_sample = terms.of_samples != nullptr ? terms.of_samples[sample] : T(1);
  if (terms.v != nullptr) {
    const T u = rho.signal(terms.states[e]), t = rho.signal_slope(u) * terms.v[e];
    const T w = terms.weight[0] * of_sample;
    terms.left[e] = terms.sum[e] = w * t;
    terms.right[e] = u;
    terms.left[e + numbers] = w * u;
    terms.right[e + numbers] = t;
    return;
  }
  T sum = 0;
  for (int n = 0; n < terms.nodes; ++n) {
    const int at = e + n * numbers;
    const T u = rho.signal(terms.states[at]);
    terms.left[at] = terms.weight[n] * of_sample * u;
    terms.right[at] = u;
    sum += terms.left[at];
  }
  terms.sum[e] = sum;
}

/// to = sum_n weight_n (states_n - from)
template <class T>
__global__ void displace(const __grid_constant__ Terms<T> terms, const T* from, T* to) {
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int numbers = terms.units * terms.batch;
  if (e >= numbers) return;
  T sum = 0;
  for (int n = 0; n < terms.nodes; ++n)
    sum += terms.weight[n] * (terms.states[e + n * numbers] - from[e]);
  to[e] = sum;
}

/// out (columns, rows) = in (rows, columns)^T
template <class T>
__global__ void transpose(int rows, int columns, const T* in, T* out) {
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (e < rows * columns) out[e / rows + (e % rows) * columns] = in[e];
}

/// to (units, samples) has the channels of a position side by side, from (positions of a channel side by side), or the
/// other way if `back`.
template <class T>
__global__ void reorder(int channels, int positions, std::ptrdiff_t count, const T* from, T* to,
                        bool back) {
  const std::ptrdiff_t e = std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= count) return;
  const int units = channels * positions, unit = static_cast<int>(e % units);
  const std::ptrdiff_t other = e - unit + unit % channels * positions + unit / channels;
  to[back ? other : e] = from[back ? e : other];
}

/// flags[block] is 1 if a number is not finite, otherwise 0; launched on any number of blocks.
template <class T>
__global__ void find_not_finite(std::ptrdiff_t count, const T* numbers, int* flags) {
  int* const found = shared_memory<int>();
  int mine = 0;
  const std::ptrdiff_t stride = std::ptrdiff_t(gridDim.x) * blockDim.x;
  for (std::ptrdiff_t e = std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x; e < count;
       e += stride)
    mine |= numbers[e] - numbers[e] == T(0) ? 0 : 1;
  found[threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned t = 1; t < blockDim.x; ++t) mine |= found[t];
  flags[blockIdx.x] = mine;
}

/// A step of an optimiser; see UpdateFields. `first` is the velocity or the mean, or nullptr, `second` the mean square.
/// `run` scales the gradient, or lets nothing change; nullptr for a step by itself.
template <class T>
struct UpdateView {
  std::ptrdiff_t count;
  const T* gradient;
  T *theta, *first, *second;
  int rates;
  std::ptrdiff_t begin[most_rates];
  T rate[most_rates];
  T momentum, decay, beta1, beta2, epsilon, correction1, inverse_root;
  const RunState* run;
};

template <class T>
__global__ void descend(const __grid_constant__ UpdateView<T> step) {
  const std::ptrdiff_t e = std::ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= step.count || (step.run != nullptr && step.run->go == 0)) return;
  int r = 0;
  while (r + 1 < step.rates && e >= step.begin[r + 1]) ++r;
  const T rate = step.rate[r];
  const T g = step.run != nullptr ? step.gradient[e] * T(step.run->scale) : step.gradient[e];
  T theta = step.theta[e];
  if (step.second != nullptr) {
    const T mean = fused(step.beta1, step.first[e], (T(1) - step.beta1) * g);
    const T square = fused(step.beta2, step.second[e], (T(1) - step.beta2) * g * g);
    const T root = fused(std::sqrt(square), step.inverse_root, step.epsilon);
    theta = (T(1) - rate * step.decay) * theta - rate / step.correction1 * mean / root;
    step.first[e] = mean;
    step.second[e] = square;
  } else {
    T fall = fused(step.decay, theta, g);
    if (step.first != nullptr) step.first[e] = fall = fused(step.momentum, step.first[e], fall);
    theta = fused(-rate, fall, theta);
  }
  step.theta[e] = theta;
}

}  // namespace equiprop::cuda
