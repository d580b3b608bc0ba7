/// Convolutions followed by a maximum or a soft maximum.

#include <atomic>

#include "equiprop/model/convolution.hpp"
#include "geometry.hpp"
#include "image_edge.hpp"

namespace equiprop {
namespace {

constexpr Index most_numbers = 16 * 16;  // of a pooling window
template <class S>
using Window = std::array<S, most_numbers>;

/// The maximum of a window.
template <class S>
class Maximum {
 public:
  static constexpr bool homogeneous = true;  ///< of degree 1

  /// Finds the winner among the first `count` numbers; ties go to the first, and NaN counts as the largest.
  void read(const Window<S>& a, Index count) {
    winner_ = 0;
    for (Index m = 1; m < count; ++m) {
      const auto best = real_part(a[at(winner_)]), other = real_part(a[at(m)]);
      if (!(other <= best) && best == best) winner_ = m;
    }
    value_ = a[at(winner_)];
  }
  S value() const { return value_; }
  /// Returns the derivative along da.
  S tangent(const Window<S>& da) const { return da[at(winner_)]; }
  /// Returns the derivative by number m.
  S slope(Index m) const { return m == winner_ ? S(1) : S(0); }
  /// Returns the derivative of slope(m) along da.
  S bend(Index, const Window<S>&) const { return S(0); }

 private:
  static std::size_t at(Index m) { return static_cast<std::size_t>(m); }
  Index winner_ = 0;
  S value_{};
};

/// p = sum_m q_m a_m with q_m = e^(c a_m) / sum_k e^(c a_k); dp/da_m = q_m (1 + c (a_m - p)).
template <class S>
class SoftMaximum {
 public:
  static constexpr bool homogeneous = false;

  explicit SoftMaximum(double sharpness) : c_(static_cast<RealOf<S>>(sharpness)) {}

  void read(const Window<S>& a, Index count) {
    a_ = &a;
    count_ = count;
    RealOf<S> largest = real_part(a[0]);
    for (Index m = 1; m < count; ++m) largest = std::max(largest, real_part(a[at(m)]));
    S sum(0);
    for (Index m = 0; m < count; ++m) {
      using std::exp;
      q_[at(m)] = exp(c_ * (a[at(m)] - S(largest)));
      sum += q_[at(m)];
    }
    value_ = S(0);
    for (Index m = 0; m < count; ++m) {
      q_[at(m)] /= sum;
      value_ += q_[at(m)] * a[at(m)];
    }
  }
  S value() const { return value_; }
  S tangent(const Window<S>& da) const {
    S sum(0);
    for (Index m = 0; m < count_; ++m) sum += slope(m) * da[at(m)];
    return sum;
  }
  S slope(Index m) const { return q_[at(m)] * (S(1) + c_ * ((*a_)[at(m)] - value_)); }
  S bend(Index m, const Window<S>& da) const {
    S mean(0);
    for (Index k = 0; k < count_; ++k) mean += q_[at(k)] * da[at(k)];
    const S dq = c_ * q_[at(m)] * (da[at(m)] - mean);
    return dq * (S(1) + c_ * ((*a_)[at(m)] - value_)) + q_[at(m)] * c_ * (da[at(m)] - tangent(da));
  }

 private:
  static std::size_t at(Index m) { return static_cast<std::size_t>(m); }
  S c_;
  const Window<S>* a_ = nullptr;
  Index count_ = 0;
  Window<S> q_{};
  S value_{};
};

/// A convolution a = w * u_source followed by `Pool`.
template <Scalar S, class Pool>
class PooledEdge final : public ImageEdge<S> {
 public:
  PooledEdge(const EdgeEnds<S>& ends, const ConvolutionShape& shape, Index size, Pool pool)
      : ImageEdge<S>(ends, MeanFolding(shape, 1)), shape_(shape), size_(size), pool_(pool) {}

  bool bilinear() const override { return false; }
  bool homogeneous() const override { return Pool::homogeneous; }

  void pull_image(End end, const ImagePair<S>& u, S* out) const override {
    const S* a = convolved(0, this->forward(), u.source);
    if (end == End::target) {
      for_each_window(
          a, [&](Index unit, const Pool& pool, const auto&) { out[unit] += pool.value(); });
    } else {
      const S* spread = spread_back(a, u.target);
      this->backward().add_transposed({S(1), spread}, out);
    }
  }

  void tangent_image(End end, Op op, const ImagePair<S>& u, const ImagePair<S>& v,
                     S* out) const override {
    const bool own = op == Op::none;
    const ImageProducts<S>& up = own ? this->forward() : this->backward();
    const ImageProducts<S>& down = own ? this->backward() : this->forward();
    const S* a = convolved(0, this->forward(), u.source);
    if (end == End::target) {
      add_tangents(a, convolved(1, up, v.source), out);
    } else {
      S* spread = spread_back(a, v.target);
      if constexpr (!Pool::homogeneous) add_bends(a, convolved(1, up, v.source), u.target, spread);
      down.add_transposed({S(1), spread}, out);
    }
  }

 protected:
  void add_gradient(const ImagePair<S>& u, GradientSums<S>& sums) const override {
    const S* a = convolved(0, this->forward(), u.source);
    sums.add(S(1), {S(1), spread_back(a, u.target)}, u.source);
  }

  void add_tangent_gradient(S scale, const ImagePair<S>& u, const ImagePair<S>& v,
                            GradientSums<S>& forward, GradientSums<S>& backward) const override {
    const S* a = convolved(0, this->forward(), u.source);
    S* spread = spread_back(a, v.target);
    if constexpr (!Pool::homogeneous)
      add_bends(a, convolved(1, this->backward(), v.source), u.target, spread);
    forward.add(scale, {S(1), spread}, u.source);
    backward.add(scale, {S(1), spread_back(a, u.target)}, v.source);
  }

 private:
  /// Returns the convolution of an image, in memory of the thread.
  const S* convolved(std::size_t slot, const ImageProducts<S>& weights, const Image<S>& u) const {
    S* a = blank_image<S>(slot, shape_.out_size());
    weights.add_forward(u, a);
    return a;
  }

  /// Returns the index of number m of the window of a pooled unit at (Y, X, c).
  Index place(Index Y, Index X, Index c, Index m) const {
    const Index y = Y * size_ + m / size_, x = X * size_ + m % size_;
    return (y * shape_.out_width + x) * shape_.out_channels + c;
  }

  /// Calls visit(unit, pool, place of number m) for the window of each pooled unit.
  template <class Visit>
  void for_each_window(const S* a, const Visit& visit) const {
    Pool pool = pool_;
    Window<S> window;
    const Index count = size_ * size_, channels = shape_.out_channels;
    Index unit = 0;
    for (Index Y = 0; Y < shape_.out_height / size_; ++Y)
      for (Index X = 0; X < shape_.out_width / size_; ++X)
        for (Index c = 0; c < channels; ++c, ++unit) {
          const auto at = [&](Index m) { return place(Y, X, c, m); };
          for (Index m = 0; m < count; ++m) window[static_cast<std::size_t>(m)] = a[at(m)];
          pool.read(window, count);
          visit(unit, pool, at);
        }
  }

  template <class Place>
  Window<S> window_of(const S* image, const Place& at) const {
    Window<S> window;
    for (Index m = 0; m < size_ * size_; ++m) window[static_cast<std::size_t>(m)] = image[at(m)];
    return window;
  }

  /// Returns J^T t, the signals t of the target spread over their windows, in memory of the thread.
  S* spread_back(const S* a, const Image<S>& t) const {
    S* spread = blank_image<S>(2, shape_.out_size());
    for_each_window(a, [&](Index unit, const Pool& pool, const auto& at) {
      for (Index m = 0; m < size_ * size_; ++m)
        spread[at(m)] = pool.slope(m) * (t.scale * t.data[unit]);
    });
    return spread;
  }

  /// Adds J da to out.
  void add_tangents(const S* a, const S* da, S* out) const {
    for_each_window(a, [&](Index unit, const Pool& pool, const auto& at) {
      out[unit] += pool.tangent(window_of(da, at));
    });
  }

  /// Adds the derivative of J^T t along da to `spread`.
  void add_bends(const S* a, const S* da, const Image<S>& t, S* spread) const {
    for_each_window(a, [&](Index unit, const Pool& pool, const auto& at) {
      const Window<S> along = window_of(da, at);
      for (Index m = 0; m < size_ * size_; ++m)
        spread[at(m)] += pool.bend(m, along) * (t.scale * t.data[unit]);
    });
  }

  ConvolutionShape shape_;
  Index size_;
  Pool pool_;
};

/// The maximum for real scalars, by kernels that compute only what the winners of the windows need.
template <std::floating_point T>
class WinnersEdge final : public ImageEdge<T> {
 public:
  WinnersEdge(const EdgeEnds<T>& ends, const ConvolutionShape& shape, Index pool)
      : ImageEdge<T>(ends, MeanFolding(shape, 1), pool), shape_(shape), pool_(pool) {}

  bool bilinear() const override { return false; }
  void pack() override {
    ImageEdge<T>::pack();
    version_ = ++versions;
  }

  void pull_image(End end, const ImagePair<T>& u, T* out) const override {
    if (end == End::target)
      this->forward().add_pooled(u.source, out, fresh(u.source).winners.data());
    else
      this->backward().add_from_winners(u.target, winners_of(u.source), out);
  }

  void tangent_image(End end, Op op, const ImagePair<T>& u, const ImagePair<T>& v,
                     T* out) const override {
    const bool own = op == Op::none;
    const std::uint8_t* winners = winners_of(u.source);
    if (end == End::source)
      return (own ? this->backward() : this->forward()).add_from_winners(v.target, winners, out);
    T* a = blank_image<T>(0, shape_.out_size());
    (own ? this->forward() : this->backward()).add_forward(v.source, a);
    for (Index unit = 0; unit < this->forward().pooled_size(); ++unit)
      out[unit] += a[place(unit, winners[unit])];
  }

 protected:
  void add_gradient(const ImagePair<T>& u, GradientSums<T>& sums) const override {
    sums.add_from_winners(T(1), u.target, winners_of(u.source), u.source);
  }
  void add_tangent_gradient(T scale, const ImagePair<T>& u, const ImagePair<T>& v,
                            GradientSums<T>& forward, GradientSums<T>& backward) const override {
    const std::uint8_t* winners = winners_of(u.source);
    forward.add_from_winners(scale, v.target, winners, u.source);
    backward.add_from_winners(scale, u.target, winners, v.source);
  }

 private:
  /// The winners at one image of the source.
  struct Kept {
    std::uint64_t version = 0;  // of the weights
    std::vector<T> source;
    std::vector<std::uint8_t> winners;
  };

  /// Returns the entry of an image in a table of the thread. A relaxation visits its samples in turn at fixed places,
  /// so the winners that a pull on the target has found serve the next pull on the source.
  Kept& entry(const Image<T>& source) const {
    constexpr std::size_t most_entries = 256, most_bytes = std::size_t{8} << 20;
    thread_local std::array<Kept, most_entries> table;
    const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(shape_.size());
    const std::size_t entries = std::clamp(most_bytes / bytes, std::size_t{1}, most_entries);
    const auto address = reinterpret_cast<std::uintptr_t>(source.data);
    return table[(address / 64 * 0x9E3779B97F4A7C15u >> 32) % entries];
  }

  /// Returns the entry of an image, with a copy of it and memory for its winners.
  Kept& fresh(const Image<T>& source) const {
    Kept& kept = entry(source);
    kept.version = version_;
    kept.source.assign(source.data, source.data + shape_.size());
    kept.winners.resize(static_cast<std::size_t>(this->forward().pooled_size()));
    return kept;
  }

  const std::uint8_t* winners_of(const Image<T>& source) const {
    Kept& kept = entry(source);
    const auto size = static_cast<std::size_t>(shape_.size());
    const bool same = kept.version == version_ && kept.source.size() == size &&
                      std::equal(kept.source.begin(), kept.source.end(), source.data);
    if (!same) {
      T* maxima = blank_image<T>(1, this->forward().pooled_size());
      this->forward().add_pooled({T(1), source.data}, maxima, fresh(source).winners.data());
    }
    return kept.winners.data();
  }

  /// Returns the index, before pooling, of a position in the window of a pooled unit.
  Index place(Index unit, Index position) const {
    const Index channels = shape_.out_channels, columns = shape_.out_width / pool_;
    const Index c = unit % channels, X = unit / channels % columns, Y = unit / channels / columns;
    return ((Y * pool_ + position / pool_) * shape_.out_width + X * pool_ + position % pool_) *
               channels +
           c;
  }

  static inline std::atomic<std::uint64_t> versions{0};

  ConvolutionShape shape_;
  Index pool_;
  std::uint64_t version_ = 0;
};

/// Throws InvalidArgument if the target is the input: its drive would depend on the state of the source.
void check_target(const char* where, Index source, Index target) {
  require(
      target != 0, where,
      "The target of a pooled coupling is a free layer; a Convolution can have the input as its "
      "target.",
      source, " -> ", target);
}

}  // namespace

WeightShape MaxPooled::weights_of(const Shape& from, const Shape& to) const {
  check_target("MaxPooled", source, target);
  return weight_shape(convolution_shape("MaxPooled", windows, pool, from, to));
}

WeightShape SoftPooled::weights_of(const Shape& from, const Shape& to) const {
  require(sharpness > 0 && sharpness <= 1048576, "SoftPooled",
          "The sharpness is positive and at most 2^20.", sharpness);
  check_target("SoftPooled", source, target);
  return weight_shape(convolution_shape("SoftPooled", windows, pool, from, to));
}

template <Scalar S>
std::unique_ptr<Edge<S>> MaxPooled::bind(const EdgeEnds<S>& ends) const {
  const auto shape =
      convolution_shape("MaxPooled", windows, pool, ends.source.shape, ends.target.shape);
  if constexpr (std::floating_point<S>)
    if (pool > 1) return std::make_unique<WinnersEdge<S>>(ends, shape, pool);
  return std::make_unique<PooledEdge<S, Maximum<S>>>(ends, shape, pool, Maximum<S>());
}

template <Scalar S>
std::unique_ptr<Edge<S>> SoftPooled::bind(const EdgeEnds<S>& ends) const {
  const auto shape =
      convolution_shape("SoftPooled", windows, pool, ends.source.shape, ends.target.shape);
  return std::make_unique<PooledEdge<S, SoftMaximum<S>>>(ends, shape, pool,
                                                         SoftMaximum<S>(sharpness));
}

#define INSTANTIATE(S)                                                         \
  template std::unique_ptr<Edge<S>> MaxPooled::bind(const EdgeEnds<S>&) const; \
  template std::unique_ptr<Edge<S>> SoftPooled::bind(const EdgeEnds<S>&) const;
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
