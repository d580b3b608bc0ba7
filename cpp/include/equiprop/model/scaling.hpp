#pragma once
/// Scalings of inputs: a shift and a factor of each input, which are fitted on training data and saved with a network.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// A scaling of raw inputs x: a network receives (x - offset) * factor, computed in double precision and rounded once
/// to the precision of the network. Python's equiprop.Scaling computes the same bits.
class EQUIPROP_EXPORT Scaling {
 public:
  /// A vector of one number for all inputs, or of one number for each input, (inputs,).
  using Vector = Eigen::VectorXd;

  /// Creates a scaling. Throws InvalidArgument unless `valid` holds.
  Scaling(Vector offset, Vector factor);
  /// Returns true if the vectors have equal sizes, at least 1, all numbers are finite, and all factors positive.
  static bool valid(const Vector& offset, const Vector& factor);

  /// Returns what is subtracted.
  const Vector& offset() const { return offset_; }
  /// Returns the factors.
  const Vector& factor() const { return factor_; }
  /// Returns the scaled inputs of raw inputs x, both (inputs, batch). Throws InvalidArgument if the scaling is for
  /// another number of inputs.
  template <std::floating_point S>
  EQUIPROP_EXPORT State<S> apply(const ConstStateRef<double>& x) const;

 private:
  Vector offset_, factor_;
};

extern template State<float> Scaling::apply(const ConstStateRef<double>&) const;
extern template State<double> Scaling::apply(const ConstStateRef<double>&) const;

}  // namespace equiprop
