#pragma once
/// The weights between free layers as the kernels read them: packed once, for both directions.

#include <algorithm>
#include <array>

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
  /// `change` is LayerStep's, from s, or nullptr.
  void step(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
            const ConstStateRef<T>& start, const Response<T>* response, StateRef<T> out,
            T* change) const {
    run(rows, layer, s, start, response, out.data() + rows.offset, out.outerStride(), change);
  }
  /// Only the change; false, and nothing, where a layer has too many neighbours for that.
  bool measure(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
               const ConstStateRef<T>& start, const Response<T>* response, T* change) const {
    if (neighbours_[layer].size() > at_once) return false;
    run(rows, layer, s, start, response, nullptr, 0, change);
    return true;
  }

 private:
  static constexpr std::size_t at_once = 4;  ///< neighbours; a layer has two in a chain

  void run(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
           const ConstStateRef<T>& start, const Response<T>* response, T* out, Index out_stride,
           T* change) const {
    const std::vector<Neighbour>& all = neighbours_[layer];
    std::array<Pull<T>, at_once> pulls;
    LayerStep<T> step{rows.rows,
                      s.cols(),
                      pulls.data(),
                      0,
                      start.size() > 0 ? start.data() + rows.offset : nullptr,
                      start.outerStride(),
                      nullptr,
                      out,
                      out_stride};
    step.by_rows = by_rows_[layer];
    std::size_t done = 0;
    do {
      const std::size_t count = std::min(pulls.size(), all.size() - done);
      for (std::size_t i = 0; i < count; ++i)
        pulls[i] = {all[done + i].packed.data(), all[done + i].depth,
                    s.data() + all[done + i].offset, s.outerStride()};
      done += count;
      step.num_pulls = static_cast<std::ptrdiff_t>(count);
      if (done == all.size()) {
        step.response = response;
        step.before = s.data() + rows.offset;
        step.before_stride = s.outerStride();
        step.change = change;
      }
      kernels<T>().accumulate(step);
      step.start = step.out;
      step.start_stride = step.out_stride;
    } while (done < all.size());
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
