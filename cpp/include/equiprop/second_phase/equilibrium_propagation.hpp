#pragma once
/// Equilibrium Propagation (Scellier & Bengio 2017): relax again, nudged, and compare.

#include "equiprop/model/symmetrized.hpp"
#include "equiprop/model/total_energy.hpp"
#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/second_phase/nudging.hpp"
#include "equiprop/solver/relax.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}), each s^{beta_k} relaxed from the free state s_star
/// (units, batch). The report holds the worst of the nudged phases, sample by sample. A vector field has
/// no dE/dtheta; its rule is <sigma, d2E/dtheta ds> at s*, sigma = sum_k w_k s^{beta_k} (Scellier et al.
/// 2018), which needs sum_k w_k = 0 and is exact only where the Jacobian is symmetric, or Symmetrized.
template <class S>
Gradient<S> equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                    const ConstStateRef<S>& s_star, const NudgingRule<S>& nudging,
                                    const Solver& solver, Wanted wanted = Wanted::everything);

/// The same, and the step of descent that follows. A model that can takes the sums over samples straight into the
/// parameters; no gradient is then returned. If a sample diverged, the parameters stay as they are.
template <std::floating_point S>
Gradient<S> descend_by_equilibrium_propagation(const AnyEnergy<S>& energy, const AnyCost<S>& cost,
                                               const ConstStateRef<S>& s_star,
                                               const NudgingRule<S>& nudging, const Solver& solver,
                                               const Descending<S>& descending);

/// With nodes in the complex plane, such as holomorphic(radius, points): the real part of the sum.
Gradient<double> holomorphic_equilibrium_propagation(const AnyEnergy<Complex>& energy,
                                                     const AnyCost<Complex>& cost,
                                                     const ConstStateRef<double>& s_star,
                                                     const NudgingRule<Complex>& nudging,
                                                     const Solver& solver,
                                                     Wanted wanted = Wanted::everything);

/// The limit beta -> 0 of the same computation, by dual numbers: no truncation, no cancellation.
Gradient<double> equilibrium_propagation_limit(const AnyEnergy<Dual<double>>& energy,
                                               const AnyCost<Dual<double>>& cost,
                                               const ConstStateRef<double>& s_star,
                                               const Solver& solver,
                                               Wanted wanted = Wanted::everything);

}  // namespace equiprop
