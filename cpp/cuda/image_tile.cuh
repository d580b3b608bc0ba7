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
  static constexpr int stride =
      columns + 4;  ///< of a row of signals: few bank conflicts, vectors stay aligned

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
        signals_(weights_ + image_depth * rows) {
    const int across = job.width / job.pool, high = job.positions / across;
    const bool one = first_sample() == last_sample();
    const int first = one ? first_window_ % job.positions / across : 0;
    const int last = one ? (last_window() % job.positions) / across : high - 1;
    first_row_ = first * job.pool;
    last_row_ = last * job.pool + job.pool - 1;
  }

  /// Returns the number of tiles of a job.
  __host__ static int tiles(const ImageJob<T>& job, int samples) {
    const int windows = columns / (job.pool * job.pool);
    return (job.channels + rows - 1) / rows * ((job.positions * samples + windows - 1) / windows);
  }

  __device__ __forceinline__ int first_sample() const { return first_window_ / job_.positions; }
  __device__ __forceinline__ int last_sample() const { return last_window() / job_.positions; }
  __device__ __forceinline__ int last_window() const {
    const int last = first_window_ + windows_ - 1, most = job_.positions * samples_ - 1;
    return last < most ? last : most;
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

  /// Computes all sums; every thread of the block calls it. `base` holds the signals.
  __device__ __forceinline__ void multiply(const ImageView<T>& view, const T* base) {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) sum_[i][j] = 0;
    Place at[N];
#pragma unroll
    for (int q = 0; q < N; ++q) at[q] = place(loaded_column(q));
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
  __device__ __forceinline__ T sum(int i, int j) const {
    return sum_[i][j];
  }

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
  /// Where a column reads the channels of a neighbour at one tap: nowhere if `signal` is nullptr.
  struct Source {
    const T* signal;
    const unsigned char* winner;  ///< of the windows above, or nullptr
    int member;                   ///< the winner for which the window hands down its signal

    __device__ __forceinline__ T operator()(int c) const {
      return signal == nullptr || (winner != nullptr && winner[c] != member) ? T(0) : signal[c];
    }
  };
  /// The numbers that a thread loads for the next step of a product while the present one is computed.
  struct Loaded {
    T weight[M], signal[N];
  };

  /// The thread loads row loaded_row() of the signals.
  __device__ __forceinline__ static int loaded_row() {
    return static_cast<int>(threadIdx.x) % image_depth;
  }
  __device__ __forceinline__ static int loaded_column(int q) {
    return static_cast<int>(threadIdx.x) / image_depth + image_threads / image_depth * q;
  }

  /// Adds one product to the sums.
  __device__ __forceinline__ void add_pull(const ImagePull<T>& pull, const T* base,
                                           std::ptrdiff_t apart, const Place (&at)[N]) {
    const int depth = pull.depth, channels = pull.channels;
    int tap = loaded_row() / channels, c = loaded_row() % channels;
    Source from[N];
    locate(pull, base, apart, tap, at, from);
    Loaded next;
    int located = 0;
    const auto load = [&](int to) EQUIPROP_INLINED {
      c += to - located;
      located = to;
      if (c >= channels) {
        tap += c / channels;
        c %= channels;
        locate(pull, base, apart, tap, at, from);
      }
      fetch(pull, to, c, from, next);
    };
    int begin = reached(pull, 0);
    if (begin < depth) load(begin);
#pragma unroll 1
    while (begin < depth) {
      __syncthreads();
      put(next);
      __syncthreads();
      begin = reached(pull, begin + image_depth);
      if (begin < depth) load(begin);
      add_products();
    }
  }
  /// Returns the first depth from `begin` on at which a position of the tile may read the image of the neighbour; steps of
  /// one tap that reads beyond its rows are left out, because they add zeros.
  __device__ __forceinline__ int reached(const ImagePull<T>& pull, int begin) const {
    if (pull.of.kernel.y == 1 || pull.channels % image_depth != 0) return begin;
#pragma unroll 1
    while (begin < pull.depth) {
      const int tap = begin / pull.channels;
      if (reaches(pull, tap / pull.of.kernel.x * pull.of.dilation.y)) break;
      begin = (tap + 1) * pull.channels;
    }
    return begin;
  }
  __device__ __forceinline__ bool reaches(const ImagePull<T>& pull, int distance) const {
    const Geometry& of = pull.of;
    if (pull.transposed) {
      const int shift = of.padding.y - distance;
      return last_row_ + shift >= 0 && first_row_ + shift < of.out_height * of.stride.y;
    }
    const int shift = distance - of.padding.y;
    return last_row_ * of.stride.y + shift >= 0 && first_row_ * of.stride.y + shift < of.height;
  }

  __device__ __forceinline__ void fetch(const ImagePull<T>& pull, int begin, int c,
                                        const Source (&from)[N], Loaded& next) const {
#pragma unroll
    for (int q = 0; q < M; ++q) {
      const int e = static_cast<int>(threadIdx.x) + image_threads * q;
      const int d = begin + e / rows, channel = first_channel_ + e % rows;
      next.weight[q] = d < pull.depth && channel < job_.channels
                           ? pull.weights[std::ptrdiff_t(d) * job_.channels + channel]
                           : T(0);
    }
    const bool exists = begin + loaded_row() < pull.depth;
#pragma unroll
    for (int q = 0; q < N; ++q) next.signal[q] = exists ? from[q](c) : T(0);
  }
  __device__ __forceinline__ void put(const Loaded& next) const {
#pragma unroll
    for (int q = 0; q < M; ++q) weights_[threadIdx.x + image_threads * q] = next.weight[q];
#pragma unroll
    for (int q = 0; q < N; ++q) signals_[loaded_row() * stride + loaded_column(q)] = next.signal[q];
  }
  __device__ __forceinline__ void add_products() {
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

  /// Finds where the columns of this thread read at a tap.
  __device__ __forceinline__ static void locate(const ImagePull<T>& pull, const T* base,
                                                std::ptrdiff_t apart, int tap, const Place (&at)[N],
                                                Source (&from)[N]) {
    const int i = tap / pull.of.kernel.x * pull.of.dilation.y;
    const int j = tap % pull.of.kernel.x * pull.of.dilation.x;
#pragma unroll
    for (int q = 0; q < N; ++q) {
      from[q] = {nullptr, nullptr, 0};
      if (at[q].sample < 0) continue;
      const T* signals = base + at[q].sample * apart + pull.begin;
      if (pull.transposed)
        from[q] = above(pull, signals, at[q], i, j);
      else
        from[q] = below(pull, signals, at[q], i, j);
    }
  }
  /// The place of the image below that a place above reads at the distance (i, j).
  __device__ __forceinline__ static Source below(const ImagePull<T>& pull, const T* signals,
                                                 const Place& at, int i, int j) {
    const Geometry& of = pull.of;
    const int y = at.y * of.stride.y - of.padding.y + i, x = at.x * of.stride.x - of.padding.x + j;
    const bool exists = y >= 0 && y < of.height && x >= 0 && x < of.width;
    return {exists ? signals + (y * of.width + x) * of.channels : nullptr, nullptr, 0};
  }
  /// The place of the image above whose window reads the place below at the distance (i, j).
  __device__ __forceinline__ static Source above(const ImagePull<T>& pull, const T* signals,
                                                 const Place& at, int i, int j) {
    const Geometry& of = pull.of;
    int y = at.y + of.padding.y - i, x = at.x + of.padding.x - j;
    if (y < 0 || x < 0 || !divides(of.stride.y, y) || !divides(of.stride.x, x))
      return {nullptr, nullptr, 0};
    const int Y = y / of.pool, X = x / of.pool;
    if (Y >= of.pooled_height() || X >= of.pooled_width()) return {nullptr, nullptr, 0};
    const int unit = (Y * of.pooled_width() + X) * of.out_channels;
    if (pull.winners == nullptr) return {signals + unit, nullptr, 0};
    return {signals + unit, pull.winners + std::ptrdiff_t(at.sample) * of.pooled_units() + unit,
            (y - Y * of.pool) * of.pool + x - X * of.pool};
  }
  /// Divides a number by a stride. Returns false if a rest is left.
  __device__ __forceinline__ static bool divides(int stride, int& number) {
    if (stride == 1) return true;
    const int all = number;
    number /= stride;
    return number * stride == all;
  }

  const ImageJob<T>& job_;
  const int samples_, windows_, row_tiles_, first_channel_, first_window_;
  int first_row_, last_row_;  ///< of all positions in the tile, before the maximum
  T *weights_, *signals_;
  T sum_[M][N];
};

}  // namespace equiprop::cuda
