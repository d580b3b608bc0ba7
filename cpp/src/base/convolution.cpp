#include "equiprop/base/convolution.hpp"

namespace equiprop {
namespace {

template <class Visit>
void for_each_tap(const ConvolutionShape& s, const Visit& visit) {
  const Index in = s.channels / s.groups, out = s.out_channels / s.groups;
  for (Index Y = 0; Y < s.out_height; ++Y)
    for (Index X = 0; X < s.out_width; ++X)
      for (Index i = 0; i < s.kernel.y; ++i) {
        const Index y = Y * s.stride.y + i * s.dilation.y - s.padding.y;
        if (y < 0 || y >= s.height) continue;
        for (Index j = 0; j < s.kernel.x; ++j) {
          const Index x = X * s.stride.x + j * s.dilation.x - s.padding.x;
          if (x < 0 || x >= s.width) continue;
          for (Index c = 0; c < s.out_channels; ++c) {
            const Index g = c / out;
            for (Index d = 0; d < in; ++d)
              visit((Y * s.out_width + X) * s.out_channels + c,
                    (y * s.width + x) * s.channels + g * in + d,
                    ((c * in + d) * s.kernel.y + i) * s.kernel.x + j);
          }
        }
      }
}

}  // namespace

template <std::floating_point T>
void PackedConvolution<T>::pack_forward(const T* weights, T scale) {
  forward_.assign(weights, weights + shape_.num_weights());
  for (T& w : forward_) w *= scale;
}

template <std::floating_point T>
void PackedConvolution<T>::pack_transposed(const T* weights, T scale) {
  transposed_.assign(weights, weights + shape_.num_weights());
  for (T& w : transposed_) w *= scale;
}

template <std::floating_point T>
void PackedConvolution<T>::add_forward(const T* u, T* out, T*) const {
  for_each_tap(shape_, [&](Index a, Index b, Index w) {
    out[a] += forward_[static_cast<std::size_t>(w)] * u[b];
  });
}

template <std::floating_point T>
void PackedConvolution<T>::add_transposed(const T* above, T* out, T*) const {
  for_each_tap(shape_, [&](Index a, Index b, Index w) {
    out[b] += transposed_[static_cast<std::size_t>(w)] * above[a];
  });
}

template <std::floating_point T>
ConvolutionGradient<T>::ConvolutionGradient(const ConvolutionShape& shape)
    : shape_(shape), sums_(static_cast<std::size_t>(shape.num_weights())) {}

template <std::floating_point T>
void ConvolutionGradient<T>::clear() {
  std::fill(sums_.begin(), sums_.end(), T(0));
}

template <std::floating_point T>
void ConvolutionGradient<T>::add(T scale, const T* above, const T* u) {
  for_each_tap(shape_, [&](Index a, Index b, Index w) {
    sums_[static_cast<std::size_t>(w)] += scale * above[a] * u[b];
  });
}

template <std::floating_point T>
void ConvolutionGradient<T>::finish(T* grad) const {
  for (std::size_t i = 0; i < sums_.size(); ++i) grad[i] += sums_[i];
}

template class PackedConvolution<float>;
template class PackedConvolution<double>;
template class ConvolutionGradient<float>;
template class ConvolutionGradient<double>;

}  // namespace equiprop
