#pragma once
/// Derivatives by the weights of couplings of images, and the weights in the order in which products read them.

#include "image_tile.cuh"

namespace equiprop::cuda {

/// The weights of a coupling in theta: weight (o, c, i, j) is at o * out_stride + c * in_stride + i * kernel.x + j. A mean
/// over windows of mean x mean positions is folded into a larger kernel.
template <class T>
struct Weights {
  Geometry of;  ///< of the folded kernel
  Pair kernel, stride, dilation;
  int groups, mean;
  std::ptrdiff_t out_stride, in_stride;

  __device__ __host__ int group_channels() const { return of.channels / groups; }
  __device__ __host__ int group_out_channels() const { return of.out_channels / groups; }
};

/// Stores the folded weights in both orders, [tap][below][above] and [tap][above][below]; 0 between groups. Launched on one
/// thread for each of them. `down` may have other weights than `up`.
template <class T>
__global__ void pack_weights(const __grid_constant__ Weights<T> weights, const T* w_up,
                             const T* w_down, T* up, T* down) {
  const Geometry& of = weights.of;
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (e >= of.taps() * of.channels * of.out_channels) return;
  const int o = e % of.out_channels, c = e / of.out_channels % of.channels;
  const int tap = e / of.out_channels / of.channels;
  T to_up = 0, to_down = 0;
  if (o / weights.group_out_channels() == c / weights.group_channels()) {
    const T share = T(1) / T(weights.mean * weights.mean);
    const std::ptrdiff_t begin =
        o * weights.out_stride + c % weights.group_channels() * weights.in_stride;
    for (int i = 0; i < weights.kernel.y; ++i)
      for (int j = 0; j < weights.kernel.x; ++j) {
        const int y = tap / of.kernel.x - weights.dilation.y * i;
        const int x = tap % of.kernel.x - weights.dilation.x * j;
        if (y < 0 || x < 0 || y % weights.stride.y != 0 || x % weights.stride.x != 0) continue;
        if (y / weights.stride.y >= weights.mean || x / weights.stride.x >= weights.mean) continue;
        const std::ptrdiff_t at = begin + i * weights.kernel.x + j;
        to_up += share * w_up[at];
        to_down += share * w_down[at];
      }
  }
  up[e] = to_up;
  down[(std::ptrdiff_t(tap) * of.out_channels + o) * of.channels + c] = to_down;
}

/// The images of a derivative by weights: sums over samples and positions of above[Y, X, o] below[y, x, c].
template <class T>
struct ImageFactors {
  Geometry of;
  const T *above, *below;                   ///< first unit of the layers
  std::ptrdiff_t above_stride, below_stride;  ///< between samples
  const unsigned char* winners;  ///< (pooled units, winner_samples) of a maximum, or nullptr
  int samples, winner_samples;   ///< sample j has the winners of sample j % winner_samples
  int chunk;                     ///< numbers of a part of the sum, a multiple of image_depth
  T* parts;                      ///< [part][o][tap][c]
};

/// Sums of one part of the positions for a tile of weights. A block computes 16 * M channels above times 16 * N pairs of a
/// tap and a channel below. Launched on the tiles of both along x and y, the parts along z.
template <class T, int M, int N>
class ImageGradient {
 public:
  static constexpr int rows = 16 * M, columns = 16 * N;
  static constexpr std::size_t bytes() { return sizeof(T) * image_depth * (rows + columns); }

  __device__ __forceinline__ explicit ImageGradient(const ImageFactors<T>& factors)
      : factors_(factors),
        of_(factors.of),
        first_row_(static_cast<int>(blockIdx.x) * rows),
        first_column_(static_cast<int>(blockIdx.y) * columns),
        above_(shared_memory<T>()),
        below_(above_ + image_depth * rows) {}

  __device__ __forceinline__ void run() {
    const int m = static_cast<int>(threadIdx.x) % 16 * M;
    const int n = static_cast<int>(threadIdx.x) / 16 * N;
    T sum[M][N] = {};
    const int depth = factors_.samples * of_.out_height * of_.out_width;
    const int first = static_cast<int>(blockIdx.z) * factors_.chunk;
    const int end = first + factors_.chunk < depth ? first + factors_.chunk : depth;
#pragma unroll 1
    for (int begin = first; begin < end; begin += image_depth) {
      __syncthreads();
      load(begin, end);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < image_depth; ++d) {
        T left[M], right[N];
#pragma unroll
        for (int i = 0; i < M; ++i) left[i] = above_[d * rows + m + i];
#pragma unroll
        for (int j = 0; j < N; ++j) right[j] = below_[d * columns + n + j];
#pragma unroll
        for (int i = 0; i < M; ++i)
#pragma unroll
          for (int j = 0; j < N; ++j) sum[i][j] = fused(left[i], right[j], sum[i][j]);
      }
    }
    const int taps = of_.taps() * of_.channels;
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int o = first_row_ + m + i, k = first_column_ + n + j;
        if (o < of_.out_channels && k < taps)
          factors_.parts[(std::ptrdiff_t(blockIdx.z) * of_.out_channels + o) * taps + k] = sum[i][j];
      }
  }

 private:
  __device__ __forceinline__ void load(int begin, int end) const {
    const int positions = of_.out_height * of_.out_width;
#pragma unroll
    for (int q = 0; q < M; ++q) {
      const int e = static_cast<int>(threadIdx.x) + image_threads * q;
      const int k = begin + e / rows, o = first_row_ + e % rows;
      above_[e] = k < end && o < of_.out_channels ? signal_above(k / positions, k % positions, o)
                                                  : T(0);
    }
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const int e = static_cast<int>(threadIdx.x) + image_threads * q;
      const int k = begin + e / columns, column = first_column_ + e % columns;
      below_[e] = k < end && column < of_.taps() * of_.channels
                      ? signal_below(k / positions, k % positions, column)
                      : T(0);
    }
  }
  __device__ __forceinline__ T signal_above(int sample, int position, int o) const {
    const int y = position / of_.out_width, x = position % of_.out_width;
    const int Y = y / of_.pool, X = x / of_.pool;
    if (Y >= of_.pooled_height() || X >= of_.pooled_width()) return 0;
    const int unit = (Y * of_.pooled_width() + X) * of_.out_channels + o;
    if (factors_.winners != nullptr) {
      const std::ptrdiff_t at =
          std::ptrdiff_t(sample % factors_.winner_samples) * of_.pooled_units() + unit;
      if (factors_.winners[at] != y % of_.pool * of_.pool + x % of_.pool) return 0;
    }
    return factors_.above[sample * factors_.above_stride + unit];
  }
  __device__ __forceinline__ T signal_below(int sample, int position, int column) const {
    const int tap = column / of_.channels, c = column % of_.channels;
    const int y = position / of_.out_width * of_.stride.y - of_.padding.y +
                  tap / of_.kernel.x * of_.dilation.y;
    const int x = position % of_.out_width * of_.stride.x - of_.padding.x +
                  tap % of_.kernel.x * of_.dilation.x;
    if (y < 0 || y >= of_.height || x < 0 || x >= of_.width) return 0;
    return factors_.below[sample * factors_.below_stride + (y * of_.width + x) * of_.channels + c];
  }

  const ImageFactors<T>& factors_;
  const Geometry& of_;
  const int first_row_, first_column_;
  T *above_, *below_;
};

template <class T, int M, int N>
__global__ void __launch_bounds__(image_threads, 2)
    image_gradient(const __grid_constant__ ImageFactors<T> factors) {
  ImageGradient<T, M, N>(factors).run();
}

/// gradient = -(sum of the parts, unfolded); launched on one thread for each weight.
template <class T>
__global__ void sum_parts(const __grid_constant__ Weights<T> weights, int parts, const T* from,
                          T* gradient) {
  const int taps = weights.kernel.y * weights.kernel.x, channels = weights.group_channels();
  const int e = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const Geometry& of = weights.of;
  if (e >= of.out_channels * channels * taps) return;
  const int j = e % weights.kernel.x, i = e / weights.kernel.x % weights.kernel.y;
  const int in = e / taps % channels, o = e / taps / channels;
  const int c = o / weights.group_out_channels() * channels + in;
  T total = 0;
  for (int m = 0; m < weights.mean; ++m)
    for (int n = 0; n < weights.mean; ++n) {
      const int y = weights.dilation.y * i + weights.stride.y * m;
      const int x = weights.dilation.x * j + weights.stride.x * n;
      const std::ptrdiff_t at =
          (std::ptrdiff_t(o) * of.taps() + y * of.kernel.x + x) * of.channels + c;
      const std::ptrdiff_t apart = std::ptrdiff_t(of.out_channels) * of.taps() * of.channels;
      for (int part = 0; part < parts; ++part) total += from[part * apart + at];
    }
  const T share = T(1) / T(weights.mean * weights.mean);
  gradient[o * weights.out_stride + in * weights.in_stride + i * weights.kernel.x + j] =
      -share * total;
}

/// gradient(c) = -sum over samples and positions of numbers[position, c]: the derivative by the biases. A block sums 32
/// channels, in eight parts each, and adds the parts in order.
template <class T>
__global__ void sum_channels(int channels, int positions, int samples, std::ptrdiff_t apart,
                             const T* numbers, T* gradient) {
  T* const sums = shared_memory<T>();
  const int c = static_cast<int>(blockIdx.x) * 32 + static_cast<int>(threadIdx.x) % 32;
  const int part = static_cast<int>(threadIdx.x) / 32;
  T sum = 0;
  if (c < channels)
    for (int k = part; k < positions * samples; k += 8)
      sum += numbers[k / positions * apart + k % positions * channels + c];
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (part != 0 || c >= channels) return;
  for (int p = 1; p < 8; ++p) sum += sums[p * 32 + threadIdx.x];
  gradient[c] = -sum;
}

}  // namespace equiprop::cuda
