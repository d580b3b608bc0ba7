#pragma once
/// Sinks: receivers of derivatives by the parameters, block by block.
///
/// A model computes a derivative as sums over the samples of a batch. It hands each block to a sink, either as the
/// outer products whose sum it is, so that the sink may fuse the sum with what follows, or as numbers.

#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/base/product.hpp"
#include "equiprop/base/update.hpp"

namespace equiprop {

/// Receives one derivative by all parameters. Every parameter is handed over at most once.
template <Scalar S>
class ParameterSink {
 public:
  virtual ~ParameterSink() = default;

  /// True if the sink changes anything while it receives, so that it must know first that no sum overflows. The model
  /// then calls `bounded` before it hands over the first block.
  virtual bool needs_bound() const { return false; }
  /// `bound` is at least the size of every number that will be handed over; infinity or NaN if there is no bound.
  /// Returns false to receive nothing: the caller must then sum the derivative itself and check it.
  virtual bool bounded(double /*bound*/) { return true; }
  /// Receives the derivative by the block `weights`, sum_k scale_k a_k b_k^T, (rows, columns) of the block.
  virtual void products(const Block& weights, std::span<const OuterProduct<S>> terms) = 0;
  /// Receives the derivative by the parameters [begin, begin + sums.size()).
  virtual void numbers(Index begin, const ConstParametersRef<S>& sums) = 0;
};

/// Adds the derivative to a vector, (parameters,).
template <Scalar S>
class EQUIPROP_EXPORT AddTo final : public ParameterSink<S> {
 public:
  /// `sum` is a view: the vector must outlive this.
  explicit AddTo(ParametersRef<S> sum) : sum_(sum) {}

  /// See ParameterSink.
  ///@{
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  ParametersRef<S> sum_;
};

/// The learning rate of the parameters from `begin` to the next one's.
template <class S>
struct BlockRate {
  Index begin;  ///< first parameter
  S rate;       ///< of each step
};

/// Learning rates of all parameters: ordered by `begin`, the first one 0, no piece inside a block.
template <class S>
using BlockRates = std::vector<BlockRate<S>>;

/// Descends by SGD with momentum (MomentumStep) while the gradient is summed: no gradient is stored.
template <std::floating_point S>
class EQUIPROP_EXPORT DescendSGD final : public ParameterSink<S> {
 public:
  /// Views of theta and of the velocity, (parameters,); an empty velocity stands for momentum 0.
  /// Throws InvalidArgument unless there are rates from parameter 0 on and the sizes agree.
  DescendSGD(ParametersRef<S> theta, ParametersRef<S> velocity, BlockRates<S> rates, S momentum,
             S decay);

  /// See ParameterSink.
  ///@{
  bool needs_bound() const override { return true; }
  bool bounded(double bound) override;
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  ParametersRef<S> theta_, velocity_;
  BlockRates<S> rates_;
  S momentum_, decay_;
};

/// Descends by Adam (AdamStep) while the gradient is summed.
template <std::floating_point S>
class EQUIPROP_EXPORT DescendAdam final : public ParameterSink<S> {
 public:
  /// Views of theta and of the averages of the gradient and of its square, (parameters,). `step` holds everything but
  /// the rate. Throws InvalidArgument unless there are rates from parameter 0 on and the sizes agree.
  DescendAdam(ParametersRef<S> theta, ParametersRef<S> mean, ParametersRef<S> square,
              BlockRates<S> rates, const AdamStep<S>& step);

  /// See ParameterSink.
  ///@{
  bool needs_bound() const override { return true; }
  bool bounded(double bound) override;
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  ParametersRef<S> theta_, mean_, square_;
  BlockRates<S> rates_;
  AdamStep<S> step_;
};

/// A bound of the numbers that a model hands over; changes nothing.
template <std::floating_point S>
class EQUIPROP_EXPORT Bound final : public ParameterSink<S> {
 public:
  /// `x` is a factor of products whose largest size is already known, or nullptr.
  Bound(const S* x, double largest_x) : x_(x), largest_x_(largest_x) {}

  /// At least the size of every number received, NaN if one is NaN.
  double value() const { return value_; }
  /// See ParameterSink.
  ///@{
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  const S* x_;
  double largest_x_, value_ = 0;
};

extern template class AddTo<float>;
extern template class AddTo<double>;
extern template class AddTo<Complex>;
extern template class AddTo<Dual<double>>;
extern template class DescendSGD<float>;
extern template class DescendSGD<double>;
extern template class DescendAdam<float>;
extern template class DescendAdam<double>;
extern template class Bound<float>;
extern template class Bound<double>;

}  // namespace equiprop
