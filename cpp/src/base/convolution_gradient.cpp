/// The weights' gradient of a convolution: products whose depth is the positions of whole images.

#include "base/convolution_geometry.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {

template <std::floating_point T>
ConvolutionGradient<T>::ConvolutionGradient(const ConvolutionShape& shape,
                                            const Kernels<T>& kernels)
    : shape_((shape.check(), shape)),
      kernels_(&kernels),
      packed_row_(whole_lines<T>(kernels.packed_size(shape.group_out_channels(), shape.out_width))),
      packed_(shape.groups * shape.out_height * packed_row_),
      padded_(padded_size(shape)),
      sums_(Parameters<T>::Zero(shape.weights())) {}

template <std::floating_point T>
void ConvolutionGradient<T>::add(T scale, const T* above, const T* u) {
  const ConvolutionShape& s = shape_;
  pack(scale, above);
  const T* padded = pad_rows(s, u, padded_.data());
  for (Index g = 0; g < s.groups; ++g)
    for (Index i = 0; i < s.kernel.y; ++i)
      for (Index run = 0; run < runs_per_row(s); ++run) add_columns(g, i, run, padded);
}

/// Packs each row of the image above as a matrix (channels, columns).
template <std::floating_point T>
void ConvolutionGradient<T>::pack(T scale, const T* above) {
  const ConvolutionShape& s = shape_;
  const Index rows = s.group_out_channels();
  for (Index g = 0; g < s.groups; ++g)
    for (Index y = 0; y < s.out_height; ++y)
      kernels_->pack(above + y * s.out_width * s.out_channels + g * rows, s.out_channels, false,
                     rows, s.out_width, scale,
                     packed_.data() + (g * s.out_height + y) * packed_row_);
}

/// Adds to the sums of one run of taps, (channels above, signals of the run). `u` has its horizontal padding.
template <std::floating_point T>
void ConvolutionGradient<T>::add_columns(Index group, Index kernel_row, Index run, const T* u) {
  const ConvolutionShape& s = shape_;
  const Axis axis = vertical(s);
  const Index rows = s.group_out_channels(), depth = run_depth(s), runs = runs_per_row(s);
  u += group * s.group_channels() + run * s.dilation.x * s.channels;
  T* sums = sums_.data() + ((group * s.kernel.y + kernel_row) * runs + run) * depth * rows;
  AddedPulls<T> pulls(*kernels_, rows, depth, sums, rows);
  const Range ys = axis.positions(kernel_row);
  for (Index y = ys.begin; y < ys.end; ++y)
    pulls.add({packed_.data() + (group * s.out_height + y) * packed_row_, s.out_width,
               u + axis.position(y, kernel_row) * padded_row(s), 1, s.stride.x * s.channels});
  pulls.run();
}

template <std::floating_point T>
void ConvolutionGradient<T>::merge(const ConvolutionGradient& other) {
  require(sums_.size() == other.sums_.size(), "ConvolutionGradient",
          "Gradients that are added have the same geometry.", sums_.size(), " and ",
          other.sums_.size(), " weights");
  sums_ += other.sums_;
}

template <std::floating_point T>
void ConvolutionGradient<T>::finish(T* grad) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  for (Index g = 0; g < s.groups; ++g)
    for (Index o = 0; o < above; ++o)
      for (Index c = 0; c < below; ++c)
        for (Index k = 0; k < taps; ++k) *grad++ += sums_[((g * taps + k) * below + c) * above + o];
  sums_.setZero();
}

template class ConvolutionGradient<float>;
template class ConvolutionGradient<double>;

}  // namespace equiprop
