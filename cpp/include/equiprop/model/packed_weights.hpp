#pragma once
/// The weights between free layers as the kernels read them: packed once, for both directions.

#include <vector>

#include "equiprop/base/kernels.hpp"
#include "equiprop/model/topology.hpp"

namespace equiprop {

/// A snapshot of the weights of a network whose signals are linear, gains included.
template <class T>
class PackedWeights {
 public:
  /// Room for one; `pack` takes it.
  explicit PackedWeights(const Topology& topology)
      : neighbours_(topology.num_free()), by_rows_(topology.num_free()) {
    for (const auto e : topology.inner()) {
      const auto source = static_cast<std::size_t>(topology.couplings()[e].source) - 1;
      const auto target = static_cast<std::size_t>(topology.couplings()[e].target) - 1;
      add(topology, topology.weights(e), false, source, target);
      add(topology, topology.feedback_weights(e), true, target, source);
    }
    for (std::size_t k = 0; k < neighbours_.size(); ++k) {
      by_rows_[k] = kernels<T>().by_rows(topology.state()[k].rows, depth(neighbours_[k]));
      for (Neighbour& from : neighbours_[k])
        from.packed.resize(by_rows_[k] ? kernels<T>().packed_size(from.depth, from.rows)
                                       : kernels<T>().packed_size(from.rows, from.depth));
    }
  }

  /// Takes the weights as they are now.
  void pack(const Parameters<T>& parameters) {
    for (std::size_t k = 0; k < neighbours_.size(); ++k) {
      const auto pack = by_rows_[k] ? kernels<T>().pack_by_rows : kernels<T>().pack;
      for (auto& [offset, depth, weights, transposed, rows, gain, packed] : neighbours_[k])
        pack(parameters.data() + weights, transposed ? depth : rows, transposed, rows, depth, gain,
             packed.data());
    }
  }

  /// Rows of `layer` in out: response(start + sum over its neighbours of W u) at s, all (units, batch); an empty
  /// start is 0.
  /// `change` is LayerStep's, from s, or nullptr. `pulls` is scratch memory of the calling thread.
  void step(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
            const ConstStateRef<T>& start, const Response<T>* response, StateRef<T> out, T* change,
            std::vector<Pull<T>>& pulls) const {
    run(rows, layer, s, start, response, out.data() + rows.offset, out.outerStride(), change,
        pulls);
  }
  /// Computes only the change of such a step.
  void measure(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
               const ConstStateRef<T>& start, const Response<T>* response, T* change,
               std::vector<Pull<T>>& pulls) const {
    run(rows, layer, s, start, response, nullptr, 0, change, pulls);
  }

 private:
  /// All neighbours in one pass: the response and the change belong to their complete sum.
  void run(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
           const ConstStateRef<T>& start, const Response<T>* response, T* out, Index out_stride,
           T* change, std::vector<Pull<T>>& pulls) const {
    pulls.clear();
    for (const Neighbour& from : neighbours_[layer])
      pulls.push_back({from.packed.data(), from.depth, s.data() + from.offset, s.outerStride()});
    LayerStep<T> step{rows.rows,
                      s.cols(),
                      pulls.data(),
                      static_cast<std::ptrdiff_t>(pulls.size()),
                      start.size() > 0 ? start.data() + rows.offset : nullptr,
                      start.outerStride(),
                      response,
                      out,
                      out_stride};
    step.by_rows = by_rows_[layer];
    step.before = s.data() + rows.offset;
    step.before_stride = s.outerStride();
    step.change = change;
    kernels<T>().accumulate(step);
  }

  struct Neighbour {
    Index offset, depth;  ///< its rows of a state
    Index weights;        ///< where they begin in the parameters
    bool transposed;
    Index rows;  ///< of the layer it pulls
    T gain;
    Parameters<T> packed;
  };

  void add(const Topology& topology, const Block& weights, bool transposed, std::size_t from,
           std::size_t to) {
    const Block &source = topology.state()[from], &target = topology.state()[to];
    neighbours_[to].push_back({source.offset,
                               source.rows,
                               weights.offset,
                               transposed,
                               target.rows,
                               static_cast<T>(topology.units(from).signal_gain()),
                               {}});
  }

  static Index depth(const std::vector<Neighbour>& neighbours) {
    Index units = 0;
    for (const auto& neighbour : neighbours) units += neighbour.depth;
    return units;
  }

  std::vector<std::vector<Neighbour>> neighbours_;  // of each layer
  std::vector<bool> by_rows_;                       // how these are packed
};

}  // namespace equiprop
