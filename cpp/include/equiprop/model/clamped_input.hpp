#pragma once
/// The input of a clamped network and the drive that it causes.

#include <memory>
#include <vector>

#include "equiprop/model/bound_network.hpp"

namespace equiprop {

/// Some samples of a clamped input x (inputs, batch), and the drive bias + W x of every free layer, which is computed
/// once. Copies and ranges of samples share the memory.
template <Scalar S>
class EQUIPROP_EXPORT ClampedInput {
 public:
  /// Computes the drive of x. Throws InvalidArgument unless x is (inputs, batch) and all parameters are finite.
  ClampedInput(std::shared_ptr<BoundNetwork<S>> network, const ConstStateRef<S>& x);

  /// Replaces the input by x of the same shape and reads the present parameters, for all objects that share the memory.
  /// Throws InvalidArgument if the shape differs or a parameter is not finite; then reclamp again before any other use.
  void reclamp(const ConstStateRef<S>& x);
  /// Returns these samples, in the order given. A range shares the drive; other selections copy it.
  ClampedInput select(Samples which) const;

  const BoundNetwork<S>& network() const { return *network_; }         ///< network of the input
  Index batch() const { return static_cast<Index>(samples_.size()); }  ///< number of samples
  /// Returns the drive bias + W x, (units, batch).
  auto drive() const {
    return drive_->block(0, drive_begin_, network_->topology().state().size(), batch());
  }
  /// Returns x of these samples, (inputs, batch), in the order of the units of the input layer. If they are not a range, x is copied to `scratch`.
  ConstStateRef<S> x(State<S>& scratch) const;
  /// Adds to out, (inputs, batch) in the order of the caller's input, the pull on the input of a coupling whose target
  /// has this signal.
  void add_input_pulls(std::size_t coupling, const Signal<S>& target, StateRef<S> out) const;
  /// Returns an upper bound of max |x| for real scalars; NaN if an entry is NaN.
  double largest_size() const { return sizes_->template maxCoeff<Eigen::PropagateNaN>(); }

 private:
  void check_parameters() const;
  void take_sample(const ConstParametersRef<S>& from, ParametersRef<S> to) const;
  void drive_layer(std::size_t free_layer, StateRef<S> out) const;

  std::shared_ptr<BoundNetwork<S>> network_;
  std::shared_ptr<State<S>> x_;               // input of the whole batch, (inputs, batch)
  std::shared_ptr<State<S>> drive_;           // (padded units, batch)
  std::shared_ptr<PerSample<double>> sizes_;  // max |x| of each sample, for real scalars
  std::vector<Index> samples_;                // columns of x that belong to these samples
  Index drive_begin_ = 0;
};

extern template class ClampedInput<float>;
extern template class ClampedInput<double>;
extern template class ClampedInput<Complex>;
extern template class ClampedInput<Dual<double>>;

}  // namespace equiprop
