#pragma once
/// Sinks: receivers of derivatives with respect to the parameters, block by block.
///
/// A model computes a derivative as a sum over the samples of a batch. It hands each block to a sink, either as outer
/// products that the sink sums, so that the sum can be fused with an update, or as numbers.

#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/base/product.hpp"
#include "equiprop/base/update.hpp"

namespace equiprop {

/// Interface of a receiver of one derivative with respect to all parameters. Every parameter is handed over at most
/// once.
template <Scalar S>
class ParameterSink {
 public:
  virtual ~ParameterSink() = default;

  /// Returns true if the sink modifies data while it receives, so that it must know beforehand that no sum overflows.
  /// The model then calls `bounded` before it hands over the first block.
  virtual bool needs_bound() const { return false; }
  /// Returns true if the sink only measures what it receives. A model may then hand over, in place of sums that are
  /// costly to compute, a product of the same block whose entries are bounded by a larger number; its factors need not
  /// have the shape of the block.
  virtual bool measures() const { return false; }
  /// Receives an upper bound of the absolute value of all numbers that follow; infinity or NaN if there is none.
  /// Returns false to receive nothing: the caller must then sum the derivative itself and check it.
  virtual bool bounded(double /*bound*/) { return true; }
  /// Receives the derivative with respect to the block `weights`: sum_k scale_k a_k b_k^T, (rows, columns) of the
  /// block.
  virtual void products(const Block& weights, std::span<const OuterProduct<S>> terms) = 0;
  /// Receives the derivative with respect to the parameters [begin, begin + sums.size()).
  virtual void numbers(Index begin, const ConstParametersRef<S>& sums) = 0;
};

/// Sink that adds the derivative to a vector (parameters,).
template <Scalar S>
class EQUIPROP_EXPORT AddTo final : public ParameterSink<S> {
 public:
  /// Keeps a view of `sum`: the vector must outlive this sink.
  explicit AddTo(ParametersRef<S> sum) : sum_(sum) {}

  /// See ParameterSink.
  ///@{
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  ParametersRef<S> sum_;
};

/// The learning rate of the parameters from `begin` up to the `begin` of the next entry.
template <class S>
struct BlockRate {
  Index begin;  ///< index of the first parameter
  S rate;       ///< learning rate
};

/// Learning rates of all parameters, ordered by `begin`; the first `begin` is 0, and no block has two rates.
template <class S>
using BlockRates = std::vector<BlockRate<S>>;

/// Sink that takes an SGD step with momentum (MomentumStep) while it sums the gradient, which is never stored.
template <std::floating_point S>
class EQUIPROP_EXPORT DescendSGD final : public ParameterSink<S> {
 public:
  /// Keeps views of theta and of the velocity, (parameters,); the velocity may be empty if momentum is 0. Throws
  /// InvalidArgument unless the rates are ordered from parameter 0 on and the sizes agree.
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

/// Sink that takes an Adam step (AdamStep) while it sums the gradient.
template <std::floating_point S>
class EQUIPROP_EXPORT DescendAdam final : public ParameterSink<S> {
 public:
  /// Keeps views of theta, of the mean of the gradient and of the mean of its square, (parameters,). `step` holds all
  /// constants except the rate. Throws InvalidArgument unless the rates are ordered from parameter 0 on and the sizes
  /// agree.
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

/// Sink that scales a derivative to a largest Euclidean norm before another sink receives it. The caller sums the whole
/// derivative first, because `bounded` returns false. A derivative whose norm is not finite is not handed over.
template <std::floating_point S>
class EQUIPROP_EXPORT ClipTo final : public ParameterSink<S> {
 public:
  /// Keeps a reference to `sink`. `limit` is the largest norm; infinity only measures.
  ClipTo(ParameterSink<S>& sink, double limit) : sink_(sink), limit_(limit) {}

  /// Returns the norm of the derivative before it was scaled; 0 if none was received.
  double norm() const { return norm_; }
  /// See ParameterSink.
  ///@{
  bool needs_bound() const override { return true; }
  bool bounded(double /*bound*/) override { return false; }
  void products(const Block& weights, std::span<const OuterProduct<S>> terms) override;
  void numbers(Index begin, const ConstParametersRef<S>& sums) override;
  ///@}

 private:
  ParameterSink<S>& sink_;
  double limit_, norm_ = 0;
};

/// Sink that computes a bound of the numbers that a model hands over.
template <std::floating_point S>
class EQUIPROP_EXPORT Bound final : public ParameterSink<S> {
 public:
  /// Creates a bound. `x` is the memory of a factor whose largest absolute value `largest_x` is already known, or
  /// nullptr.
  Bound(const S* x, double largest_x) : x_(x), largest_x_(largest_x) {}

  /// Returns an upper bound of the absolute value of every number received, or NaN if one is NaN.
  double value() const { return value_; }
  /// See ParameterSink.
  ///@{
  bool measures() const override { return true; }
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
extern template class ClipTo<float>;
extern template class ClipTo<double>;
extern template class Bound<float>;
extern template class Bound<double>;

}  // namespace equiprop
