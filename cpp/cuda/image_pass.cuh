#pragma once
/// The launch that updates the layers of a block of a network with images: it computes the pulls of all neighbours, the
/// nudge, the response, and the change of each sample.

#include <cstring>

#include "image_tile.cuh"
#include "progress.cuh"
#include "relax.cuh"

namespace equiprop::cuda {

/// A number that is not negative, or NaN, as an integer of the same order; NaN is the largest.
template <class T>
using Ordered = typename scalar::Simd<T>::Bits;

template <class T>
__device__ __forceinline__ void raise_largest(Ordered<T>* at, T size) {
  Ordered<T> bits;
  std::memcpy(&bits, &size, sizeof(T));
  bits &= ~Ordered<T>(0) >> 1;  // the sign of a NaN
  atomicMax(at, bits);
}
template <class T>
__device__ __forceinline__ T number_of(Ordered<T> bits) {
  T number;
  std::memcpy(&number, &bits, sizeof(T));
  return number;
}

/// The options of a relaxation, in the memory of the device, so that a graph need not be built again for others.
template <class T>
struct ImageSettings {
  int batch, nodes;
  bool nudged;
  Method method;
  T beta[most_nodes];
  T logit_scale, number;
  Stopping<T> stopping;
  const T* start;  ///< (units, batch), or nullptr for the state at rest
};

/// The memory of a relaxation: `samples` of all nodes side by side.
template <class T>
struct ImagePhase {
  const ImageView<T>* view;
  const ImageSettings<T>* settings;
  int samples, outputs;
  const T *drive, *y;  ///< (units, batch), (outputs, batch)
  T *state, *signals;  ///< (units, samples); one array if each signal is a multiple of its state
  T* next;             ///< (units, samples) of steps that move all units
  T* shares;           ///< (3, samples): largest logit, partition, sum of the targets
  SampleProgress<T>* progress;  ///< (samples,)
  Ordered<T>* change;           ///< (samples,)
  T *residual, *error;          ///< (samples,)

  __device__ int in_batch(int sample) const { return sample % settings->batch; }
  __device__ bool own_signals() const { return signals != state; }
  /// dC/do of output i at s.
  __device__ T cost_gradient(T s, int i, int sample) const {
    const T target = y[i + std::ptrdiff_t(in_batch(sample)) * outputs], a = settings->logit_scale;
    if (a == 0) return s - target;
    const T share = scalar::exp<T>(a * (s - shares[sample])) / shares[samples + sample];
    return a * fused(share, shares[2 * samples + sample], -target);
  }
  __device__ T stiffness() const {
    const T a = settings->logit_scale;
    return a == 0 ? T(1) : T(0.5) * a * a;
  }
};

/// Use of the sums of products in a launch.
enum class Finish { drive, update, step, measure, linearize, hessian };

/// Vectors (units, samples) of a linear system: A v = bend v - slope pull(slope v); `diagonal` is 0 for units that a bound
/// holds, and `image` is A times `direction`.
template <class T>
struct SideVectors {
  T *bend, *slope, *diagonal, *direction, *image;
};

/// One launch: the tiles of some jobs of a view.
template <class T>
struct ImagePass {
  ImagePhase<T> phase;
  const ImageView<T>* view;
  const T* signals;  ///< gathered by pulls
  int samples;
  Finish finish;
  int wanted;       ///< computes the samples of this progress; 0 for all
  const T* biases;  ///< of a drive: parameters
  T factor;         ///< of a drive
  T* out;           ///< drive, or derivative by the input
  std::ptrdiff_t out_stride;
  SideVectors<T> side;
  bool keeps_winners;  ///< a maximum is the number at the winner of an earlier launch
  int count;           ///< of jobs
  int job[most_jobs], end[most_jobs];  ///< numbers of jobs in the view, and ends of their tiles
  std::ptrdiff_t bias[most_layers];    ///< index of the biases of a layer in theta, or -1
};

/// The units of a layer in one tile.
template <class T, int M, int N>
class ImageUnits {
 public:
  using Tile = ImageTile<T, M, N>;

  __device__ __forceinline__ ImageUnits(const ImagePass<T>& pass, const ImageJob<T>& job,
                                        const Tile& tile)
      : pass_(pass),
        phase_(pass.phase),
        job_(job),
        layer_(pass.view->layer[job.layer]),
        tile_(tile) {}

  __device__ __forceinline__ void run() const {
    T change[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      change[j] = 0;
      const auto place = tile_.place(Tile::column_of_thread() + j);
      if (place.sample < 0 || !is_wanted(place.sample)) continue;
      const int first = (place.y * job_.width + place.x) * job_.channels;
#pragma unroll
      for (int i = 0; i < M; ++i) {
        const int channel = tile_.channel(i);
        if (channel < job_.channels) {
          const T size = finish(first + channel, channel, place.sample, tile_.sum(i, j));
          change[j] = larger(change[j], size);
        }
      }
    }
    const bool moves = pass_.finish == Finish::update || pass_.finish == Finish::step ||
                       pass_.finish == Finish::measure;
    if (moves) raise_changes(change);
  }
  __device__ __forceinline__ bool is_wanted(int sample) const {
    return pass_.wanted == 0 || phase_.progress[sample].state == pass_.wanted;
  }

 private:
  /// Completes the unit with this sum. Returns its change.
  __device__ __forceinline__ T finish(int unit, int channel, int sample, T sum) const {
    for (int n = 0; n < job_.addends; ++n) {
      const Addend<T>& added = pass_.view->addend[job_.first_addend + n];
      const T* data = added.data != nullptr ? added.data : pass_.signals + added.begin;
      sum = fused(added.factor, data[unit + sample * added.stride], sum);
    }
    if (pass_.finish == Finish::drive) {
      const std::ptrdiff_t bias = pass_.bias[job_.layer];
      if (bias >= 0) sum += pass_.biases[bias + channel];
      pass_.out[layer_.begin + unit + sample * pass_.out_stride] = pass_.factor * sum;
      return T(0);
    }
    const std::ptrdiff_t at = layer_.begin + unit + std::ptrdiff_t(sample) * pass_.view->units;
    if (pass_.finish != Finish::hessian) return move(unit, sample, at, sum);
    const SideVectors<T>& side = pass_.side;
    side.image[at] = fused(-side.slope[at], sum, side.bend[at] * side.direction[at]);
    return T(0);
  }
  __device__ __forceinline__ T move(int unit, int sample, std::ptrdiff_t at, T sum) const {
    const int units = pass_.view->units;
    const T p =
        phase_.drive[layer_.begin + unit + std::ptrdiff_t(phase_.in_batch(sample)) * units] + sum;
    const T s = phase_.state[at], u = phase_.own_signals() ? phase_.signals[at] : s;
    if (pass_.finish == Finish::linearize) {
      pass_.side.bend[at] = layer_.rho.curvature_at(s, layer_.rho.signal(s), p);
      pass_.side.slope[at] = layer_.rho.signal_slope(layer_.rho.signal(s));
      pass_.side.diagonal[at] = layer_.rho.mobility(p);
      return T(0);
    }
    const T nudge = nudged() ? beta(sample) * phase_.cost_gradient(s, unit, sample) : T(0);
    T to = s;
    if (pass_.finish == Finish::update) {
      const T stiffness = nudged() ? beta(sample) * phase_.stiffness() : T(0);
      to = layer_.rho.descend(p, u, s, fused(stiffness, s, -nudge), stiffness);
      phase_.state[at] = to;
      if (phase_.own_signals()) phase_.signals[at] = layer_.rho.signal(to);
    } else if (pass_.finish == Finish::measure) {
      to = layer_.rho.respond(p, u, s, -nudge, T(0));
    } else {
      to = stepped(p, u, s, nudge);
      phase_.next[at] = to;
    }
    return to - s < 0 ? s - to : to - s;
  }
  /// The state of a unit after a step of all units.
  __device__ __forceinline__ T stepped(T p, T u, T s, T nudge) const {
    const T number = phase_.settings->number;
    if (phase_.settings->method == Method::fixed_point) {
      const T to = layer_.rho.respond(p, u, s, -nudge, T(0));
      return number == 0 ? to : fused(number, s, (T(1) - number) * to);
    }
    const T slope = fused(-layer_.rho.signal_slope(u), p, layer_.rho.leak_gradient(s)) + nudge;
    const T to = fused(-number, slope, s);
    return layer_.rho.clips() ? layer_.rho.clamp(to) : to;
  }
  __device__ __forceinline__ bool nudged() const {
    return phase_.settings->nudged && job_.layer + 1 == pass_.view->layers;
  }
  __device__ __forceinline__ T beta(int sample) const {
    return phase_.settings->beta[sample / phase_.settings->batch];
  }

  /// Raises the change of each sample; every thread of the block calls it.
  __device__ __forceinline__ void raise_changes(const T (&change)[N]) const {
    T* const moved = shared_memory<T>();  // the tiles are no longer needed
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; ++j)
      moved[static_cast<int>(threadIdx.x) % 16 * Tile::columns + Tile::column_of_thread() + j] =
          change[j];
    __syncthreads();
    const int column = threadIdx.x;
    if (column >= Tile::columns) return;
    const auto place = tile_.place(column);
    if (place.sample < 0 || !is_wanted(place.sample)) return;
    T most = 0;
    for (int m = 0; m < 16; ++m) most = larger(most, moved[m * Tile::columns + column]);
    raise_largest(phase_.change + place.sample, most);
  }

  const ImagePass<T>& pass_;
  const ImagePhase<T>& phase_;
  const ImageJob<T>& job_;
  const ImageLayer<T>& layer_;
  const Tile& tile_;
};

/// Launched on all tiles of the jobs along x.
template <class T, int M, int N>
__global__ void __launch_bounds__(image_threads, 2)
    image_pass(const __grid_constant__ ImagePass<T> pass) {
  const int block = static_cast<int>(blockIdx.x);
  int n = 0;
  while (block >= pass.end[n]) ++n;
  const ImageJob<T>& job = pass.view->job[pass.job[n]];
  ImageTile<T, M, N> tile(job, n == 0 ? block : block - pass.end[n - 1], pass.samples);
  const ImageUnits<T, M, N> units(pass, job, tile);
  bool any = false;
  for (int sample = tile.first_sample(); sample <= tile.last_sample(); ++sample)
    any = any || units.is_wanted(sample);
  if (!any) return;
  tile.multiply(*pass.view, pass.signals);
  if (job.out == nullptr)
    units.run();
  else if (job.pool > 1)
    tile.store_maxima(pass.keeps_winners);
  else
    tile.store_sums();
}

}  // namespace equiprop::cuda
