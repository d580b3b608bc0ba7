#pragma once
/// The interface of all models. Solvers and second phases are compiled for it, once per scalar.
///
/// Every model has the derivatives. Optional capabilities are objects; a null pointer means that the model lacks the
/// capability, and the caller then uses another method.

#include <memory>
#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/base/parameter_sink.hpp"
#include "equiprop/model/energy.hpp"

namespace equiprop {

/// Derivatives with respect to the input; out is (inputs, batch), one column per sample.
template <class S>
class InputDerivatives {
 public:
  virtual ~InputDerivatives() = default;
  /// Returns the number of rows of the input.
  virtual Index num_inputs() const = 0;
  /// Adds weight dE/dx to out.
  virtual void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const = 0;
  /// Adds weight <v, d2E/dx ds> to out.
  virtual void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                   StateRef<S> out) const = 0;
};

/// Minimisation over one block of layers that are not coupled, with all other units fixed: the exact minimiser, or a step
/// towards it that never raises the energy and ends at a fixed point only.
template <class S>
class BlockUpdates {
 public:
  virtual ~BlockUpdates() = default;
  /// Returns the number of blocks; every unit is in one of them.
  virtual Index num_blocks() const = 0;
  /// Returns the block that holds the outputs, where a nudged relaxation starts.
  virtual Index output_block() const = 0;
  /// Returns true if a block holds a unit, which is one that a cost acts on.
  virtual bool holds(Index block, Index unit) const = 0;
  /// Updates a block of s in place. Unless `change` is nullptr, raises change(j) to the largest change of a unit of
  /// sample j; NaN counts as larger than any number.
  virtual void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                            PerSample<RealOf<S>>* change) const = 0;
  /// Returns the rows of s that determine the state after a sweep over all blocks that begins with block `first`: the
  /// exact minimisers of that block do not depend on its own units, but for the winners of maxima, which are constant
  /// nearby. Empty stands for all rows.
  virtual std::vector<Rows> carried(Index /*first*/) const { return {}; }
  /// Returns true if `block_hessian_product` is available and, on the units that can move, mobility is exactly the
  /// inverse of the diagonal block of the Hessian that belongs to each block of units; that block is then diagonal.
  virtual bool has_block_hessian() const { return false; }
  /// Stores the rows of one block of H v in out, and zeros in all other rows. Requires has_block_hessian().
  virtual void block_hessian_product(Index /*block*/, const ConstStateRef<S>& /*s*/,
                                     const ConstStateRef<S>& /*v*/, StateRef<S> /*out*/) const {}
};

/// Computation of the residual |T(s) - s| in one pass over the state.
template <class S>
class OnePassResidual {
 public:
  virtual ~OnePassResidual() = default;
  /// Stores max_i |T(s) - s|_ij in largest(j), (batch,); NaN if any is NaN. `settled` is the block that was updated last;
  /// its units are skipped where the update is exact, because there T(s) = s to the last bit. -1 skips none.
  virtual void residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                        PerSample<RealOf<S>>& largest) const = 0;
};

/// A contrast in which each sample has a weight.
template <class S>
class WeightedContrast {
 public:
  virtual ~WeightedContrast() = default;
  /// Hands sum_k weights_k sum_j samples_j dE_j/dtheta(states_k) to a sink, with the energy E_j of sample j and its
  /// weight samples_j, (batch,). Returns false under the same condition as EnergyInterface::contrast.
  virtual bool weighted_contrast(std::span<const State<S>> states, std::span<const S> weights,
                                 const PerSample<RealOf<S>>& samples,
                                 ParameterSink<S>& sink) const = 0;
};

template <class S>
class EnergyInterface;

/// Selection of samples, so that threads can share a batch and samples that have converged can leave it.
template <class S>
class Selection {
 public:
  virtual ~Selection() = default;
  /// Returns the model of these samples, in the order given, with its own scratch memory.
  virtual std::shared_ptr<const EnergyInterface<S>> part(Samples which) const = 0;
  /// Returns true if no bit of a sample depends on the other samples, so that a batch can be divided in any way.
  virtual bool separable() const { return false; }
};

/// A clamped problem: parameters and input are fixed, the state s (units, batch) varies. A model is a subclass, or a
/// type that satisfies the concept Energy and is held by AnyEnergy. Objects have scratch memory, so two threads must
/// not use one object at the same time. A vector field is represented by minus its velocity mu: `gradient` is -mu, and
/// its Hessian is not symmetric.
template <class S>
class EQUIPROP_EXPORT EnergyInterface {
 public:
  using Scalar = S;  ///< scalar of states

  virtual ~EnergyInterface() = default;

  virtual Index num_units() const = 0;       ///< number of units, the rows of a state
  virtual Index num_outputs() const = 0;     ///< number of outputs, which are the last units
  virtual Index num_parameters() const = 0;  ///< number of parameters theta
  /// Returns the number of samples that are clamped, the columns of a state; or -1 if states may have any number.
  virtual Index num_samples() const { return -1; }
  /// Returns the rows of a state that belong to each layer, or nothing if the units are not divided into layers.
  virtual std::span<const Block> layers() const { return {}; }
  /// Returns false for a vector field, which has no energy E and no dE/dtheta.
  virtual bool conservative() const { return true; }

  /// Stores E(theta, x, s) of each sample in out, (batch,).
  virtual void energy(const ConstStateRef<S>& s, PerSample<S>& out) const = 0;
  /// Stores dE/ds in out, (units, batch).
  virtual void gradient(const ConstStateRef<S>& s, StateRef<S> out) const = 0;
  /// Stores H v with H = d2E/ds2 in out, (units, batch).
  virtual void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                      StateRef<S> out) const = 0;
  /// Stores H^T v in out, (units, batch).
  virtual void transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                 const ConstStateRef<S>& v, StateRef<S> out) const {
    hessian_vector_product(s, v, out);
  }
  /// Adds weight sum_batch dE/dtheta to grad, (parameters,).
  virtual void parameter_gradient(const ConstStateRef<S>& s, S weight,
                                  ParametersRef<S> grad) const = 0;
  /// Adds weight sum_batch <v, d2E/dtheta ds> to grad, (parameters,).
  virtual void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                        S weight, ParametersRef<S> grad) const = 0;
  /// Hands sum_k weights_k sum_batch dE/dtheta(states_k) to a sink. Returns false, and hands nothing over, if the sink
  /// needs a bound of these numbers and rejects the bound.
  virtual bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                        ParameterSink<S>& sink) const {
    return sum_into(sink, [&](ParametersRef<S> sum) {
      for (std::size_t k = 0; k < states.size(); ++k)
        parameter_gradient(states[k], weights[k], sum);
    });
  }
  /// Hands weight sum_batch <v, d2E/dtheta ds> to a sink. Returns false under the same condition as `contrast`.
  virtual bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParameterSink<S>& sink) const {
    return sum_into(sink,
                    [&](ParametersRef<S> sum) { mixed_derivative_product(s, v, weight, sum); });
  }

  /// Stores T(s) under an outside force in out: a map whose fixed points are those of the dynamics. The default is
  /// T(s) = s - dE/ds + force. A subclass that overrides one of the next four functions must override all of them.
  virtual void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                               StateRef<S> out) const {
    gradient(s, out);
    out = s - out;
    if (nudge.force.size() == 0) return;
    out.bottomRows(nudge.force.rows()) += nudge.force;
    subtract_stiff(nudge, s, out);
  }
  /// Stores dT/d(force), a diagonal, in out: by default 1; 0 on a unit held by a bound. The stiffness of the force only
  /// scales it and is ignored.
  virtual void mobility(const ConstStateRef<S>&, const Nudge<S>&, StateRef<S> out) const {
    out.setOnes();
  }
  /// Stores (dT/ds)^T v in out, (units, batch).
  virtual void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                      const ConstStateRef<S>& v, StateRef<S> out) const {
    transposed_hessian_vector_product(s, v, out);
    out = v - out;
    subtract_stiff(nudge, v, out);
  }
  /// Clips s to the bounds of its units, in place; by default there are none.
  virtual void project(StateRef<S>) const {}

  /// Returns the derivatives with respect to the input, or nullptr if the model lacks them.
  virtual const InputDerivatives<S>* input_derivatives() const { return nullptr; }
  /// Returns the exact block updates, or nullptr if the model lacks them.
  virtual const BlockUpdates<S>* block_updates() const { return nullptr; }
  /// Returns the residual in one pass, or nullptr if the model lacks it.
  virtual const OnePassResidual<S>* one_pass_residual() const { return nullptr; }
  /// Returns the contrast with weights of the samples, or nullptr if the model lacks it.
  virtual const WeightedContrast<S>* sample_weighting() const { return nullptr; }
  /// Returns the selection of samples, or nullptr if the model lacks it.
  virtual const Selection<S>* selection() const { return nullptr; }

 private:
  /// Subtracts the stiffness of a nudge times v from out.
  static void subtract_stiff(const Nudge<S>& nudge, const ConstStateRef<S>& v, StateRef<S>& out) {
    const Index rows = nudge.stiffness.size();
    out.bottomRows(rows) -= nudge.stiffness.asDiagonal() * v.bottomRows(rows);
  }
  /// Hands a derivative over as numbers; if the sink needs a bound, checks it first.
  template <class AddSum>
  bool sum_into(ParameterSink<S>& sink, const AddSum& add) const {
    Parameters<S> sum = Parameters<S>::Zero(num_parameters());
    add(ParametersRef<S>(sum));
    if (sink.needs_bound()) {
      double bound = 0;
      for (const S& v : sum) raise_to(static_cast<double>(magnitude(v)), bound);
      if (!sink.bounded(bound)) return false;
    }
    sink.numbers(0, sum);
    return true;
  }
};

}  // namespace equiprop
