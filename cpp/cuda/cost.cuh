#pragma once
/// The cost of the outputs in kernels: squared error or cross-entropy.

#include "units.cuh"

namespace equiprop::cuda {

/// The cost of the outputs of a batch; `y` is nullptr if there is none.
template <class T>
struct CostView {
  const T* y;     ///< targets (outputs, batch)
  T logit_scale;  ///< 0 for the squared error
};

/// The derivative dC/do of one output, from numbers that all outputs of a sample share.
template <class T, int Tile>
class CostThread {
 public:
  /// `numbers` holds 3 numbers per sample.
  __device__ __forceinline__ CostThread(const CostView<T>& cost, T* numbers)
      : cost_(cost), numbers_(numbers) {}

  __device__ __forceinline__ bool exists() const { return cost_.y != nullptr; }
  __device__ __forceinline__ T stiffness() const {
    return cost_.logit_scale == 0 ? T(1) : T(0.5) * cost_.logit_scale * cost_.logit_scale;
  }
  /// Prepares `gradient` for the outputs s (outputs, Tile); all threads of the block call it, after a barrier that follows
  /// the last use of `gradient` and the computation of s. `sample` is that in the batch.
  template <class Sample>
  __device__ __forceinline__ void prepare(const T* s, int outputs, const Sample& sample) {
    if (!exists() || cost_.logit_scale == 0) return;
    if (static_cast<int>(threadIdx.x) < Tile) {
      const int j = threadIdx.x;
      const T* y = cost_.y + std::ptrdiff_t(sample(j)) * outputs;
      T top = s[j], partition = 0, weight = 0;
      for (int i = 1; i < outputs; ++i) top = larger(top, s[i * Tile + j]);
      for (int i = 0; i < outputs; ++i) {
        partition += scalar::exp<T>(cost_.logit_scale * (s[i * Tile + j] - top));
        weight += y[i];
      }
      numbers_[j] = top;
      numbers_[Tile + j] = partition;
      numbers_[2 * Tile + j] = weight;
    }
    __syncthreads();
  }
  /// dC/do of output i of sample j of the tile, whose number in the batch is `sample`.
  __device__ __forceinline__ T gradient(T s, int i, int j, int outputs, int sample) const {
    const T y = cost_.y[i + std::ptrdiff_t(sample) * outputs], a = cost_.logit_scale;
    if (a == 0) return s - y;
    const T share = scalar::exp<T>(a * (s - numbers_[j])) / numbers_[Tile + j];
    return a * fused(share, numbers_[2 * Tile + j], -y);
  }

 private:
  const CostView<T>& cost_;
  T* numbers_;
};

}  // namespace equiprop::cuda
