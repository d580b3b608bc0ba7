#pragma once
/// Conjugate gradients for the side network A lambda = dC/ds of Recurrent Backpropagation, in one launch; A is the Hessian
/// of E at a state, restricted to the units that no bound holds. See linear/conjugate_gradient.cpp for the rules.

#include "relax.cuh"

namespace equiprop::cuda {

template <class T>
struct SideNetwork {
  int batch;
  const T* drive;  ///< (units, batch)
  CostView<T> cost;
  const T* state;  ///< (units, batch)
  T* lambda;       ///< (units, batch)
  T tolerance, vanishing;
  int limit;
  signed char* status;
  int* iterations;
  T *residual, *error;  ///< relative to max |D dC/ds|
};

template <class T, int Tile>
class ConjugateThread : TileThread<T, Tile> {
  using Base = TileThread<T, Tile>;
  using Base::leads, Base::network_, Base::rank_, Base::ranks_, Base::store, Base::sync,
      Base::threads_;
  static constexpr int shared_vectors = 8, shared_numbers = 9, shared_integers = 4;

 public:
  static std::size_t bytes(const NetworkView<T>& network, int ranks) {
    return Base::bytes(network, ranks, shared_vectors, shared_numbers, shared_integers);
  }

  __device__ ConjugateThread(const NetworkView<T>& network, const SideNetwork<T>& side)
      : Base(network, shared_vectors, shared_numbers),
        side_(side),
        bend_(this->vector(0)),
        slope_(this->vector(1)),
        diagonal_(this->vector(2)),
        direction_(this->vector(3)),
        pulled_(this->vector(4)),
        x_(this->vector(5)),
        r_(this->vector(6)),
        q_(this->vector(7)),
        sum_(this->number_of(3)),
        rho_(this->number_of(4)),
        scale_(this->number_of(5)),
        unit_(this->number_of(6)),
        factor_(this->number_of(7)),
        size_(this->number_of(8)),
        moving_(this->integer_of(0)),
        status_(this->integer_of(1)),
        iterations_(this->integer_of(2)),
        any_(this->integer_of(3)),
        first_(this->cluster() * Tile),
        cost_(side.cost, this->number_of(0)) {}

  __device__ void run() {
    linearize();
    start();
    while (any_moves()) {
      multiply();
      follow();
      turn();
    }
    finish();
  }

 private:
  /// The number of a sample in the batch. The last places of a tile repeat the last sample; they are not stored.
  __device__ int sample(int j) const {
    return first_ + j < side_.batch ? first_ + j : side_.batch - 1;
  }
  __device__ bool exists(int j) const { return first_ + j < side_.batch; }
  /// Returns true if a sample of the tile moves; all threads of the cluster receive the same answer.
  __device__ bool any_moves() {
    if (threadIdx.x == 0) {
      *any_ = 0;
      for (int j = 0; j < Tile; ++j) *any_ |= moving_[j];
    }
    __syncthreads();
    const bool any = *any_ != 0;
    __syncthreads();
    return any;
  }

  /// Stores the Hessian in parts: A v = bend v - slope pull(slope v).
  __device__ void linearize() {
    this->for_each_unit([&](const Units<T>& rho, int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      x_[place] = side_.state[unit + std::ptrdiff_t(sample(j)) * network_.units];
      pulled_[place] = rho.signal(x_[place]);
    });
    sync();
    for (int k = 0; k < network_.layers; ++k) {
      const LayerView<T>& layer = network_.layer[k];
      this->pull_on(k, pulled_, [&](int i, int j, T sum, bool everywhere) EQUIPROP_INLINED {
        const int unit = layer.begin + i, place = unit * Tile + j;
        const T p = side_.drive[unit + std::ptrdiff_t(sample(j)) * network_.units] + sum;
        store(bend_ + place, layer.rho.curvature_at(x_[place], pulled_[place], p), everywhere);
        store(slope_ + place, layer.rho.signal_slope(pulled_[place]), everywhere);
        store(diagonal_ + place, layer.rho.mobility(p), everywhere);
      });
    }
    sync();
  }

  /// r = dC/ds / unit, with a power of two `unit` for which the squares of r neither overflow nor vanish.
  __device__ void start() {
    const LayerView<T>& outputs = network_.layer[network_.layers - 1];
    cost_.prepare(x_ + outputs.begin * Tile, outputs.units,
                  [&](int j) EQUIPROP_INLINED { return sample(j); });
    this->for_each_number([&](int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j, i = unit - outputs.begin;
      r_[place] = i < 0 ? T(0) : cost_.gradient(x_[place], i, j, outputs.units, sample(j));
    });
    __syncthreads();
    largest([&](int place) EQUIPROP_INLINED { return diagonal_[place] * r_[place]; }, scale_);
    if (leads()) {
      const int j = threadIdx.x;
      const bool usable = scale_[j] > 0 && scale_[j] - scale_[j] == T(0);
      unit_[j] = usable ? std::ldexp(T(1), std::ilogb(scale_[j])) : T(1);
      moving_[j] = exists(j) ? 1 : 0;
      status_[j] = max_iterations;
      iterations_[j] = 0;
    }
    __syncthreads();
    this->for_each_number([&](int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      r_[place] /= unit_[j];
      direction_[place] = diagonal_[place] * r_[place];
      pulled_[place] = slope_[place] * direction_[place];
      x_[place] = 0;
    });
    __syncthreads();
    inner(r_, direction_, rho_);
    largest([&](int place) EQUIPROP_INLINED { return direction_[place]; }, size_);
    judge();
    sync();
  }

  /// q = A direction.
  __device__ void multiply() {
    for (int k = 0; k < network_.layers; ++k) {
      const LayerView<T>& layer = network_.layer[k];
      this->pull_on(k, pulled_, [&](int i, int j, T sum, bool everywhere) EQUIPROP_INLINED {
        const int place = (layer.begin + i) * Tile + j;
        store(q_ + place, fused(-slope_[place], sum, bend_[place] * direction_[place]), everywhere);
      });
    }
    sync();
  }

  /// Takes a step along the direction: updates x, r, and <r, D r>.
  __device__ void follow() {
    inner(direction_, q_, sum_);
    if (leads()) {
      const int j = threadIdx.x;
      factor_[j] = 0;
      if (moving_[j] != 0 && sum_[j] <= 0) {
        moving_[j] = 0;
        status_[j] = indefinite;
        if (iterations_[j] == 0) factor_[j] = 1;  // x becomes the first direction
      } else if (moving_[j] != 0) {
        factor_[j] = rho_[j] / sum_[j];
      }
    }
    __syncthreads();
    this->for_each_number([&](int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      if (factor_[j] == 0) return;
      x_[place] = fused(factor_[j], direction_[place], x_[place]);
      r_[place] = fused(-factor_[j], q_[place], r_[place]);
    });
    __syncthreads();
  }

  /// Chooses the next direction, and the samples that go on.
  __device__ void turn() {
    largest([&](int place) EQUIPROP_INLINED { return diagonal_[place] * r_[place]; }, size_);
    inner_with_diagonal(sum_);
    if (leads()) {
      const int j = threadIdx.x;
      if (moving_[j] != 0) {
        ++iterations_[j];
        factor_[j] = sum_[j] / rho_[j];
        rho_[j] = sum_[j];
      }
    }
    __syncthreads();
    this->for_each_number([&](int unit, int j) EQUIPROP_INLINED {
      const int place = unit * Tile + j;
      if (moving_[j] == 0) return;
      direction_[place] = fused(factor_[j], direction_[place], diagonal_[place] * r_[place]);
      pulled_[place] = slope_[place] * direction_[place];
    });
    judge();
    sync();
  }

  /// Ends samples whose residual `size_` is small or not finite, or that have taken all steps.
  __device__ void judge() {
    __syncthreads();
    if (!leads() || moving_[threadIdx.x] == 0) return;
    const int j = threadIdx.x;
    moving_[j] = 0;
    const T threshold = scale_[j] / unit_[j] * side_.tolerance;
    if (!(size_[j] - size_[j] == T(0)))
      status_[j] = diverged;
    else if (size_[j] <= side_.vanishing || (side_.tolerance > 0 && size_[j] <= threshold))
      status_[j] = converged;
    else if (iterations_[j] < side_.limit)
      moving_[j] = 1;
    else if (side_.tolerance == 0)
      status_[j] = fixed_steps;
  }

  __device__ void finish() {
    const int share = slice_of(network_.units, ranks_), begin = share * rank_;
    this->for_each_number([&](int unit, int j) EQUIPROP_INLINED {
      if (unit < begin || unit >= begin + share || !exists(j)) return;
      side_.lambda[unit + std::ptrdiff_t(sample(j)) * network_.units] =
          x_[unit * Tile + j] * unit_[j];
    });
    if (leads()) {
      const int j = threadIdx.x;
      if (rank_ == 0 && exists(j)) {
        side_.status[sample(j)] = static_cast<signed char>(status_[j]);
        side_.iterations[sample(j)] = iterations_[j];
        const T relative = scale_[j] > 0 ? size_[j] * unit_[j] / scale_[j] : T(0);
        side_.residual[sample(j)] = relative;
        side_.error[sample(j)] = relative;
      }
    }
    sync();
  }

  // Every block computes sums over all units, one warp for each sample, in the order of lanes.

  template <class Term>
  __device__ void fold(const Term& term, T* out, bool maximum) {
    const int lane = threadIdx.x % warp;
    for (int j = threadIdx.x / warp; j < Tile; j += threads_ / warp) {
      T folded = 0;
      for (int unit = lane; unit < network_.units; unit += warp)
        folded = term(unit * Tile + j, folded);
      for (int mask = warp / 2; mask > 0; mask /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, folded, mask);
        folded = maximum ? larger(folded, other) : folded + other;
      }
      if (lane == 0) out[j] = folded;
      __syncwarp();
    }
    __syncthreads();
  }
  __device__ void inner(const T* a, const T* b, T* out) {
    fold([&](int place, T sum) EQUIPROP_INLINED { return fused(a[place], b[place], sum); }, out,
         false);
  }
  __device__ void inner_with_diagonal(T* out) {
    fold([&](int place, T sum)
             EQUIPROP_INLINED { return fused(r_[place], diagonal_[place] * r_[place], sum); },
         out, false);
  }
  template <class Value>
  __device__ void largest(const Value& value, T* out) {
    fold(
        [&](int place, T most) EQUIPROP_INLINED {
          const T v = value(place);
          return larger(most, v < 0 ? -v : v);
        },
        out, true);
  }

  const SideNetwork<T>& side_;
  T *bend_, *slope_, *diagonal_, *direction_, *pulled_, *x_, *r_, *q_;
  T *sum_, *rho_, *scale_, *unit_, *factor_, *size_;
  int *moving_, *status_, *iterations_, *any_;
  const int first_;  ///< sample of the tile
  CostThread<T, Tile> cost_;
};

/// Launched on ceil(batch / Tile) clusters along x.
template <class T, int Tile>
__global__ void __launch_bounds__(most_threads, 1)
    solve_side_network(const __grid_constant__ NetworkView<T> network,
                       const __grid_constant__ SideNetwork<T> side) {
  ConjugateThread<T, Tile>(network, side).run();
}

}  // namespace equiprop::cuda
