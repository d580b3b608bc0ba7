#pragma once
/// The plan of a network's packed kernels: for each free layer, the neighbours that pull on it and the location of
/// their weights. Edges fill it in; weights are packed once per clamp, for both directions.

#include "equiprop/base/export.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/layout.hpp"

namespace equiprop {

/// The pull of one neighbour on a layer, gain * op(W) u.
template <std::floating_point T>
struct PlannedPull {
  Index begin;       ///< first row of the neighbour in a state
  Index depth;       ///< number of units of the neighbour
  const T* weights;  ///< (layer's rows, depth) column-major, or (depth, layer's rows) if transposed
  bool transposed;   ///< true if `weights` is (depth, layer's rows)
  T gain;            ///< gain of the neighbour's linear signal
};

/// The pulls of all neighbours of each layer, with their packed weights. States are (units, batch).
template <std::floating_point T>
class EQUIPROP_EXPORT LayerPlan {
 public:
  /// Creates a plan without pulls, for layers whose rows in a state are the blocks of `state`.
  explicit LayerPlan(const Layout& state);

  /// Adds a pull on a free layer. The order of the pulls of a layer affects the rounding of their sum.
  void add(Index layer, const PlannedPull<T>& pull);
  /// Packs the present weights. No pull may be added afterwards.
  void pack();

  /// Computes the rows of `layer` in out: response(start + sum of its pulls at s). An empty `start` counts as 0;
  /// without a response the sum is stored. `change` is LayerStep::change, measured from s, or nullptr. `out` may be s.
  /// `pulls` is scratch memory of the calling thread.
  void step(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
            const Response<T>* response, StateRef<T> out, T* change,
            std::vector<Pull<T>>& pulls) const;
  /// Raises `change` (LayerStep::change) by the change that `step` would make, without storing the result.
  void measure(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
               const Response<T>& response, T* change, std::vector<Pull<T>>& pulls) const;

 private:
  struct Neighbour {
    PlannedPull<T> pull;
    Parameters<T> packed;
  };
  struct Layer {
    Index begin, rows;
    bool by_rows;  // layout of the packed weights
    std::vector<Neighbour> neighbours;
  };

  static void reserve(Layer& layer);
  void run(const Layer& layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
           const Response<T>* response, T* out, Index out_stride, T* change,
           std::vector<Pull<T>>& pulls) const;

  std::vector<Layer> layers_;
};

extern template class LayerPlan<float>;
extern template class LayerPlan<double>;

}  // namespace equiprop
