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
  const T *above, *below;                     ///< first unit of the layers
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
  /// A position above, and where its numbers lie; `above` is nullptr for none.
  struct Place {
    const T *above,
        *below;  ///< the channels of the position above, the first number of the image below
    const unsigned char* winners;  ///< of these channels, or nullptr
    int member, y, x;  ///< number of the position in its window; place below of the first tap
  };

 public:
  static constexpr int rows = 16 * M, columns = 16 * N;
  static constexpr std::size_t bytes() {
    return image_depth * (sizeof(T) * (rows + columns) + 2 * sizeof(Place));
  }

  __device__ __forceinline__ explicit ImageGradient(const ImageFactors<T>& factors)
      : factors_(factors),
        of_(factors.of),
        first_row_(static_cast<int>(blockIdx.x) * rows),
        first_column_(static_cast<int>(blockIdx.y) * columns),
        above_(shared_memory<T>()),
        below_(above_ + image_depth * rows),
        places_(reinterpret_cast<Place*>(below_ + image_depth * columns)) {
    const int column = first_column_ + static_cast<int>(threadIdx.x) % columns;
    const int tap = column / of_.channels;
    channel_ = tap < of_.taps() ? column % of_.channels : -1;
    tap_y_ = tap / of_.kernel.x * of_.dilation.y;
    tap_x_ = tap % of_.kernel.x * of_.dilation.x;
  }

  __device__ __forceinline__ void run() {
    T sum[M][N] = {};
    const int depth = factors_.samples * of_.out_height * of_.out_width;
    const int first = static_cast<int>(blockIdx.z) * factors_.chunk;
    const int end = first + factors_.chunk < depth ? first + factors_.chunk : depth;
    Loaded next;
    find_places(first, end, places_);
    __syncthreads();
    fetch(places_, next);
    find_places(first + image_depth, end, places_ + image_depth);
    int turn = 1;
#pragma unroll 1
    for (int begin = first; begin < end; begin += image_depth, turn ^= 1) {
      __syncthreads();
      put(next);
      __syncthreads();
      fetch(places_ + turn * image_depth, next);
      find_places(begin + 2 * image_depth, end, places_ + (turn ^ 1) * image_depth);
      add_products(sum);
    }
    const int m = static_cast<int>(threadIdx.x) % 16 * M;
    const int n = static_cast<int>(threadIdx.x) / 16 * N;
    const int taps = of_.taps() * of_.channels;
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int o = first_row_ + m + i, k = first_column_ + n + j;
        if (o < of_.out_channels && k < taps)
          factors_.parts[(std::ptrdiff_t(blockIdx.z) * of_.out_channels + o) * taps + k] =
              sum[i][j];
      }
  }

 private:
  /// The numbers that a thread loads for the next step while the present one is computed.
  struct Loaded {
    T above[M], below[N];
  };

  /// Finds the positions of a step, one by each of the first threads.
  __device__ __forceinline__ void find_places(int begin, int end, Place* places) const {
    const int d = static_cast<int>(threadIdx.x), k = begin + d;
    if (d >= image_depth) return;
    Place& place = places[d];
    place = {nullptr, nullptr, nullptr, 0, 0, 0};
    if (k >= end) return;
    const int positions = of_.out_height * of_.out_width;
    const int sample = k / positions, position = k % positions;
    const int y = position / of_.out_width, x = position % of_.out_width;
    const int Y = y / of_.pool, X = x / of_.pool;
    if (Y >= of_.pooled_height() || X >= of_.pooled_width()) return;
    const int unit = (Y * of_.pooled_width() + X) * of_.out_channels;
    place.above = factors_.above + sample * factors_.above_stride + unit;
    place.below = factors_.below + sample * factors_.below_stride;
    if (factors_.winners != nullptr)
      place.winners = factors_.winners + unit +
                      std::ptrdiff_t(sample % factors_.winner_samples) * of_.pooled_units();
    place.member = y % of_.pool * of_.pool + x % of_.pool;
    place.y = y * of_.stride.y - of_.padding.y;
    place.x = x * of_.stride.x - of_.padding.x;
  }
  /// Loads the numbers of a step at its places. A thread loads one channel above, and one pair of a tap and a channel.
  __device__ __forceinline__ void fetch(const Place* places, Loaded& next) const {
    const int o = first_row_ + static_cast<int>(threadIdx.x) % rows;
#pragma unroll
    for (int q = 0; q < M; ++q) {
      const Place& at = places[static_cast<int>(threadIdx.x) / rows + image_threads / rows * q];
      const bool exists = at.above != nullptr && o < of_.out_channels &&
                          (at.winners == nullptr || at.winners[o] == at.member);
      next.above[q] = exists ? at.above[o] : T(0);
    }
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const Place& at =
          places[static_cast<int>(threadIdx.x) / columns + image_threads / columns * q];
      const int y = at.y + tap_y_, x = at.x + tap_x_;
      const bool exists = at.above != nullptr && channel_ >= 0 && y >= 0 && y < of_.height &&
                          x >= 0 && x < of_.width;
      next.below[q] = exists ? at.below[(y * of_.width + x) * of_.channels + channel_] : T(0);
    }
  }
  __device__ __forceinline__ void put(const Loaded& next) const {
#pragma unroll
    for (int q = 0; q < M; ++q) above_[threadIdx.x + image_threads * q] = next.above[q];
#pragma unroll
    for (int q = 0; q < N; ++q) below_[threadIdx.x + image_threads * q] = next.below[q];
  }
  __device__ __forceinline__ void add_products(T (&sum)[M][N]) const {
    const int m = static_cast<int>(threadIdx.x) % 16 * M;
    const int n = static_cast<int>(threadIdx.x) / 16 * N;
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

  const ImageFactors<T>& factors_;
  const Geometry& of_;
  const int first_row_, first_column_;
  T *above_, *below_;
  Place* places_;                ///< of two steps
  int channel_, tap_y_, tap_x_;  ///< of the column that this thread loads; channel -1 is none
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
