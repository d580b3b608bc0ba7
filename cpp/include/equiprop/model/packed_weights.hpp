#pragma once
/// The weights between free layers as the kernels read them: packed once, for both directions.

#include <algorithm>
#include <array>

#include "equiprop/base/kernels.hpp"
#include "equiprop/model/topology.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// A snapshot of the weights of a network whose signals are linear, gains included.
template <class T>
class PackedWeights {
 public:
  /// Room for one; `pack` takes it.
  explicit PackedWeights(const Topology& topology) : neighbours_(topology.num_free()) {
    for (const auto e : topology.inner()) {
      const auto source = static_cast<std::size_t>(topology.couplings()[e].source) - 1;
      const auto target = static_cast<std::size_t>(topology.couplings()[e].target) - 1;
      add(topology, topology.weights(e), false, source, target);
      add(topology, topology.feedback_weights(e), true, target, source);
    }
  }

  void pack(const Parameters<T>& parameters) {
    for (auto& layer : neighbours_)
      for (auto& [offset, depth, weights, transposed, rows, gain, packed] : layer)
        kernels<T>().pack(parameters.data() + weights, transposed ? depth : rows, transposed, rows,
                          depth, gain, packed.data());
  }

  /// Rows of `layer` in out: response(start + sum over its neighbours of W u) at s, all (units, batch); an empty
  /// start is 0.
  /// `change` is LayerStep's, from s, or nullptr.
  void step(const Block& rows, std::size_t layer, const ConstStateRef<T>& s,
            const ConstStateRef<T>& start, const Response<T>* response, StateRef<T> out,
            T* change) const {
    const std::vector<Neighbour>& all = neighbours_[layer];
    std::array<Pull<T>, 4> pulls;
    LayerStep<T> step{rows.rows,
                      s.cols(),
                      pulls.data(),
                      0,
                      start.size() > 0 ? start.data() + rows.offset : nullptr,
                      start.outerStride(),
                      nullptr,
                      out.data() + rows.offset,
                      out.outerStride()};
    std::size_t done = 0;
    do {  // nearly always once: a layer has two neighbours in a chain
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

 private:
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
    neighbours_[to].push_back({source.offset, source.rows, weights.offset, transposed, target.rows,
                               static_cast<T>(topology.units(from).signal_gain()),
                               Parameters<T>(kernels<T>().packed_size(target.rows, source.rows))});
  }

  std::vector<std::vector<Neighbour>> neighbours_;
};

}  // namespace equiprop
