#pragma once
/// The functions that a model must have to be relaxed and differentiated.
///
/// An energy is a *clamped* problem: theta and x are fixed, only the state s varies. The last `num_outputs()` units are
/// the outputs, on which a cost acts.

#include <concepts>
#include <type_traits>
#include <vector>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// Requirements of a model; s is (units, batch). Functions store their result in the last argument; `grad` is added to
/// instead. Results that belong to samples have one column per sample.
template <class E>
concept Energy = requires(const E e, const State<typename E::Scalar> s,
                          const State<typename E::Scalar> v, typename E::Scalar weight,
                          State<typename E::Scalar> out, PerSample<typename E::Scalar> per_sample,
                          Parameters<typename E::Scalar> grad) {
  { e.num_units() } -> std::convertible_to<Index>;
  { e.num_outputs() } -> std::convertible_to<Index>;
  { e.num_parameters() } -> std::convertible_to<Index>;
  e.energy(s, per_sample);                         // (batch,)         E(theta, x, s)
  e.gradient(s, out);                              // (units, batch)   dE/ds
  e.hessian_vector_product(s, v, out);             // (units, batch)   d2E/ds2 . v
  e.parameter_gradient(s, weight, grad);           // (parameters,)    grad += weight sum dE/dtheta
  e.mixed_derivative_product(s, v, weight, grad);  //                  ... sum <v, d2E/dtheta ds>
};

/// A force on the last units of a state, linearised at the state s: a nudged block update applies force - stiffness *
/// s_new. Its first row is the first unit of a layer, that of the outputs unless a cost acts on other layers, too; the
/// maps (HasFixedPointMap) also accept a force on all units.
template <Scalar S>
struct Nudge {
  State<S> force{};  ///< force, (rows, batch), or empty if there is none
  /// Beta times the stiffness of the cost on the last units, (rows,), equal in all units of a layer; empty stands for 0.
  Parameters<S> stiffness{};
};

// Refinements of Energy, all optional. AnyEnergy derives the missing functions (energy_interface.hpp). A subclass of
// EnergyInterface can offer more capabilities.

/// Requirement: derivatives with respect to the input; out is (inputs, batch), one column per sample.
template <class E>
concept HasInputGradient = requires(const E e, const State<typename E::Scalar> s,
                                    typename E::Scalar weight, State<typename E::Scalar> out) {
  { e.num_inputs() } -> std::convertible_to<Index>;
  e.input_gradient(s, weight, out);          // out += weight dE/dx
  e.mixed_input_product(s, s, weight, out);  // out += weight <v, d2E/dx ds>
};

/// Requirement: a map T whose fixed points are those of the dynamics. |T(s) - s| is the residual in all reports.
/// `mobility` is dT/d(force), a diagonal: it is 0 on a unit that a bound holds under that force, and so says which
/// units are free. The stiffness only scales it and is ignored. `transposed_map_product` is (dT/ds)^T v, the effect of
/// a step of T on an adjoint.
template <class E>
concept HasFixedPointMap = requires(const E e, const State<typename E::Scalar> s,
                                    const Nudge<typename E::Scalar> nudge,
                                    State<typename E::Scalar> out) {
  e.fixed_point_map(s, nudge, out);  // (units, batch)
  e.mobility(s, nudge, out);         // (units, batch)
  e.transposed_map_product(s, nudge, s, out);
  e.project(out);  // clips to the box, in place
};

/// Requirement: exact minimisation over one block of mutually uncoupled units, in place, with all other units fixed.
template <class E>
concept HasBlockUpdate = requires(const E e, const Nudge<typename E::Scalar> nudge,
                                  State<typename E::Scalar> s) {
  { e.num_blocks() } -> std::convertible_to<Index>;
  e.block_update(Index{0}, nudge, s);
};

/// Requirement: a block update that also raises change(j) to the largest change of a unit of sample j (NaN counts as
/// larger than any number), and the number of the block that holds the outputs, where a nudged relaxation starts.
template <class E>
concept HasMeasuredBlockUpdate = HasBlockUpdate<E> &&
    requires(const E e, const Nudge<typename E::Scalar> nudge, State<typename E::Scalar> s,
             PerSample<RealOf<typename E::Scalar>> change) {
  { e.output_block() } -> std::convertible_to<Index>;
  e.block_update(Index{0}, nudge, s, &change);  // nullptr if no change is measured
};

/// Requirement: the model may be a vector field mu. Then `gradient` is -mu, the Hessian -dmu/ds is not symmetric, and
/// the mixed derivative is -<v, dmu/dtheta>; there is no energy and no dE/dtheta.
template <class E>
concept MaybeNonconservative = requires(const E e, const State<typename E::Scalar> s,
                                        State<typename E::Scalar> out) {
  { e.conservative() } -> std::convertible_to<bool>;
  e.transposed_hessian_vector_product(s, s, out);  // (units, batch)
};

/// Requirement: the model can be restricted to some samples, in the order given, so that threads can share a batch.
template <class E>
concept Divisible = requires(const E e) {
  { e.select(Samples{}) } -> std::same_as<E>;
};

/// Requirement: the model reports if no bit of a sample depends on the other samples. A batch can then be divided in
/// any way, and samples that have converged can leave it.
template <class E>
concept MaybeSeparable = Divisible<E> && requires(const E e) {
  { e.separable() } -> std::convertible_to<bool>;
};

}  // namespace equiprop
