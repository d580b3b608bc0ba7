#pragma once
/// The plan of a network's packed kernels: for each free layer, the neighbours that pull on it and the location of
/// their weights. Edges fill it in; weights are packed once per clamp, for both directions.

#include <memory>

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

/// A pull on a layer that is no product with a matrix of all its units, for one sample at a time.
template <std::floating_point T>
class PlannedMap {
 public:
  virtual ~PlannedMap() = default;
  /// Adds to out (units of the layer,) the pull at the signals of all layers, (units of the state,).
  virtual void add(const T* signals, T* out) const = 0;
  /// Adds the derivative of the pull at `signals` along `tangents`.
  virtual void add_tangent(const T* signals, const T* tangents, T* out) const = 0;
};

/// Scratch memory of a thread for the steps of a plan.
template <std::floating_point T>
struct PlanScratch {
  std::vector<Pull<T>> pulls;  ///< pulls of a layer
  std::vector<T> sums;         ///< start plus the maps of a layer, (units, batch)
};

/// The pulls of all neighbours of each layer, with their packed weights. States are (units, batch).
template <std::floating_point T>
class EQUIPROP_EXPORT LayerPlan {
 public:
  /// Creates a plan without pulls, for layers whose rows in a state are the blocks of `state`.
  explicit LayerPlan(const Layout& state);

  /// Adds a pull on a free layer. The order of the pulls of a layer affects the rounding of their sum.
  void add(Index layer, const PlannedPull<T>& pull);
  /// Adds a pull on a free layer that is computed before the others.
  void add(Index layer, std::unique_ptr<const PlannedMap<T>> map);
  /// Packs the present weights. No pull may be added afterwards.
  void pack();

  /// Computes the rows of `layer` in out: response(start + sum of its pulls at the signals s). An empty `start` counts
  /// as 0; without a response the sum is stored. `change` is LayerStep::change, measured from s, or nullptr. `out` may
  /// be s. If `at` is given, the derivatives of the pulls at the signals `at` along s are summed instead.
  void step(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
            const Response<T>* response, StateRef<T> out, T* change, PlanScratch<T>& scratch,
            const ConstStateRef<T>* at = nullptr) const;
  /// Raises `change` (LayerStep::change) by the change that `step` would make, without storing the result.
  void measure(std::size_t layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
               const Response<T>& response, T* change, PlanScratch<T>& scratch) const;

 private:
  struct Neighbour {
    PlannedPull<T> pull;
    Parameters<T> packed;
  };
  struct Layer {
    Index begin, rows;
    bool by_rows;  // layout of the packed weights
    std::vector<Neighbour> neighbours;
    std::vector<std::unique_ptr<const PlannedMap<T>>> maps;
  };

  static void reserve(Layer& layer);
  void run(const Layer& layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
           const Response<T>* response, T* out, Index out_stride, T* change,
           PlanScratch<T>& scratch, const ConstStateRef<T>* at) const;
  void add_maps(const Layer& layer, const ConstStateRef<T>& s, const ConstStateRef<T>& start,
                PlanScratch<T>& scratch, const ConstStateRef<T>* at) const;

  std::vector<Layer> layers_;
};

extern template class LayerPlan<float>;
extern template class LayerPlan<double>;

}  // namespace equiprop
