#pragma once
/// A relaxation in one launch: the steps, the tests of convergence and the reports of solver/relax.hpp and
/// base/iterate.hpp, for each sample by itself.

#include "amplification.cuh"
#include "cost.cuh"
#include "tile.cuh"

namespace equiprop::cuda {

/// The values of equiprop::Status.
enum : signed char {
  converged = 0,
  fixed_steps = 1,
  max_iterations = 3,
  indefinite = 4,
  diverged = 5
};

/// One launch: `nodes` nudged phases of a batch side by side, or the free phase.
template <class T>
struct Phase {
  int batch, nodes;
  T beta[most_nodes];
  const T* drive;  ///< biases and input, (units, batch)
  CostView<T> cost;
  const T* start;  ///< (units, batch), or nullptr for the state at rest
  T* state;        ///< (units, nodes * batch)
  Method method;
  T number;  ///< damping, or step size
  T tolerance;
  int limit;
  int first_block;  ///< block that a sweep updates first
  // Reports, (nodes * batch,).
  signed char* status;
  int* iterations;
  T *residual, *error;
};

/// The progress of a sample. A lane of a warp holds that of sample lane % Tile: all warps of a cluster compute it from the same
/// numbers, so that they need no barrier to agree on it.
template <class T>
struct Progress {
  int iterations;
  signed char status;
  Amplification<T> amplification;
};

template <class T, int Tile>
class RelaxThread : TileThread<T, Tile> {
  using Base = TileThread<T, Tile>;
  using Base::clear, Base::network_, Base::rank_, Base::ranks_, Base::store, Base::sync,
      Base::threads_;
  static constexpr int own_numbers = 4, own_integers = 1;
  static constexpr unsigned every_lane = 0xffffffffu, every_place = (1u << Tile) - 1;

 public:
  /// Number of vectors: the state, the signals if they differ from it, the next state unless blocks are updated in place.
  __device__ __host__ static int vectors(const NetworkView<T>& network, Method method) {
    return 1 + (network.own_signals ? 1 : 0) + (method != Method::block_update ? 1 : 0);
  }
  /// Numbers per sample: three of the cost, beta, and two for each warp of the cluster.
  __device__ __host__ static int numbers(int ranks) {
    return own_numbers + 2 * ranks * (most_threads / warp);
  }
  static std::size_t bytes(const NetworkView<T>& network, int ranks, Method method) {
    return Base::bytes(network, ranks, vectors(network, method), numbers(ranks), own_integers);
  }

  __device__ __forceinline__ RelaxThread(const NetworkView<T>& network, const Phase<T>& phase)
      : Base(network, vectors(network, phase.method), numbers(static_cast<int>(cluster_size()))),
        phase_(phase),
        state_(this->vector(0)),
        signals_(network.own_signals ? this->vector(1) : state_),
        next_(this->vector(network.own_signals ? 2 : 1)),
        beta_(this->number_of(3)),
        changes_(this->number_of(own_numbers)),
        in_batch_(this->integer_of(0)),
        first_(this->cluster() * Tile),
        cost_(phase.cost, this->number_of(0)) {}

  __device__ __forceinline__ void run() {
    start();
    while (moving_ != 0) {
      unsigned slow = moving_;  // samples whose residual decides
      if (phase_.limit > 0) {
        T change[Tile];
        clear(change);
        if (phase_.method == Method::block_update)
          sweep(change);
        else
          step_together(change);
        slow = end_step(reduce(change));
      }
      if (slow != 0) confirm(slow);
      if (ended_ != 0) store_samples();
    }
    sync();  // no block leaves while others may write to it
  }

 private:
  /// The number of a sample of the tile in the batch.
  __device__ __forceinline__ int in_batch(int j) const { return in_batch_[j]; }
  __device__ __forceinline__ static bool is_in(unsigned set, int j) { return (set >> j & 1u) != 0; }
  /// The place in the tile of the sample whose progress a lane holds.
  __device__ __forceinline__ static int place_of_lane() {
    return static_cast<int>(threadIdx.x) % Tile;
  }
  /// Returns the places of the tile whose lanes say true.
  __device__ __forceinline__ static unsigned places(bool here) {
    return __ballot_sync(every_lane, here) & every_place;
  }
  __device__ __forceinline__ bool nudged(int k) const {
    return k + 1 == network_.layers && cost_.exists();
  }
  __device__ __forceinline__ T rate() const {
    switch (phase_.method) {
      case Method::fixed_point:
        return T(1) - phase_.number;
      case Method::euler:
        return phase_.number;
      default:
        return T(1);
    }
  }

  __device__ __forceinline__ T beginning(const Units<T>& rho, int unit, int j) const {
    if (phase_.start == nullptr) return rho.rest();
    return phase_.start[unit + std::ptrdiff_t(in_batch(j)) * network_.units];
  }
  /// The number of a sample in the launch. The last places of a tile repeat the last sample; they are not stored.
  __device__ __forceinline__ int sample(int j) const {
    const int samples = phase_.batch * phase_.nodes;
    return first_ + j < samples ? first_ + j : samples - 1;
  }
  __device__ __forceinline__ void start() {
    if (this->leads()) {
      const int j = threadIdx.x;
      in_batch_[j] = sample(j) % phase_.batch;
      beta_[j] = phase_.beta[sample(j) / phase_.batch];
    }
    __syncthreads();
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      take(rho, unit * Tile + j, beginning(rho, unit, j));
    });
    moving_ = places(first_ + place_of_lane() < phase_.batch * phase_.nodes);
    sync();
  }
  /// Stores the state and the signal of a unit in this block.
  __device__ __forceinline__ void take(const Units<T>& rho, int place, T value) {
    state_[place] = value;
    if (network_.own_signals) signals_[place] = rho.signal(value);
  }

  __device__ __forceinline__ T drive(const LayerView<T>& layer, int i, int j) const {
    return phase_.drive[layer.begin + i + std::ptrdiff_t(in_batch(j)) * network_.units];
  }
  __device__ __forceinline__ void prepare_cost() {
    const LayerView<T>& outputs = network_.layer[network_.layers - 1];
    cost_.prepare(state_ + outputs.begin * Tile, outputs.units,
                  [&](int j) EQUIPROP_INLINED { return in_batch(j); });
  }
  /// beta dC/ds of unit i of layer k.
  __device__ __forceinline__ T pull_of_cost(int k, int i, int j, T s) const {
    return nudged(k) ? beta_[j] * cost_.gradient(s, i, j, network_.outputs, in_batch(j)) : T(0);
  }
  /// T(s) of a unit, the image of the map whose fixed points are those of the dynamics.
  __device__ __forceinline__ T image(int k, int i, int j, T p) const {
    const LayerView<T>& layer = network_.layer[k];
    const int place = (layer.begin + i) * Tile + j;
    const T s = state_[place];
    return layer.rho.respond(p, signals_[place], s, -pull_of_cost(k, i, j, s), T(0));
  }
  /// The state of a unit after an update of its block. The cost counts by its quadratic model at s.
  __device__ __forceinline__ T updated(int k, int i, int j, T p) const {
    const LayerView<T>& layer = network_.layer[k];
    const int place = (layer.begin + i) * Tile + j;
    const T s = state_[place];
    if (!nudged(k)) return layer.rho.descend(p, signals_[place], s, T(0), T(0));
    const T stiffness = beta_[j] * cost_.stiffness();
    return layer.rho.descend(p, signals_[place], s, fused(stiffness, s, -pull_of_cost(k, i, j, s)),
                             stiffness);
  }
  /// The state of a unit after a step of all units.
  __device__ __forceinline__ T stepped(int k, int i, int j, T p) const {
    const LayerView<T>& layer = network_.layer[k];
    const int place = (layer.begin + i) * Tile + j;
    const T s = state_[place];
    if (phase_.method == Method::fixed_point) {
      const T kept = phase_.number, to = image(k, i, j, p);
      return kept == 0 ? to : fused(kept, s, (T(1) - kept) * to);
    }
    const Units<T>& rho = layer.rho;
    const T slope = fused(-rho.signal_slope(signals_[place]), p, rho.leak_gradient(s)) +
                    pull_of_cost(k, i, j, s);
    const T to = fused(-phase_.number, slope, s);
    return rho.clips() ? rho.clamp(to) : to;
  }

  __device__ __forceinline__ int block_begin(int b) const {
    return b == 0 ? 0 : network_.block_end[b - 1];
  }

  /// Updates all blocks, one after the other.
  __device__ __forceinline__ void sweep(T (&change)[Tile]) {
#pragma unroll 1
    for (int turn = 0; turn < network_.blocks; ++turn) {
      const int b = (phase_.first_block + turn) % network_.blocks;
#pragma unroll 1
      for (int n = block_begin(b); n < network_.block_end[b]; ++n)
        update(network_.order[n], change);
      if (turn + 1 < network_.blocks) sync();  // `reduce` waits after the last block
    }
  }
  __device__ __forceinline__ void update(int k, T (&change)[Tile]) {
    if (nudged(k)) prepare_cost();
    const LayerView<T>& layer = network_.layer[k];
    this->pull_on(k, signals_, [&](int i, int j, T sum, bool everywhere) EQUIPROP_INLINED {
      const int place = (layer.begin + i) * Tile + j;
      const T value = updated(k, i, j, drive(layer, i, j) + sum);
      raise(change[j], value - state_[place]);
      if (!is_in(moving_, j)) return;
      store(state_ + place, value, everywhere);
      if (network_.own_signals) store(signals_ + place, layer.rho.signal(value), everywhere);
    });
  }
  /// Takes a step of all units at the same time.
  __device__ __forceinline__ void step_together(T (&change)[Tile]) {
    if (cost_.exists()) prepare_cost();
#pragma unroll 1
    for (int k = 0; k < network_.layers; ++k) {
      const LayerView<T>& layer = network_.layer[k];
      this->pull_on(k, signals_, [&](int i, int j, T sum, bool everywhere) EQUIPROP_INLINED {
        store(next_ + (layer.begin + i) * Tile + j, stepped(k, i, j, drive(layer, i, j) + sum),
              everywhere);
      });
    }
    sync();
    T largest = 0;  // a thread meets one sample only, because Tile divides the number of threads
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      raise(largest, next_[place] - state_[place]);
      if (is_in(moving_, j)) take(rho, place, next_[place]);
    });
#pragma unroll
    for (int j = 0; j < Tile; ++j)
      change[j] = static_cast<int>(threadIdx.x) % Tile == j ? largest : T(0);
  }
  __device__ __forceinline__ static void raise(T& largest, T difference) {
    largest = larger(largest, difference < 0 ? -difference : difference);
  }

  /// Returns the largest `change` in the cluster of the sample of this lane. Two sets of numbers take turns, so that one
  /// barrier suffices.
  __device__ __forceinline__ T reduce(const T (&change)[Tile]) {
    T mine = 0;
#pragma unroll
    for (int j = 0; j < Tile; ++j) {
      T most = change[j];
      for (int mask = warp / 2; mask > 0; mask /= 2)
        most = larger(most, __shfl_xor_sync(every_lane, most, mask));
      if (place_of_lane() == j) mine = most;
    }
    const int lane = static_cast<int>(threadIdx.x) % warp, warps = threads_ / warp;
    T* const changes = changes_ + turn_ * ranks_ * warps * Tile;
    const int place = (rank_ * warps + static_cast<int>(threadIdx.x) / warp) * Tile + lane % Tile;
    for (int r = lane / Tile; r < ranks_; r += warp / Tile)
      *of_rank(changes + place, static_cast<unsigned>(r)) = mine;
    turn_ = 1 - turn_;
    sync();
    T most = 0;
    for (int w = lane / Tile; w < ranks_ * warps; w += warp / Tile)
      most = larger(most, changes[w * Tile + lane % Tile]);
    for (int mask = warp / 2; mask >= Tile; mask /= 2)
      most = larger(most, __shfl_xor_sync(every_lane, most, mask));
    return most;
  }

  /// Counts the step. Returns the samples that may have come to their end.
  __device__ __forceinline__ unsigned end_step(T change) {
    const bool moves = is_in(moving_, place_of_lane()), finite = is_finite(change);
    bool slow = false;
    if (moves) {
      progress_.amplification.take(change, progress_.iterations, phase_.tolerance, rate());
      ++progress_.iterations;
      const bool small = phase_.tolerance > 0 && change <= rate() * phase_.tolerance;
      slow = finite && (small || progress_.iterations >= phase_.limit);
      if (!finite) end(diverged, change);
    }
    ended_ = places(moves && !finite);
    return places(slow);
  }
  /// Ends the sample of this lane.
  __device__ __forceinline__ void end(signed char status, T residual) {
    progress_.status = status;
    if (rank_ != 0 || static_cast<int>(threadIdx.x) >= Tile) return;
    const int sample = first_ + static_cast<int>(threadIdx.x);
    phase_.status[sample] = status;
    phase_.iterations[sample] = progress_.iterations;
    phase_.residual[sample] = residual;
    phase_.error[sample] =
        status == diverged ? residual : rate() * residual * progress_.amplification.value;
  }

  /// Ends those of the samples `slow` whose residual is small: a small change does not prove convergence.
  __device__ __forceinline__ void confirm(unsigned slow) {
    T change[Tile];
    clear(change);
    if (cost_.exists()) prepare_cost();
    const int last = (phase_.first_block + network_.blocks - 1) % network_.blocks;
#pragma unroll 1
    for (int b = 0; b < network_.blocks; ++b)
#pragma unroll 1
      for (int n = block_begin(b); n < network_.block_end[b]; ++n)
        if (b != last || !settled(network_.order[n])) measure(network_.order[n], change);
    const T residual = reduce(change);
    ended_ |= places(is_in(slow, place_of_lane()) && conclude(residual));
  }
  /// Returns true if the last update of a sweep made the residual of a layer 0.
  __device__ __forceinline__ bool settled(int k) const {
    return phase_.method == Method::block_update && phase_.limit > 0 && !nudged(k) &&
           network_.layer[k].rho.linear_signal();
  }
  __device__ __forceinline__ void measure(int k, T (&change)[Tile]) {
    const LayerView<T>& layer = network_.layer[k];
    this->pull_on(k, signals_, [&](int i, int j, T sum, bool) EQUIPROP_INLINED {
      raise(change[j],
            image(k, i, j, drive(layer, i, j) + sum) - state_[(layer.begin + i) * Tile + j]);
    });
  }
  /// Returns true if the sample of this lane ends with this residual.
  __device__ __forceinline__ bool conclude(T residual) {
    if (!is_finite(residual))
      end(diverged, residual);
    else if (phase_.tolerance == 0)
      end(fixed_steps, residual);
    else if (residual <= phase_.tolerance)
      end(converged, residual);
    else if (progress_.iterations >= phase_.limit)
      end(max_iterations, residual);
    else
      return false;
    return true;
  }

  /// Stores the states of the samples that ended. A sample that diverged gets its start state.
  __device__ __forceinline__ void store_samples() {
    const unsigned lost = places(is_in(ended_, place_of_lane()) && progress_.status == diverged);
    const int share = slice_of(network_.units, ranks_), begin = share * rank_;
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      if (unit < begin || unit >= begin + share || !is_in(ended_, j)) return;
      const T last = is_in(lost, j) ? beginning(rho, unit, j) : state_[unit * Tile + j];
      phase_.state[unit + std::ptrdiff_t(first_ + j) * network_.units] = last;
    });
    moving_ &= ~ended_;
    ended_ = 0;
  }

  const Phase<T>& phase_;
  T *state_, *signals_, *next_;
  T *beta_, *changes_;
  int* in_batch_;
  const int first_;                  ///< sample of the tile
  unsigned moving_ = 0, ended_ = 0;  ///< places of samples that move, or came to their end
  int turn_ = 0;
  Progress<T> progress_{0, max_iterations, {}};
  CostThread<T, Tile> cost_;
};

/// Launched on ceil(nodes * batch / Tile) clusters along x.
template <class T, int Tile>
__global__ void __launch_bounds__(most_threads, 1)
    relax(const __grid_constant__ NetworkView<T> network, const __grid_constant__ Phase<T> phase) {
  RelaxThread<T, Tile>(network, phase).run();
}

}  // namespace equiprop::cuda
