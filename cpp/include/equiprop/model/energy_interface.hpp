#pragma once
/// The interface of all models. Solvers and second phases are compiled for it, once per scalar.
///
/// Derivatives are functions that every model has. Capabilities are objects that a model may have: a null pointer says
/// that it has none, and a caller takes another way.

#include <memory>
#include <vector>

#include "equiprop/base/error.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/base/parameter_sink.hpp"
#include "equiprop/model/energy.hpp"

namespace equiprop {

/// Derivatives by the input; out (inputs, batch), one column per sample.
template <class S>
class InputDerivatives {
 public:
  virtual ~InputDerivatives() = default;
  /// Rows of the input.
  virtual Index num_inputs() const = 0;
  /// out += weight dE/dx
  virtual void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const = 0;
  /// out += weight <v, d2E/dx ds>
  virtual void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                   StateRef<S> out) const = 0;
};

/// Exact minimisation over one block of mutually uncoupled units, the others held.
template <class S>
class BlockUpdates {
 public:
  virtual ~BlockUpdates() = default;
  /// Blocks, which together hold every unit once.
  virtual Index num_blocks() const = 0;
  /// The block of the outputs, where a nudged relaxation begins.
  virtual Index output_block() const = 0;
  /// Updates a block of s in place. Unless `change` is nullptr, change(j) becomes the largest of itself and of what the
  /// units of sample j moved by; once NaN it stays so.
  virtual void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                            PerSample<RealOf<S>>* change) const = 0;
  /// True if `block_hessian_product` may be called and mobility is the exact inverse of each block's own part of the
  /// Hessian, a diagonal, on the units that it lets move.
  virtual bool has_block_hessian() const { return false; }
  /// out = rows of one block of H v, zeros elsewhere. The caller has asked has_block_hessian().
  virtual void block_hessian_product(Index /*block*/, const ConstStateRef<S>& /*s*/,
                                     const ConstStateRef<S>& /*v*/, StateRef<S> /*out*/) const {}
};

/// The residual |T(s) - s| in one pass over the state.
template <class S>
class OnePassResidual {
 public:
  virtual ~OnePassResidual() = default;
  /// largest(j) = max_i |T(s) - s|_ij, NaN if any is NaN. Units of block `settled`, the last that was updated, are left
  /// out: T(s) is s there to the last bit. -1 leaves none out.
  virtual void residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                        PerSample<RealOf<S>>& largest) const = 0;
};

template <class S>
class EnergyInterface;

/// The problem of some samples of the batch, so that threads share it and samples that have settled may leave.
template <class S>
class Selection {
 public:
  virtual ~Selection() = default;
  /// The problem of these samples, in the order given, with scratch memory of its own.
  virtual std::shared_ptr<const EnergyInterface<S>> part(Samples which) const = 0;
  /// True if no bit of a sample depends on the samples beside it, so that a batch may be divided in any way.
  virtual bool separable() const { return false; }
};

/// A clamped problem: parameters and input are fixed in it, the state s (units, batch) varies. A model is a subclass, or
/// a type that satisfies Energy and is held by AnyEnergy. Objects have scratch memory: use each from one thread at a
/// time. A vector field enters as minus its velocity: `gradient` is -mu, its Hessian is not symmetric.
template <class S>
class EQUIPROP_EXPORT EnergyInterface {
 public:
  using Scalar = S;  ///< of states

  virtual ~EnergyInterface() = default;

  virtual Index num_units() const = 0;       ///< rows of a state
  virtual Index num_outputs() const = 0;     ///< the last units, on which a cost acts
  virtual Index num_parameters() const = 0;  ///< length of theta
  /// False for a vector field: it has no energy E and no dE/dtheta.
  virtual bool conservative() const { return true; }

  /// out = E(theta, x, s) of each sample, (batch,)
  virtual void energy(const ConstStateRef<S>& s, PerSample<S>& out) const = 0;
  /// out = dE/ds, (units, batch)
  virtual void gradient(const ConstStateRef<S>& s, StateRef<S> out) const = 0;
  /// out = H v with H = d2E/ds2, (units, batch)
  virtual void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                      StateRef<S> out) const = 0;
  /// out = H^T v, (units, batch)
  virtual void transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                 const ConstStateRef<S>& v, StateRef<S> out) const {
    hessian_vector_product(s, v, out);
  }
  /// grad += weight sum_batch dE/dtheta, (parameters,)
  virtual void parameter_gradient(const ConstStateRef<S>& s, S weight,
                                  ParametersRef<S> grad) const = 0;
  /// grad += weight sum_batch <v, d2E/dtheta ds>, (parameters,)
  virtual void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                        S weight, ParametersRef<S> grad) const = 0;
  /// Hands sum_k weights_k sum_batch dE/dtheta(states_k) to a sink. Returns false, and hands nothing over, if the sink
  /// needs a bound of these numbers and there is none small enough.
  virtual bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                        ParameterSink<S>& sink) const {
    return sum_into(sink, [&](ParametersRef<S> sum) {
      for (std::size_t k = 0; k < states.size(); ++k)
        parameter_gradient(states[k], weights[k], sum);
    });
  }
  /// Hands weight sum_batch <v, d2E/dtheta ds> to a sink. Returns false as `contrast` does.
  virtual bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParameterSink<S>& sink) const {
    return sum_into(sink,
                    [&](ParametersRef<S> sum) { mixed_derivative_product(s, v, weight, sum); });
  }

  /// out = T(s) under an outside force: a map whose fixed points are those of the dynamics, by default s - dE/ds. A
  /// subclass that overrides one of the next four functions overrides them all.
  virtual void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                               StateRef<S> out) const {
    gradient(s, out);
    out = s - out;
    if (nudge.force.size() == 0) return;
    out.bottomRows(nudge.force.rows()) += nudge.force;
    out.bottomRows(num_outputs()) -= nudge.stiffness * s.bottomRows(num_outputs());
  }
  /// out = dT/d(force), a diagonal, by default 1: 0 on a unit held by a bound. The stiffness of the force, which only
  /// scales it, is left out.
  virtual void mobility(const ConstStateRef<S>&, const Nudge<S>&, StateRef<S> out) const {
    out.setOnes();
  }
  /// out = (dT/ds)^T v
  virtual void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                      const ConstStateRef<S>& v, StateRef<S> out) const {
    transposed_hessian_vector_product(s, v, out);
    out = v - out;
    out.bottomRows(num_outputs()) -= nudge.stiffness * v.bottomRows(num_outputs());
  }
  /// Clips s to the box of its units, in place; by default there is none.
  virtual void project(StateRef<S>) const {}

  /// Capabilities; nullptr where there is none.
  ///@{
  virtual const InputDerivatives<S>* input_derivatives() const { return nullptr; }
  virtual const BlockUpdates<S>* block_updates() const { return nullptr; }
  virtual const OnePassResidual<S>* one_pass_residual() const { return nullptr; }
  virtual const Selection<S>* selection() const { return nullptr; }
  ///@}

 private:
  /// Hands a derivative over as numbers, once it is known to be finite where the sink asks for that.
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
