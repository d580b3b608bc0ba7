#pragma once
/// Equilibrium Propagation (Scellier & Bengio 2017): relax again, nudged, and compare.

#include "equiprop/base/export.hpp"
#include "equiprop/base/spare_states.hpp"
#include "equiprop/model/symmetrized.hpp"
#include "equiprop/model/total_energy.hpp"
#include "equiprop/second_phase/gradient.hpp"
#include "equiprop/second_phase/nudging.hpp"
#include "equiprop/solver/relax.hpp"

namespace equiprop {

/// Equilibrium Propagation on one energy and cost, again and again: where inputs, targets and parameters change in
/// place (ClampedHopfield::reclamp, Targets::retarget), and batches are what Relaxation keeps memory for, the first
/// time takes all the memory there is need of.
template <class S>
class EQUIPROP_EXPORT EquilibriumPropagation {
 public:
  /// Energy and cost are held by value, which shares what they share; the solver is that of the nudged phases.
  EquilibriumPropagation(AnyEnergy<S> energy, AnyCost<S> cost, const NudgingRule<S>& nudging,
                         const Solver& solver);

  /// Adds the estimate at the free state s_star (units, batch) to those derivatives of `gradient` that have a size;
  /// its report becomes the worst of the nudged phases, sample by sample. See equilibrium_propagation.
  void add_to(Gradient<S>& gradient, const ConstStateRef<S>& s_star);

  /// The step of descent along the estimate at s_star. If a sample diverged, the parameters stay as they are.
  const Report& descend(const ConstStateRef<S>& s_star,
                        const Descending<S>& descending) requires std::floating_point<S>;

 private:
  void relax(const ConstStateRef<S>& s_star);
  void displace(const ConstStateRef<S>& s_star);
  void add_contrast(const ConstStateRef<S>& s_star, Gradient<S>& gradient);
  void check(Gradient<S>& gradient, const ConstStateRef<S>& s_star) const;

  AnyEnergy<S> energy_;
  AnyCost<S> cost_;
  NudgingRule<S> nudging_;
  std::vector<Relaxation<S>> phases_;  // one for each node
  KeptStates<S> states_;               // s^{beta_k}
  std::vector<S> weights_;             // w_k over the number of samples
  State<S> displacement_;              // sum_k w_k (s^{beta_k} - s*), of a vector field
  Gradient<S> sums_;                   // where no step can be taken in place
  Report report_;
};

/// dJ/dtheta ~ sum_k w_k dE/dtheta(s^{beta_k}), each s^{beta_k} relaxed from the free state s_star
/// (units, batch). The report holds the worst of the nudged phases, sample by sample. A vector field has
/// no dE/dtheta; its rule is <sigma, d2E/dtheta ds> at s*, sigma = sum_k w_k s^{beta_k} (Scellier et al.
/// 2018), which needs sum_k w_k = 0 and is exact only where the Jacobian is symmetric, or Symmetrized.
template <class S>
EQUIPROP_EXPORT Gradient<S> equilibrium_propagation(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
    const NudgingRule<S>& nudging, const Solver& solver, Wanted wanted = Wanted::everything);

/// The same, and the step of descent that follows. A model that can takes the sums over samples straight into the
/// parameters; no gradient is then returned. If a sample diverged, the parameters stay as they are.
template <std::floating_point S>
EQUIPROP_EXPORT Gradient<S> descend_by_equilibrium_propagation(
    const AnyEnergy<S>& energy, const AnyCost<S>& cost, const ConstStateRef<S>& s_star,
    const NudgingRule<S>& nudging, const Solver& solver, const Descending<S>& descending);

/// With nodes in the complex plane, such as holomorphic(radius, points): the real part of the sum.
EQUIPROP_EXPORT Gradient<double> holomorphic_equilibrium_propagation(
    const AnyEnergy<Complex>& energy, const AnyCost<Complex>& cost,
    const ConstStateRef<double>& s_star, const NudgingRule<Complex>& nudging, const Solver& solver,
    Wanted wanted = Wanted::everything);

/// The limit beta -> 0 of the same computation, by dual numbers: no truncation, no cancellation.
EQUIPROP_EXPORT Gradient<double> equilibrium_propagation_limit(
    const AnyEnergy<Dual<double>>& energy, const AnyCost<Dual<double>>& cost,
    const ConstStateRef<double>& s_star, const Solver& solver, Wanted wanted = Wanted::everything);

}  // namespace equiprop
