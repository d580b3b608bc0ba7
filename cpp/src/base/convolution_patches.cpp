/// The weights' gradient of a convolution from the winners of max pooling.

#include "base/convolution_geometry.hpp"

namespace equiprop {
namespace {

/// Numbers of the images below that stay in the first cache.
constexpr Index cached_numbers = 10240;

/// Returns how many images are added in one pass over the sums: more of them if the sums are many, because each pass
/// reads and writes all sums. Places in the images fit into an int.
Index images_of_patches(const ConvolutionShape& s) {
  const Index image = bordered_size(s), wanted = (cached_numbers + s.weights() / 16) / image;
  return std::clamp(std::min(wanted, (Index{1} << 31) / image - 1), Index{1}, Index{8});
}

}  // namespace

template <std::floating_point T>
void ConvolutionGradient<T>::reserve_patches() {
  const ConvolutionShape& s = shape_;
  images_at_once_ = images_of_patches(s);
  const Index units = images_at_once_ * listed_size(s, pool_, kernels_->lanes);
  resize_to(signals_, units), resize_to(sorted_signals_, units);
  places_.resize(static_cast<std::size_t>(units)), sorted_places_.resize(places_.size());
  begin_.resize(static_cast<std::size_t>(images_at_once_ * (listed_positions(s, pool_) + 1)));
  sorted_begin_.resize(static_cast<std::size_t>(s.group_out_channels() + 1));
  fill(padded_, 0, images_at_once_ * bordered_size(s) + kernels_->lanes);  // whole vectors are read
}

template <std::floating_point T>
void ConvolutionGradient<T>::add_from_winners(T scale, Index images, const T* pooled,
                                              const std::uint8_t* winners, Index pooled_stride,
                                              const T* u, Index u_stride) {
  const ConvolutionShape& s = shape_;
  check_winners(pool_);
  for (Index first = 0; first < images; first += images_at_once_) {
    const Index count = std::min(images_at_once_, images - first);
    const auto at = [&](Index image) { return (first + image) * pooled_stride; };
    if (!by_patch_) {
      for (Index image = 0; image < count; ++image)
        unpool(pooled + at(image), winners + at(image), unpooled_.data() + image * s.out_size());
      add_dense(scale, count, unpooled_.data(), s.out_size(), u + first * u_stride, u_stride);
      continue;
    }
    for (Index image = 0; image < count; ++image)
      copy_inside(s, u + (first + image) * u_stride, padded_.data() + image * bordered_size(s));
    for (Index g = 0; g < s.groups; ++g) {
      for (Index image = 0; image < count; ++image)
        list(image, g, pooled + at(image), winners + at(image));
      sort_by_channel(scale, g, count);
      add_patches(g);
    }
  }
}

/// Puts the pooled units at their winners; the other numbers are 0.
template <std::floating_point T>
void ConvolutionGradient<T>::unpool(const T* pooled, const std::uint8_t* winners, T* image) const {
  const ConvolutionShape& s = shape_;
  Index offsets[largest_pool * largest_pool];
  for (Index n = 0; n < pool_ * pool_; ++n)
    offsets[n] = (n / pool_ * s.out_width + n % pool_) * s.out_channels;
  std::fill_n(image, s.out_size(), T(0));
  for (Index y = 0; y < s.out_height / pool_; ++y)
    for (Index x = 0; x < s.out_width / pool_; ++x) {
      T* window = image + (y * s.out_width + x) * pool_ * s.out_channels;
      for (Index c = 0; c < s.out_channels; ++c) window[offsets[*winners++] + c] = *pooled++;
    }
}

/// Lists the units of a group of one image.
template <std::floating_point T>
void ConvolutionGradient<T>::list(Index image, Index group, const T* pooled,
                                  const std::uint8_t* winners) {
  const ConvolutionShape& s = shape_;
  const Index first = group * s.group_out_channels();
  const Index units = image * listed_size(s, pool_, kernels_->lanes);
  kernels_->list_winners({s.group_out_channels(), s.out_height / pool_, s.out_width / pool_,
                          static_cast<int>(pool_), pooled + first, winners + first, s.out_channels,
                          signals_.data() + units, places_.data() + units,
                          begin_.data() + image * (listed_positions(s, pool_) + 1)});
}

/// Sorts the units of a group by channel; those of a channel stay in the order of images and positions. Their places
/// become those of their patches in the images below.
template <std::floating_point T>
void ConvolutionGradient<T>::sort_by_channel(T scale, Index group, Index images) {
  const ConvolutionShape& s = shape_;
  const Index columns = s.out_width / pool_ * pool_, positions = listed_positions(s, pool_);
  const Index units = listed_size(s, pool_, kernels_->lanes);
  Index* next = sorted_begin_.data();
  std::fill_n(next, s.group_out_channels() + 1, Index{0});
  for (Index image = 0; image < images; ++image) {
    const int* channels = places_.data() + image * units;
    const Index count = begin_.data()[image * (positions + 1) + positions];
    for (Index n = 0; n < count; ++n) ++next[channels[n] + 1];
  }
  for (Index c = 0; c < s.group_out_channels(); ++c) next[c + 1] += next[c];
  for (Index image = 0; image < images; ++image) {
    const int* channels = places_.data() + image * units;
    const T* signals = signals_.data() + image * units;
    const Index* begin = begin_.data() + image * (positions + 1);
    for (Index at = 0; at < positions; ++at) {
      const Index place = image * bordered_size(s) + at / columns * s.stride.y * padded_row(s) +
                          at % columns * s.stride.x * s.channels + group * s.group_channels();
      for (Index n = begin[at]; n < begin[at + 1]; ++n) {
        const Index to = next[channels[n]]++;
        sorted_signals_.data()[to] = scale * signals[n];
        sorted_places_.data()[to] = static_cast<int>(place);
      }
    }
  }
}

/// Adds the patches of a group's units. After the sort, entry c of the beginnings is the end of channel c.
template <std::floating_point T>
void ConvolutionGradient<T>::add_patches(Index group) {
  const ConvolutionShape& s = shape_;
  const Index depth = run_depth(s), runs = runs_per_row(s), patch = s.taps() * s.group_channels();
  T* sums = sums_.data() + group * s.group_out_channels() * patch;
  for (Index c = 0, begin = 0; c < s.group_out_channels(); ++c, sums += patch) {
    const Index end = sorted_begin_.data()[c];
    for (Index run = 0; run < runs && end > begin; ++run)
      kernels_->add_patches({end - begin, sorted_signals_.data() + begin,
                             sorted_places_.data() + begin, s.kernel.y, depth,
                             padded_.data() + run * s.dilation.x * s.channels,
                             s.dilation.y * padded_row(s), sums + run * depth, runs * depth});
    begin = end;
  }
}

#define INSTANTIATE(T)                                                                            \
  template void ConvolutionGradient<T>::reserve_patches();                                        \
  template void ConvolutionGradient<T>::add_from_winners(T, Index, const T*, const std::uint8_t*, \
                                                         Index, const T*, Index);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace equiprop
