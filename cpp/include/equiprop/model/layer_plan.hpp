#pragma once
/// The plan of a network's packed kernels: for each free layer, which neighbours pull on it and where their weights
/// lie. Plain data that edges fill in; weights are packed once per clamp, for both directions.

#include "equiprop/base/export.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/layout.hpp"

namespace equiprop {

/// One neighbour's pull on a layer, gain * op(W) u.
template <std::floating_point T>
struct PlannedPull {
  Index begin;       ///< first row of the neighbour in a state
  Index depth;       ///< its rows
  const T* weights;  ///< (layer's rows, depth) column-major, or (depth, layer's rows) if transposed
  bool transposed;   ///< see `weights`
  T gain;            ///< of the neighbour's linear signal
};

/// Passes over all neighbours of each layer, and their packed weights. States are (units, batch).
template <std::floating_point T>
class EQUIPROP_EXPORT LayerPlan {
 public:
  /// Without any pull, for layers whose rows in a state are the blocks of `state`.
  explicit LayerPlan(const Layout& state);

  /// Adds a pull on a free layer. Its place among the pulls of a layer is part of the rounding.
  void add(Index layer, const PlannedPull<T>& pull);
  /// Packs the weights as they are now. Pulls may not be added afterwards.
  void pack();

  /// Rows of `layer` in out: response(start + sum of its pulls at s); an empty start is 0, without a response the sum
  /// itself is stored. `change` is LayerStep's, measured from s, or nullptr. `out` may be s. `pulls` is scratch memory of
  /// the calling thread.
  void step(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
            const Response<T>* response, StateRef<T> out, T* change,
            std::vector<Pull<T>>& pulls) const;
  /// Raises `change` (LayerStep's) by the change that `step` would make, without storing its result.
  void measure(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
               const Response<T>& response, T* change, std::vector<Pull<T>>& pulls) const;

 private:
  struct Neighbour {
    PlannedPull<T> pull;
    Parameters<T> packed;
  };
  struct Layer {
    Index begin, rows;
    bool by_rows;  // how the weights are packed
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
