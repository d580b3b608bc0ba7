#pragma once
/// A relaxation in one launch: the steps, the tests of convergence and the reports of solver/relax.hpp and
/// base/iterate.hpp, for each sample by itself.

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

/// The cost of the outputs of a batch; `y` is nullptr if there is none.
template <class T>
struct CostView {
  const T* y;     ///< targets (outputs, batch)
  T logit_scale;  ///< 0 for the squared error
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
  /// Prepares `gradient` for the outputs s (outputs, Tile); all threads of the block call it. `sample` is that in the batch.
  template <class Sample>
  __device__ __forceinline__ void prepare(const T* s, int outputs, const Sample& sample) {
    if (!exists() || cost_.logit_scale == 0) return;
    __syncthreads();
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

template <class T, int Tile>
class RelaxThread : TileThread<T, Tile> {
  using Base = TileThread<T, Tile>;
  using Base::any_moves, Base::clear, Base::exists, Base::iterations_, Base::largest_, Base::leads,
      Base::moving_, Base::network_, Base::rank_, Base::ranks_, Base::reduce, Base::report,
      Base::sample, Base::samples_, Base::status_, Base::store, Base::threads_;
  static constexpr int shared_numbers = 6;

 public:
  /// Number of vectors: the state, the signals if they differ from it, the next state unless blocks are updated in place.
  __device__ __host__ static int vectors(const NetworkView<T>& network, Method method) {
    return 1 + (network.own_signals ? 1 : 0) + (method != Method::block_update ? 1 : 0);
  }
  static std::size_t bytes(const NetworkView<T>& network, int ranks, Method method) {
    return Base::bytes(network, ranks, vectors(network, method), shared_numbers);
  }

  __device__ __forceinline__ RelaxThread(const NetworkView<T>& network, const Phase<T>& phase)
      : Base(network, phase.batch * phase.nodes, vectors(network, phase.method), shared_numbers),
        phase_(phase),
        state_(this->vector(0)),
        signals_(network.own_signals ? this->vector(1) : state_),
        next_(this->vector(network.own_signals ? 2 : 1)),
        before_(this->number_of(3)),
        ratio_(this->number_of(4)),
        amplification_(this->number_of(5)),
        cost_(phase.cost, this->number_of(0)) {}

  __device__ __forceinline__ void run() {
    start();
    if (phase_.limit == 0) confirm();
    while (any_moves()) {
      T change[Tile];
      clear(change);
      if (phase_.method == Method::block_update)
        sweep(change);
      else
        step_together(change);
      reduce(change);
      if (end_step()) confirm();
    }
    finish();
  }

 private:
  /// The number of a sample of the tile in the batch.
  __device__ __forceinline__ int in_batch(int j) const { return sample(j) % phase_.batch; }
  __device__ __forceinline__ T beta(int j) const { return phase_.beta[sample(j) / phase_.batch]; }
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
  __device__ __forceinline__ void start() {
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      take(rho, unit * Tile + j, beginning(rho, unit, j));
    });
    if (leads()) {
      const int j = threadIdx.x;
      moving_[j] = !exists(j) ? 0 : phase_.limit > 0 ? 1 : 2;
      status_[j] = max_iterations;
      iterations_[j] = 0;
      before_[j] = 0;
      ratio_[j] = amplification_[j] = 1;
    }
    cluster_sync();
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
    return nudged(k) ? beta(j) * cost_.gradient(s, i, j, network_.outputs, in_batch(j)) : T(0);
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
    const T stiffness = beta(j) * cost_.stiffness();
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
      if (turn + 1 < network_.blocks) cluster_sync();  // `reduce` waits after the last block
    }
  }
  __device__ __forceinline__ void update(int k, T (&change)[Tile]) {
    if (nudged(k)) prepare_cost();
    const LayerView<T>& layer = network_.layer[k];
    this->pull_on(k, signals_, [&](int i, int j, T sum, bool everywhere) EQUIPROP_INLINED {
      const int place = (layer.begin + i) * Tile + j;
      const T value = updated(k, i, j, drive(layer, i, j) + sum);
      raise(change[j], value - state_[place]);
      if (moving_[j] == 0) return;
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
    cluster_sync();
    T largest = 0;  // a thread meets one sample only, because Tile divides the number of threads
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      raise(largest, next_[place] - state_[place]);
      if (moving_[j] != 0) take(rho, place, next_[place]);
    });
#pragma unroll
    for (int j = 0; j < Tile; ++j)
      change[j] = static_cast<int>(threadIdx.x) % Tile == j ? largest : T(0);
  }
  __device__ __forceinline__ static void raise(T& largest, T difference) {
    largest = larger(largest, difference < 0 ? -difference : difference);
  }

  /// Counts the step. Returns true if a sample may have come to its end.
  __device__ __forceinline__ bool end_step() {
    if (leads()) {
      const int j = threadIdx.x;
      if (moving_[j] != 0) {
        estimate(j, largest_[j]);
        ++iterations_[j];
        const bool small = phase_.tolerance > 0 && largest_[j] <= rate() * phase_.tolerance;
        if (!is_finite(largest_[j])) {
          status_[j] = diverged;
          moving_[j] = 0;
        } else if (small || iterations_[j] >= phase_.limit) {
          moving_[j] = 2;  // its residual decides
        }
      }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      *this->any_ = 0;
      for (int j = 0; j < Tile; ++j) *this->any_ |= moving_[j] == 2 ? 1 : 0;
    }
    __syncthreads();
    const bool any = *this->any_ != 0;
    __syncthreads();
    return any;
  }
  __device__ __forceinline__ static bool is_finite(T v) {
    return v - v == T(0);
  }

  /// Estimates the amplification |s - s*| / |g(s) - s| of a sample from its last two changes; see Iteration::estimate.
  __device__ __forceinline__ void estimate(int j, T change) {
    if (phase_.tolerance == 0) return;
    constexpr T most = 100, kept = T(0.8);
    const T before = before_[j];
    before_[j] = change;
    if (iterations_[j] < 2 || !(before > 0) || !is_finite(change)) return;
    const T noise = T(0.01) * phase_.tolerance * rate();
    const T ratio = larger(change - noise, T(0)) / (before + noise);
    const T growth = larger(ratio - ratio_[j], T(0));
    ratio_[j] = ratio;
    const T latest = T(1) / larger(T(1) - ratio - growth, T(1) / most);
    amplification_[j] = larger(larger(T(1), latest), kept * amplification_[j]);
  }

  /// Ends the samples whose residual is small: a small change does not prove convergence.
  __device__ __forceinline__ void confirm() {
    T change[Tile];
    clear(change);
    if (cost_.exists()) prepare_cost();
    const int last = (phase_.first_block + network_.blocks - 1) % network_.blocks;
#pragma unroll 1
    for (int b = 0; b < network_.blocks; ++b)
#pragma unroll 1
      for (int n = block_begin(b); n < network_.block_end[b]; ++n)
        if (b != last || !settled(network_.order[n])) measure(network_.order[n], change);
    reduce(change);
    if (leads() && moving_[threadIdx.x] == 2) conclude(threadIdx.x);
    __syncthreads();
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
  __device__ __forceinline__ void conclude(int j) {
    const T residual = largest_[j];
    const bool small = residual <= phase_.tolerance;
    if (!is_finite(residual))
      status_[j] = diverged;
    else if (phase_.tolerance == 0)
      status_[j] = fixed_steps;
    else if (small)
      status_[j] = converged;
    else if (iterations_[j] < phase_.limit) {
      moving_[j] = 1;
      return;
    }
    moving_[j] = 0;
    if (rank_ != 0) return;
    phase_.residual[sample(j)] = residual;
    phase_.error[sample(j)] = rate() * residual * amplification_[j];
  }

  /// Stores the results. A sample that diverged gets its start state.
  __device__ __forceinline__ void finish() {
    const int share = slice_of(network_.units, ranks_), begin = share * rank_;
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      if (unit < begin || unit >= begin + share || !exists(j)) return;
      const T last = status_[j] == diverged ? beginning(rho, unit, j) : state_[unit * Tile + j];
      phase_.state[unit + std::ptrdiff_t(sample(j)) * network_.units] = last;
    });
    if (leads()) {
      const int j = threadIdx.x;
      report(j, phase_.status, phase_.iterations);
      if (rank_ == 0 && exists(j) && status_[j] == diverged) {
        phase_.residual[sample(j)] = largest_[j];
        phase_.error[sample(j)] = largest_[j];
      }
    }
    cluster_sync();  // no block leaves while others may write to it
  }

  const Phase<T>& phase_;
  T *state_, *signals_, *next_;
  T *before_, *ratio_, *amplification_;
  CostThread<T, Tile> cost_;
};

/// Launched on ceil(nodes * batch / Tile) clusters along x.
template <class T, int Tile>
__global__ void __launch_bounds__(most_threads, 1)
    relax(const __grid_constant__ NetworkView<T> network, const __grid_constant__ Phase<T> phase) {
  RelaxThread<T, Tile>(network, phase).run();
}

}  // namespace equiprop::cuda
