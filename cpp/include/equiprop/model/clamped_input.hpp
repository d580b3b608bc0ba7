#pragma once
/// The input of a clamped network and the drive that it gives.

#include <memory>
#include <vector>

#include "equiprop/model/bound_network.hpp"

namespace equiprop {

/// x (inputs, batch), the drive bias + W^T x of every free layer, computed once, and a choice of samples. Copies and
/// ranges of samples share the memory.
template <Scalar S>
class EQUIPROP_EXPORT ClampedInput {
 public:
  /// Throws InvalidArgument unless x is (inputs, batch) and all parameters are finite.
  ClampedInput(std::shared_ptr<BoundNetwork<S>> network, const ConstStateRef<S>& x);

  /// Takes another input of the same shape, and the parameters as they are now, for all that share the memory. Throws
  /// InvalidArgument if the shape is another, and where a parameter is not finite: then reclamp before any other use.
  void reclamp(const ConstStateRef<S>& x);
  /// These samples, in the order given. A range shares the drive; others copy it.
  ClampedInput select(Samples which) const;

  const BoundNetwork<S>& network() const { return *network_; }         ///< whose input it is
  Index batch() const { return static_cast<Index>(samples_.size()); }  ///< samples
  /// bias + W^T x, (units, batch)
  auto drive() const {
    return drive_->block(0, drive_begin_, network_->topology().state().size(), batch());
  }
  /// x of these samples, (inputs, batch); gathered in `scratch` unless they are a range.
  ConstStateRef<S> x(State<S>& scratch) const;
  /// At least max |x|, of real scalars; NaN if one is NaN.
  double largest_size() const { return sizes_->template maxCoeff<Eigen::PropagateNaN>(); }

 private:
  void check_parameters() const;
  void drive_layer(std::size_t free_layer, StateRef<S> out) const;

  std::shared_ptr<BoundNetwork<S>> network_;
  std::shared_ptr<State<S>> x_;               // (inputs, batch), of the whole batch
  std::shared_ptr<State<S>> drive_;           // (padded units, batch)
  std::shared_ptr<PerSample<double>> sizes_;  // max |x| of each sample, of real scalars
  std::vector<Index> samples_;                // columns of x that are these samples
  Index drive_begin_ = 0;
};

extern template class ClampedInput<float>;
extern template class ClampedInput<double>;
extern template class ClampedInput<Complex>;
extern template class ClampedInput<Dual<double>>;

}  // namespace equiprop
