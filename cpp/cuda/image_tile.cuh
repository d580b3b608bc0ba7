#pragma once
/// One tile of a product: sums of pulls on some channels of some positions, for all samples side by side.

#include "image_network.cuh"

namespace equiprop::cuda {

constexpr int image_threads = 256, image_depth = 16;

/// A block computes 16 * M channels of 16 * N columns; a thread, M of N.
template <class T, int M, int N>
class ImageTile {
 public:
  static constexpr int rows = 16 * M, columns = 16 * N;
  static constexpr int stride = columns + 4;  ///< of a row of signals: few bank conflicts, vectors stay aligned

  /// Returns the bytes of shared memory of a block: two tiles, or later the sums.
  static constexpr std::size_t bytes() {
    const std::size_t tiles = image_depth * (rows + stride), sums = rows * (columns + 1);
    return sizeof(T) * (tiles > sums ? tiles : sums);
  }

  /// `tile` is the number of the tile in the job.
  __device__ __forceinline__ ImageTile(const ImageJob<T>& job, int tile, int samples)
      : job_(job),
        samples_(samples),
        windows_(columns / (job.pool * job.pool)),
        row_tiles_((job.channels + rows - 1) / rows),
        first_channel_(tile % row_tiles_ * rows),
        first_window_(tile / row_tiles_ * windows_),
        weights_(shared_memory<T>()),
        signals_(weights_ + image_depth * rows) {}

  /// Returns the number of tiles of a job.
  __host__ static int tiles(const ImageJob<T>& job, int samples) {
    const int windows = columns / (job.pool * job.pool);
    return (job.channels + rows - 1) / rows * ((job.positions * samples + windows - 1) / windows);
  }

  __device__ __forceinline__ int first_sample() const { return first_window_ / job_.positions; }
  __device__ __forceinline__ int last_sample() const {
    const int last = first_window_ + windows_ - 1;
    const int most = job_.positions * samples_ - 1;
    return (last < most ? last : most) / job_.positions;
  }

  /// A position of a sample before the maximum; sample -1 is none.
  struct Place {
    int sample, y, x;
  };
  /// Returns the place of a column of the tile. Columns are ordered by windows, the positions of one side by side.
  __device__ __forceinline__ Place place(int column) const {
    const int size = job_.pool * job_.pool, window = first_window_ + column / size;
    const int sample = window / job_.positions;
    if (column / size >= windows_ || sample >= samples_) return {-1, 0, 0};
    const int position = window % job_.positions, member = column % size;
    const int across = job_.width / job_.pool;
    return {sample, position / across * job_.pool + member / job_.pool,
            position % across * job_.pool + member % job_.pool};
  }

  /// Computes all sums; every thread of the block calls it. `base` holds the signals, `apart` numbers between samples.
  __device__ __forceinline__ void multiply(const ImageView<T>& view, const T* base) {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) sum_[i][j] = 0;
    Place at[N];
#pragma unroll
    for (int q = 0; q < N; ++q)
      at[q] = place(static_cast<int>(threadIdx.x) / image_depth + image_threads / image_depth * q);
#pragma unroll 1
    for (int n = 0; n < job_.pulls; ++n)
      add_pull(view.pull[job_.first_pull + n], base, view.signals, at);
  }

  __device__ __forceinline__ static int channel_of_thread() {
    return static_cast<int>(threadIdx.x) % 16 * M;
  }
  __device__ __forceinline__ static int column_of_thread() {
    return static_cast<int>(threadIdx.x) / 16 * N;
  }
  /// The channel of row i of this thread.
  __device__ __forceinline__ int channel(int i) const {
    return first_channel_ + channel_of_thread() + i;
  }
  __device__ __forceinline__ T sum(int i, int j) const { return sum_[i][j]; }

  /// Stores the sums.
  __device__ __forceinline__ void store_sums() const {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int window = first_window_ + column_of_thread() + j;
      if (window >= job_.positions * samples_) continue;
#pragma unroll
      for (int i = 0; i < M; ++i)
        if (channel(i) < job_.channels)
          job_.out[std::ptrdiff_t(window) * job_.channels + channel(i)] = sum_[i][j];
    }
  }
  /// Stores the maximum of each window and its winner, or the number at the winner that was stored before; every thread of
  /// the block calls it.
  __device__ __forceinline__ void store_maxima(bool keeps_winners) {
    constexpr int apart = columns + 1;
    T* const sums = weights_;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j)
        sums[(channel_of_thread() + i) * apart + column_of_thread() + j] = sum_[i][j];
    __syncthreads();
    const int size = job_.pool * job_.pool;
    for (int e = threadIdx.x; e < rows * windows_; e += image_threads) {
      const int row = e % rows, window = e / rows, channel = first_channel_ + row;
      const int sample = (first_window_ + window) / job_.positions;
      if (channel >= job_.channels || sample >= samples_) continue;
      const T* a = sums + row * apart + window * size;
      const std::ptrdiff_t at = std::ptrdiff_t(first_window_ + window) * job_.channels + channel;
      int winner = keeps_winners ? job_.winners[at] : 0;
      for (int m = 1; m < size && !keeps_winners; ++m)
        if (!(a[m] <= a[winner]) && a[winner] == a[winner]) winner = m;
      job_.out[at] = a[winner];
      job_.winners[at] = static_cast<unsigned char>(winner);
    }
  }

 private:
  /// Adds one product to the sums.
  __device__ __forceinline__ void add_pull(const ImagePull<T>& pull, const T* base,
                                           std::ptrdiff_t apart, const Place (&at)[N]) {
    const int depth = pull.depth;
#pragma unroll 1
    for (int begin = 0; begin < depth; begin += image_depth) {
      __syncthreads();
      load_weights(pull.weights, begin, depth);
      load_signals(pull, base, apart, begin, at);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < image_depth; ++d) {
        T left[M], right[N];
#pragma unroll
        for (int i = 0; i < M; ++i) left[i] = weights_[d * rows + channel_of_thread() + i];
#pragma unroll
        for (int j = 0; j < N; ++j) right[j] = signals_[d * stride + column_of_thread() + j];
#pragma unroll
        for (int i = 0; i < M; ++i)
#pragma unroll
          for (int j = 0; j < N; ++j) sum_[i][j] = fused(left[i], right[j], sum_[i][j]);
      }
    }
  }
  __device__ __forceinline__ void load_weights(const T* weights, int begin, int depth) {
#pragma unroll
    for (int q = 0; q < image_depth * rows / image_threads; ++q) {
      const int e = static_cast<int>(threadIdx.x) + image_threads * q;
      const int d = e / rows, channel = first_channel_ + e % rows;
      const bool exists = begin + d < depth && channel < job_.channels;
      weights_[e] = exists ? weights[std::ptrdiff_t(begin + d) * job_.channels + channel] : T(0);
    }
  }
  __device__ __forceinline__ void load_signals(const ImagePull<T>& pull, const T* base,
                                               std::ptrdiff_t apart, int begin,
                                               const Place (&at)[N]) {
    const int d = static_cast<int>(threadIdx.x) % image_depth, k = begin + d;
    const int tap = k / pull.channels, c = k % pull.channels;
    const int i = tap / pull.of.kernel.x * pull.of.dilation.y;
    const int j = tap % pull.of.kernel.x * pull.of.dilation.x;
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const int column =
          static_cast<int>(threadIdx.x) / image_depth + image_threads / image_depth * q;
      T value = 0;
      if (k < pull.depth && at[q].sample >= 0)
        value = pull.transposed ? from_above(pull, base, apart, at[q], i, j, c)
                                : from_below(pull, base, apart, at[q], i, j, c);
      signals_[d * stride + column] = value;
    }
  }
  /// The signal of channel c of the image below that a place above reads at the distance (i, j).
  __device__ __forceinline__ static T from_below(const ImagePull<T>& pull, const T* base,
                                                 std::ptrdiff_t apart, const Place& at, int i,
                                                 int j, int c) {
    const Geometry& of = pull.of;
    const int y = at.y * of.stride.y - of.padding.y + i, x = at.x * of.stride.x - of.padding.x + j;
    if (y < 0 || y >= of.height || x < 0 || x >= of.width) return 0;
    return base[at.sample * apart + pull.begin + (y * of.width + x) * of.channels + c];
  }
  /// The signal of channel c of the image above whose window reads the place below at the distance (i, j); of a maximum,
  /// 0 unless that position is the winner.
  __device__ __forceinline__ static T from_above(const ImagePull<T>& pull, const T* base,
                                                 std::ptrdiff_t apart, const Place& at, int i,
                                                 int j, int c) {
    const Geometry& of = pull.of;
    const int above = at.y + of.padding.y - i, left = at.x + of.padding.x - j;
    if (above < 0 || left < 0 || above % of.stride.y != 0 || left % of.stride.x != 0) return 0;
    const int y = above / of.stride.y, x = left / of.stride.x;
    const int Y = y / of.pool, X = x / of.pool;
    if (Y >= of.pooled_height() || X >= of.pooled_width()) return 0;
    const int unit = (Y * of.pooled_width() + X) * of.out_channels + c;
    if (pull.winners != nullptr) {
      const int member = y % of.pool * of.pool + x % of.pool;
      if (pull.winners[std::ptrdiff_t(at.sample) * of.pooled_units() + unit] != member) return 0;
    }
    return base[at.sample * apart + pull.begin + unit];
  }

  const ImageJob<T>& job_;
  const int samples_, windows_, row_tiles_, first_channel_, first_window_;
  T *weights_, *signals_;
  T sum_[M][N];
};

}  // namespace equiprop::cuda
