#pragma once
/// The couplings of a network with images in the form of kernels: geometries, places of packed weights, and the products
/// that are computed before a layer is updated.

#include <vector>

#include "image_conjugate.cuh"
#include "image_gradient.cuh"
#include "structure.cuh"

namespace equiprop::cuda {

/// Returns the extent of the image above in one direction; see convolved_extent.
inline int extent_above(int below, int kernel, int stride, int padding, int dilation) {
  return (below + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

/// Returns the weights of a coupling, with its geometry.
template <class T>
Weights<T> weights_of(const NetworkFields& network, const CouplingFields& c) {
  const LayerFields &below = network.layers[c.source], &above = network.layers[c.target];
  Weights<T> weights{};
  weights.groups = weights.mean = 1;
  if (c.kind == CouplingKind::dense) {
    weights.of.channels = below.units;
    weights.of.out_channels = above.units;
    weights.out_stride = 1;
    weights.in_stride = above.units;
    return weights;
  }
  const WindowFields& w = c.windows;
  const int mean = w.mean_pool;
  Geometry& of = weights.of;
  of.channels = below.units / (below.height * below.width);
  of.height = below.height;
  of.width = below.width;
  of.out_channels = above.units / (above.height * above.width);
  of.padding = w.padding;
  of.pool = w.max_pool;
  of.out_height = extent_above(of.height, w.kernel.y, w.stride.y, w.padding.y, w.dilation.y) / mean;
  of.out_width = extent_above(of.width, w.kernel.x, w.stride.x, w.padding.x, w.dilation.x) / mean;
  of.stride = {w.stride.y * mean, w.stride.x * mean};
  of.dilation = mean == 1 ? w.dilation : Pair{1, 1};
  const auto folded = [mean](int kernel, int dilation, int stride) {
    return mean == 1 ? kernel : dilation * (kernel - 1) + stride * (mean - 1) + 1;
  };
  of.kernel = {folded(w.kernel.y, w.dilation.y, w.stride.y),
               folded(w.kernel.x, w.dilation.x, w.stride.x)};
  weights.kernel = w.kernel;
  weights.stride = w.stride;
  weights.dilation = mean == 1 ? Pair{1, 1} : w.dilation;
  weights.groups = w.groups;
  weights.mean = mean;
  weights.in_stride = w.kernel.y * w.kernel.x;
  weights.out_stride = weights.in_stride * weights.group_channels();
  return weights;
}

/// A coupling that has weights.
template <class T>
struct ImageCoupling {
  CouplingFields fields;
  Weights<T> weights;
  std::size_t size;      ///< numbers of the folded weights
  std::size_t up, down;  ///< places of the packed weights of both directions

  bool inner() const { return fields.source != 0 && fields.target != 0; }
  bool separate() const { return fields.feedback != fields.weights; }
  bool has_maximum() const { return weights.of.pool > 1; }
};

/// The number of a coupling and one of its ends.
struct CouplingEnd {
  std::size_t coupling;
  bool target;
};

/// All couplings of a network with images, and the memory that they need.
template <class T>
struct ImagePlan {
  explicit ImagePlan(const NetworkFields& fields) : network(fields) {
    for (const CouplingFields& c : network.couplings) {
      const Weights<T> weights =
          c.kind == CouplingKind::identity ? Weights<T>{} : cuda::weights_of<T>(network, c);
      const Geometry& of = weights.of;
      const std::size_t size = c.kind == CouplingKind::identity
                                   ? 0
                                   : std::size_t(of.taps()) * of.channels * of.out_channels;
      couplings.push_back({c, weights, size, packed, packed + size});
      packed += 2 * size;
      parts = std::max(parts, size * most_parts(couplings.back()));
    }
    int begin = 0;
    for (std::size_t k = 1; k < network.layers.size(); ++k) {
      begins.push_back(begin);
      begin += network.layers[k].units;
    }
    units = begin;
  }

  const LayerFields& layer(const CouplingEnd& end) const {
    const CouplingFields& c = couplings[end.coupling].fields;
    return network.layers[end.target ? c.target : c.source];
  }
  /// Returns true if a pull is computed by a launch of its own: a maximum, and dense weights of each position of an image.
  bool is_product(const CouplingEnd& end) const {
    const ImageCoupling<T>& c = couplings[end.coupling];
    if (c.fields.kind == CouplingKind::dense) return layer(end).height * layer(end).width > 1;
    return c.fields.kind == CouplingKind::convolution && c.has_maximum() && end.target;
  }
  /// Returns for how many nodes the product of an end is kept.
  std::size_t nodes_of(const CouplingEnd& end) const {
    return couplings[end.coupling].inner() ? most_nodes : 1;
  }
  /// Returns the number of parts in which the derivative by the weights is summed at most.
  static std::size_t most_parts(const ImageCoupling<T>& c) {
    if (c.size == 0) return 0;
    constexpr std::size_t side = 64, blocks = 264, most = 32;
    const Geometry& of = c.weights.of;
    const std::size_t rows = (of.out_channels + side - 1) / side;
    const std::size_t columns = (std::size_t(of.taps()) * of.channels + side - 1) / side;
    return std::clamp<std::size_t>(blocks / (rows * columns), 1, most);
  }
  /// Returns the bytes of memory for batches of up to `most` samples.
  std::size_t bytes(std::size_t most) const {
    std::size_t numbers = packed + parts, winners = 0;
    for (std::size_t c = 0; c < couplings.size(); ++c)
      for (const bool target : {false, true}) {
        const CouplingEnd end{c, target};
        if (!is_product(end)) continue;
        const std::size_t size = std::size_t(layer(end).units) * nodes_of(end) * most;
        numbers += size;
        if (couplings[c].has_maximum()) winners += size;
      }
    const std::size_t samples = most_nodes * most;
    numbers += 3 * std::size_t(units) * samples + 3 * samples;
    return sizeof(T) * (numbers + samples) + winners + samples * sizeof(SampleProgress<T>) +
           most * sizeof(SideNumbers<T>) + 3 * sizeof(ImageView<T>) + sizeof(ImageSettings<T>);
  }

  NetworkFields network;
  std::vector<ImageCoupling<T>> couplings;
  std::vector<int> begins;  ///< of the free layers in a state
  int units = 0;
  std::size_t packed = 0, parts = 0;  ///< numbers of packed weights, and of parts of a derivative
};

}  // namespace equiprop::cuda
