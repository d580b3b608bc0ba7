#include "image_products.hpp"

namespace equiprop {
namespace {

/// Returns part `k` of a number: its real or imaginary part, or the value or the derivative of a dual number.
template <class S>
RealOf<S> part(const S& x, int k) {
  if constexpr (std::same_as<S, Complex>)
    return k == 0 ? x.real() : x.imag();
  else if constexpr (std::same_as<S, Dual<double>>)
    return k == 0 ? x.value : x.derivative;
  else
    return x;
}

/// Memory of the thread for parts of images; it never shrinks.
template <class T>
T* memory(std::size_t slot, Index size) {
  thread_local std::array<std::vector<T>, 5> slots;
  auto& numbers = slots[slot];
  if (numbers.size() < static_cast<std::size_t>(size))
    numbers.resize(static_cast<std::size_t>(size));
  return numbers.data();
}

/// Returns part `k` of `size` numbers in memory of the thread.
template <class S>
const RealOf<S>* take_part(std::size_t slot, const S* numbers, Index size, int k) {
  if constexpr (std::floating_point<S>) {
    return numbers;
  } else {
    RealOf<S>* parts = memory<RealOf<S>>(slot, size);
    for (Index i = 0; i < size; ++i) parts[i] = part(numbers[i], k);
    return parts;
  }
}

}  // namespace

MeanFolding::MeanFolding(const ConvolutionShape& shape, Index pool)
    : shape_(shape), folded_(shape), pool_(pool) {
  if (pool == 1) return;
  const auto larger = [pool](Index kernel, Index dilation, Index stride) {
    return dilation * (kernel - 1) + stride * (pool - 1) + 1;
  };
  folded_.kernel = {larger(shape.kernel.y, shape.dilation.y, shape.stride.y),
                    larger(shape.kernel.x, shape.dilation.x, shape.stride.x)};
  folded_.stride = {shape.stride.y * pool, shape.stride.x * pool};
  folded_.dilation = {1, 1};
  folded_.out_height = shape.out_height / pool;
  folded_.out_width = shape.out_width / pool;
}

/// Calls visit(index of a weight, index of a folded weight) for each position of the windows of the mean.
template <class Visit>
void MeanFolding::for_each(const Visit& visit) const {
  const Index planes = shape_.out_channels * (shape_.channels / shape_.groups);
  for (Index plane = 0; plane < planes; ++plane)
    for (Index i = 0; i < shape_.kernel.y; ++i)
      for (Index j = 0; j < shape_.kernel.x; ++j)
        for (Index m = 0; m < pool_; ++m)
          for (Index n = 0; n < pool_; ++n) {
            const Index y = shape_.dilation.y * i + shape_.stride.y * m;
            const Index x = shape_.dilation.x * j + shape_.stride.x * n;
            visit((plane * shape_.kernel.y + i) * shape_.kernel.x + j,
                  (plane * folded_.kernel.y + y) * folded_.kernel.x + x);
          }
}

template <class T>
void MeanFolding::fold(const T* weights, T* folded) const {
  std::fill_n(folded, folded_.weights(), T(0));
  const T share = T(1) / static_cast<T>(pool_ * pool_);
  for_each([&](Index from, Index to) { folded[to] += share * weights[from]; });
}

template <class T, class G>
void MeanFolding::add_unfolded(const T* folded, G* weights) const {
  const T share = T(1) / static_cast<T>(pool_ * pool_);
  for_each([&](Index to, Index from) { weights[to] += G(share * folded[from]); });
}

template <Scalar S>
void ImageProducts<S>::pack(const T* weights) {
  if (!folding_.trivial()) {
    folded_.resize(static_cast<std::size_t>(folding_.folded().weights()));
    folding_.fold(weights, folded_.data());
    weights = folded_.data();
  }
  packed_.pack_forward(weights, T(1));
  packed_.pack_transposed(weights, T(1));
}

/// Adds scale * product to out (size,), where multiply(to, scratch) adds the product to an image of zeros.
template <Scalar S>
template <class Multiply>
void ImageProducts<S>::add_scaled(S scale, Index size, const Multiply& multiply, S* out) const {
  T* scratch = memory<T>(0, packed_.scratch_size());
  if constexpr (std::floating_point<S>) {
    if (scale == S(1)) return multiply(out, scratch);
    T* product = memory<T>(1, size);
    std::fill_n(product, size, T(0));
    multiply(product, scratch);
    for (Index i = 0; i < size; ++i) out[i] += scale * product[i];
  }
}

template <Scalar S>
void ImageProducts<S>::add_pooled(const Image<S>& u, S* out,
                                  std::uint8_t* winners) const requires std::floating_point<S> {
  if constexpr (std::floating_point<S>)  // clang 14 instantiates functions whose constraint fails
    add_scaled(
        u.scale, pooled_size(),
        [&](T* to, T* scratch) { packed_.add_pooled(u.data, to, winners, scratch); }, out);
}

template <Scalar S>
void ImageProducts<S>::add_from_winners(const Image<S>& pooled, const std::uint8_t* winners,
                                        S* out) const requires std::floating_point<S> {
  if constexpr (std::floating_point<S>)
    add_scaled(
        pooled.scale, packed_.shape().size(),
        [&](T* to, T* scratch) {
          packed_.add_transposed_from_winners(pooled.data, winners, to, scratch);
        },
        out);
}

template <Scalar S>
template <bool Forward>
void ImageProducts<S>::add(const Image<S>& in, S* out) const {
  const ConvolutionShape& shape = packed_.shape();
  const Index in_size = Forward ? shape.size() : shape.out_size();
  const Index out_size = Forward ? shape.out_size() : shape.size();
  const auto multiply = [&](const T* from, T* to, T* scratch) {
    if constexpr (Forward)
      packed_.add_forward(from, to, scratch);
    else
      packed_.add_transposed(from, to, scratch);
  };
  if constexpr (std::floating_point<S>) {
    add_scaled(
        in.scale, out_size, [&](T* to, T* scratch) { multiply(in.data, to, scratch); }, out);
  } else {
    T* scratch = memory<T>(0, packed_.scratch_size());
    std::array<T*, 2> products{};
    for (int k = 0; k < 2; ++k) {
      const auto part = static_cast<std::size_t>(k);
      products[part] = memory<T>(1 + part, out_size);
      std::fill_n(products[part], out_size, T(0));
      multiply(take_part<S>(3, in.data, in_size, k), products[part], scratch);
    }
    for (Index i = 0; i < out_size; ++i) out[i] += in.scale * S(products[0][i], products[1][i]);
  }
}

template <Scalar S>
void ImageProducts<S>::add_forward(const Image<S>& u, S* out) const {
  add<true>(u, out);
}

template <Scalar S>
void ImageProducts<S>::add_transposed(const Image<S>& above, S* out) const {
  add<false>(above, out);
}

template <Scalar S>
GradientSums<S>::GradientSums(const MeanFolding& folding, Index pool)
    : folding_(folding),
      sums_(num_parts<S> * num_parts<S>, ConvolutionGradient<T>(folding.folded(), pool)) {}

template <Scalar S>
void GradientSums<S>::add_from_winners(S scale, const Image<S>& pooled, const std::uint8_t* winners,
                                       const Image<S>& u) requires std::floating_point<S> {
  if constexpr (std::floating_point<S>)
    sums_[0].add_from_winners(scale * pooled.scale * u.scale, pooled.data, winners, u.data);
}

/// A complex factor multiplies the smaller image, so that only real sums remain.
template <Scalar S>
void GradientSums<S>::add(S scale, const Image<S>& above, const Image<S>& u) {
  const S factor = scale * above.scale * u.scale;
  if constexpr (std::floating_point<S>) {
    sums_[0].add(factor, above.data, u.data);
  } else {
    const ConvolutionShape& shape = folding_.folded();
    thread_local std::vector<S> scaled;
    scaled.assign(above.data, above.data + shape.out_size());
    for (S& number : scaled) number *= factor;
    for (int p = 0; p < 2; ++p)
      for (int q = 0; q < 2; ++q)
        sums_[static_cast<std::size_t>(2 * p + q)].add(
            T(1), take_part<S>(3, scaled.data(), shape.out_size(), p),
            take_part<S>(4, u.data, shape.size(), q));
  }
}

template <Scalar S>
void GradientSums<S>::finish(S* grad) {
  const auto size = static_cast<std::size_t>(folding_.folded().weights());
  std::vector<T> sums(size);
  for (std::size_t k = 0; k < sums_.size(); ++k) {
    std::fill(sums.begin(), sums.end(), T(0));
    sums_[k].finish(sums.data());
    S unit(1);
    if constexpr (!std::floating_point<S>) {
      const S second(T(0), T(1));  // i, or the unit of a derivative
      unit = (k / 2 == 0 ? S(1) : second) * (k % 2 == 0 ? S(1) : second);
    }
    if (folding_.trivial()) {
      for (std::size_t i = 0; i < size; ++i) grad[i] += unit * S(sums[i]);
    } else {
      const ConvolutionShape& shape = folding_.original();
      std::vector<S> unfolded(static_cast<std::size_t>(shape.weights()), S(0));
      folding_.add_unfolded(sums.data(), unfolded.data());
      for (std::size_t i = 0; i < unfolded.size(); ++i) grad[i] += unit * unfolded[i];
    }
  }
}

template class ImageProducts<float>;
template class ImageProducts<double>;
template class ImageProducts<Complex>;
template class ImageProducts<Dual<double>>;
template class GradientSums<float>;
template class GradientSums<double>;
template class GradientSums<Complex>;
template class GradientSums<Dual<double>>;

}  // namespace equiprop
