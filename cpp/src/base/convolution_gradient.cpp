/// The weights' gradient of a convolution: products whose depth is the positions of whole images.

#include "base/convolution_geometry.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop {

/// Pooled units are few, and each is multiplied with a whole patch of the image below: lanes run over the patch. Dense
/// images have lanes over the channels above.
template <std::floating_point T>
ConvolutionGradient<T>::ConvolutionGradient(const ConvolutionShape& shape, Index pool,
                                            const Kernels<T>& kernels)
    : shape_(shape), pool_(pool), kernels_(&kernels) {
  shape.check();
  check_pool(shape, pool);
  sums_.setZero(shape.weights());
  if (pool == 1) {
    packed_row_ = whole_lines<T>(kernels.packed_size(shape.group_out_channels(), shape.out_width));
    packed_.resize(shape.groups * shape.out_height * packed_row_);
    padded_.resize(padded_size(shape));
    return;
  }
  const Index units = listed_size(shape, pool, kernels.lanes);
  signals_.resize(units), sorted_signals_.resize(units);
  places_.resize(static_cast<std::size_t>(units)), sorted_places_.resize(places_.size());
  begin_.resize(static_cast<std::size_t>(listed_positions(shape, pool) + 1));
  sorted_begin_.resize(static_cast<std::size_t>(shape.group_out_channels() + 1));
  padded_.resize(bordered_size(shape));
}

template <std::floating_point T>
void ConvolutionGradient<T>::add(T scale, const T* above, const T* u) {
  const ConvolutionShape& s = shape_;
  require(pool_ == 1, "ConvolutionGradient",
          "Images above are added as winners if there is max pooling.", "a window of ", pool_);
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
  AddedPulls<T> pulls(*kernels_, rows, depth, sums, sums, rows);
  const Range ys = axis.positions(kernel_row);
  for (Index y = ys.begin; y < ys.end; ++y)
    pulls.add({packed_.data() + (group * s.out_height + y) * packed_row_, s.out_width,
               u + axis.position(y, kernel_row) * padded_row(s), 1, s.stride.x * s.channels});
  pulls.finish();
}

template <std::floating_point T>
void ConvolutionGradient<T>::add_from_winners(T scale, const T* pooled, const std::uint8_t* winners,
                                              const T* u) {
  const ConvolutionShape& s = shape_;
  check_winners(pool_);
  const T* bordered = add_border(s, u, padded_.data());
  for (Index g = 0; g < s.groups; ++g) {
    const Index first = g * s.group_out_channels();
    kernels_->list_winners({s.group_out_channels(), s.out_height / pool_, s.out_width / pool_,
                            static_cast<int>(pool_), pooled + first, winners + first,
                            s.out_channels, signals_.data(), places_.data(), begin_.data()});
    sort_by_channel(scale, g);
    add_patches(g, bordered);
  }
}

/// Sorts the units of a group by channel; those of a channel stay in the order of their positions. Their places become
/// those of their patches in the image below.
template <std::floating_point T>
void ConvolutionGradient<T>::sort_by_channel(T scale, Index group) {
  const ConvolutionShape& s = shape_;
  const Index columns = s.out_width / pool_ * pool_, positions = listed_positions(s, pool_);
  const Index* begin = begin_.data();
  Index* next = sorted_begin_.data();
  std::fill_n(next, s.group_out_channels() + 1, Index{0});
  for (Index n = 0; n < begin[positions]; ++n) ++next[places_.data()[n] + 1];
  for (Index c = 0; c < s.group_out_channels(); ++c) next[c + 1] += next[c];
  for (Index at = 0; at < positions; ++at) {
    const Index place = at / columns * s.stride.y * padded_row(s) +
                        at % columns * s.stride.x * s.channels + group * s.group_channels();
    for (Index n = begin[at]; n < begin[at + 1]; ++n) {
      const Index to = next[places_.data()[n]]++;
      sorted_signals_.data()[to] = scale * signals_.data()[n];
      sorted_places_.data()[to] = static_cast<int>(place);
    }
  }
}

/// Adds the patches of a group's units. `u` has its padding. After the sort, entry c of the beginnings is the end of
/// channel c.
template <std::floating_point T>
void ConvolutionGradient<T>::add_patches(Index group, const T* u) {
  const ConvolutionShape& s = shape_;
  const Index depth = run_depth(s), runs = runs_per_row(s), patch = s.taps() * s.group_channels();
  T* sums = sums_.data() + group * s.group_out_channels() * patch;
  for (Index c = 0, begin = 0; c < s.group_out_channels(); ++c, sums += patch) {
    const Index end = sorted_begin_.data()[c];
    for (Index run = 0; run < runs && end > begin; ++run)
      kernels_->add_patches({end - begin, sorted_signals_.data() + begin,
                             sorted_places_.data() + begin, s.kernel.y, depth,
                             u + run * s.dilation.x * s.channels, s.dilation.y * padded_row(s),
                             sums + run * depth, runs * depth});
    begin = end;
  }
}

template <std::floating_point T>
void ConvolutionGradient<T>::merge(const ConvolutionGradient& other) {
  require(sums_.size() == other.sums_.size() && pool_ == other.pool_, "ConvolutionGradient",
          "Gradients that are added have the same geometry and pool.", sums_.size(), " and ",
          other.sums_.size(), " weights, windows of ", pool_, " and ", other.pool_);
  sums_ += other.sums_;
}

template <std::floating_point T>
void ConvolutionGradient<T>::finish(T* grad) {
  const ConvolutionShape& s = shape_;
  const Index below = s.group_channels(), above = s.group_out_channels(), taps = s.taps();
  // From (channel above, tap, channel below) after max pooling, otherwise from (tap, channel below, channel above).
  const Index of_above = pool_ > 1 ? taps * below : 1, of_below = pool_ > 1 ? 1 : above;
  const T* sums = sums_.data();
  for (Index g = 0; g < s.groups; ++g, sums += above * below * taps)
    for (Index o = 0; o < above; ++o)
      for (Index c = 0; c < below; ++c)
        for (Index k = 0; k < taps; ++k) *grad++ += sums[o * of_above + (k * below + c) * of_below];
  sums_.setZero();
}

template class ConvolutionGradient<float>;
template class ConvolutionGradient<double>;

}  // namespace equiprop
