#pragma once
/// A network with images as kernels see it. Unit (channel c, row y, column x) of a layer is number (y width + x) channels
/// + c: the channels of a position lie side by side.
///
/// Pulls are products of a matrix of weights (channels of the layer, depth) with columns that are gathered from the
/// signals of a neighbour, one column for each position of each sample. A dense coupling is the convolution of layers with
/// one position. A sum over the depth is taken in order by one thread, whatever the tiles are.

#include "network.cuh"

namespace equiprop::cuda {

/// The geometry of a convolution from the image below to the image above; the mean is folded into it.
struct Geometry {
  int channels = 1, height = 1, width = 1;              ///< the image below
  int out_channels = 1, out_height = 1, out_width = 1;  ///< the image above, before a maximum
  Pair kernel, stride, padding{0, 0}, dilation;
  int pool = 1;  ///< size of the windows of a maximum

  __device__ __host__ int taps() const { return kernel.y * kernel.x; }
  __device__ __host__ int pooled_width() const { return out_width / pool; }
  __device__ __host__ int pooled_height() const { return out_height / pool; }
  __device__ __host__ int pooled_positions() const { return pooled_height() * pooled_width(); }
  __device__ __host__ int pooled_units() const { return pooled_positions() * out_channels; }
};

/// The pull of a neighbour: that of the image below on the one above, or by the transposed convolution the other way.
template <class T>
struct ImagePull {
  Geometry of;
  bool transposed;
  int begin;                     ///< first unit of the neighbour
  int channels;                  ///< of the neighbour
  int depth;                     ///< taps times channels
  const T* weights;              ///< [tap][channel of the neighbour][channel of the layer]
  const unsigned char* winners;  ///< (pooled units, samples) of a transposed maximum, or nullptr
};

/// Numbers that are added to the sums of a layer: factor * data[unit + sample * stride].
template <class T>
struct Addend {
  const T* data;  ///< nullptr for the signals of the launch, from `begin` on
  int begin;
  std::ptrdiff_t stride;
  T factor;
};

/// A product that one launch computes in tiles: the sums of pulls on the positions of an image.
template <class T>
struct ImageJob {
  int layer;                  ///< free layer to which the result belongs
  int channels, positions;    ///< of the result; of the layer, or 1 position for a dense coupling
  int width;                  ///< columns of the image before the maximum
  int pool;                   ///< windows of the maximum, or 1
  int first_pull, pulls;      ///< products
  int first_addend, addends;  ///< of the units of a layer
  T* out;  ///< (channels * positions, samples) of a sum that is stored, otherwise nullptr
  unsigned char* winners;  ///< (channels * positions, samples)
};

/// A free layer. `begin` is its first unit in a state.
template <class T>
struct ImageLayer {
  Units<T> rho;
  int begin, units, channels;
};

constexpr int most_jobs = most_layers + most_pulls;

/// The layers and all products of one direction: between free layers, from the input, or to the input.
template <class T>
struct ImageView {
  int layers, units;       ///< free layers; units of a state
  std::ptrdiff_t signals;  ///< distance of the signals of two samples
  ImageLayer<T> layer[most_layers];
  ImageJob<T> job[most_jobs];
  ImagePull<T> pull[most_pulls];
  Addend<T> addend[most_pulls];
};

}  // namespace equiprop::cuda
