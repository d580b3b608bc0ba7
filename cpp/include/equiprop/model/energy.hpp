#pragma once
/// What a model must be able to do to be relaxed and differentiated.
///
/// An energy is a *clamped* problem: theta and x are fixed inside it, only the state s varies. The
/// last `num_outputs()` units are the outputs on which a cost acts.

#include <concepts>
#include <type_traits>
#include <vector>

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// The model of the library: any type with these functions, s being (units, batch). Results are stored in the last
/// argument, or added to it where it is a gradient; what depends on a sample is one column of it.
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

/// A force on the outputs, linearised at the state s it was computed from: a nudged block update
/// feels  force - stiffness * s_new. The maps (HasFixedPointMap) also take a force on all units; its last rows are
/// then those of the outputs, which alone have a stiffness.
template <Scalar S>
struct Nudge {
  State<S> force{};    ///< (outputs, batch) or (units, batch), or empty when there is none
  S stiffness = S(0);  ///< beta times that of the cost
};

// Refinements. A model offers those it can; AnyEnergy derives the rest (energy_interface.hpp). A subclass of
// EnergyInterface may offer more.

/// Derivatives with respect to the input: out (inputs, batch), one column per sample.
template <class E>
concept HasInputGradient = requires(const E e, const State<typename E::Scalar> s,
                                    typename E::Scalar weight, State<typename E::Scalar> out) {
  { e.num_inputs() } -> std::convertible_to<Index>;
  e.input_gradient(s, weight, out);          // out += weight dE/dx
  e.mixed_input_product(s, s, weight, out);  // out += weight <v, d2E/dx ds>
};

/// A map T whose fixed points are those of the dynamics; |T(s) - s| is the residual everywhere.
/// mobility is dT/d(force), a diagonal: 0 on a unit held by a bound, so it also says which are free
/// under that force (a stiffness only scales it and is left out).
/// transposed_map_product is (dT/ds)^T v: what a step of T does to an adjoint (under a force alone).
template <class E>
concept HasFixedPointMap = requires(const E e, const State<typename E::Scalar> s,
                                    const Nudge<typename E::Scalar> nudge,
                                    State<typename E::Scalar> out) {
  e.fixed_point_map(s, nudge, out);  // (units, batch)
  e.mobility(s, nudge, out);         // (units, batch)
  e.transposed_map_product(s, nudge, s, out);
  e.project(out);  // clips to the box, in place
};

/// Exact minimisation over one block of mutually uncoupled units, the others held, in place.
template <class E>
concept HasBlockUpdate = requires(const E e, const Nudge<typename E::Scalar> nudge,
                                  State<typename E::Scalar> s) {
  { e.num_blocks() } -> std::convertible_to<Index>;
  e.block_update(Index{0}, nudge, s);
};

/// The same, measured: change(j) becomes the largest of itself and of what the units of sample j move by; once
/// NaN it stays so. And the block of the outputs, where a nudged relaxation begins.
template <class E>
concept HasMeasuredBlockUpdate = HasBlockUpdate<E> &&
    requires(const E e, const Nudge<typename E::Scalar> nudge, State<typename E::Scalar> s,
             PerSample<RealOf<typename E::Scalar>> change) {
  { e.output_block() } -> std::convertible_to<Index>;
  e.block_update(Index{0}, nudge, s, &change);  // nullptr where nobody asks
};

/// A vector field enters as minus its velocity: `gradient` is -mu, its Hessian -dmu/ds is not symmetric,
/// and -<v, dmu/dtheta> its mixed derivative. There is then no energy, and no dE/dtheta.
template <class E>
concept MaybeNonconservative = requires(const E e, const State<typename E::Scalar> s,
                                        State<typename E::Scalar> out) {
  { e.conservative() } -> std::convertible_to<bool>;
  e.transposed_hessian_vector_product(s, s, out);  // (units, batch)
};

/// The same problem for some samples only, in the order given; lets threads share a batch.
template <class E>
concept Divisible = requires(const E e) {
  { e.select(Samples{}) } -> std::same_as<E>;
};

/// Whether no bit of a sample depends on the samples beside it. A batch may then be divided in any way, so
/// those that have settled need not wait for the others.
template <class E>
concept MaybeSeparable = Divisible<E> && requires(const E e) {
  { e.separable() } -> std::convertible_to<bool>;
};

}  // namespace equiprop
