#pragma once
/// Shared by all tests: a zoo of small models, dense oracles, and the laws every energy obeys.

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <functional>
#include <string>
#include <vector>

#include "equiprop/equiprop.hpp"

namespace equiprop::tests {

using D = Dual<double>;

/// A few hundred roundings of numbers of order one.
inline constexpr double rounding = 1e-12;

/// max |actual - expected| <= tolerance (1 + max |expected|); NaN is never close.
void expect_close(const State<double>& actual, const State<double>& expected, double tolerance,
                  const std::string& what);
/// Equal to the last bit, NaN included.
void expect_identical(const State<double>& actual, const State<double>& expected,
                      const std::string& what);

/// Uniform on [-scale, scale).
State<double> random_state(Random& random, Index rows, Index columns, double scale = 1);
Parameters<double> random_parameters(Random& random, Index size, double scale = 1);

State<D> dual(const State<double>& value, const State<double>& derivative);
State<double> value(const State<D>& a);
State<double> derivative(const State<D>& a);

// ---------------------------------------------------------------------------- networks

struct Case {
  std::string name;
  std::vector<Layer> layers;
  std::vector<Coupling> couplings;
  Potential potential;
  Feedback feedback = Feedback::tied;
};

struct NamedActivation {
  std::string name;
  Activation activation;
};
const std::vector<NamedActivation>& activations();

/// Every activation under both potentials, on chains of several shapes (1-1 among them) and on a
/// graph with a skip and an odd cycle; networks whose layers differ in activation; and graphs with a
/// layer of five neighbours.
const std::vector<Case>& zoo();
/// The zoo with feedback weights of their own: vector fields.
const std::vector<Case>& fields();
bool is_smooth(const Case& c);         ///< no clip that can bind
bool has_block_update(const Case& c);  ///< legendre, or clips only
inline bool is_any(const Case&) {
  return true;
}
/// Calls check(Probe(c)) for each of the cases for which keep(c), naming it in every failure.
template <class Probe, class Keep, class Check>
void for_each_of(const std::vector<Case>& cases, const Keep& keep, const Check& check) {
  for (const Case& c : cases) {
    if (!keep(c)) continue;
    SCOPED_TRACE(c.name);
    Probe probe(c);
    check(probe);
  }
}
template <class Probe, class Keep, class Check>
void for_each(const Keep& keep, const Check& check) {
  for_each_of<Probe>(zoo(), keep, check);
}

/// Random weights small enough for one stable fixed point, and random biases; feedback weights that are
/// separate are the others plus a perturbation of half their size.
HopfieldNetwork<double> make_network(const Case& c, std::uint64_t seed = 1);
/// A state at which every derivative exists: inside the range of rho where that is the state's.
State<double> interior_state(const HopfieldNetwork<double>& network, Random& random, Index batch);
/// Appends each solver again, with each of these memories of Anderson acceleration.
void add_accelerated(std::vector<Solver>& solvers, const std::vector<Index>& memories);
/// A free fixed point, to rounding.
State<double> fixed_point(const AnyEnergy<double>& energy, State<double> start);

// ---------------------------------------------------------------------------- energies

/// An energy as a function of its parameters and its input, on the scalars the laws need. Of a network, on_dual gives
/// the library's own states over real weights, or ReferenceNetwork where parameters have a derivative part.
struct EnergyFamily {
  template <class S>
  using Make = std::function<AnyEnergy<S>(const Parameters<S>& theta, const State<S>& x)>;

  Parameters<double> theta;
  State<double> x;
  Make<double> on_double;
  Make<D> on_dual;

  AnyEnergy<double> energy() const { return on_double(theta, x); }
  AnyEnergy<D> dual_energy() const { return on_dual(theta.cast<D>(), x.cast<D>()); }
  EnergyFamily sample(Index j) const { return {theta, x.col(j), on_double, on_dual}; }
};

/// `make(theta, x)` is a generic function that returns an energy on the scalar of its arguments.
template <class Make>
EnergyFamily make_family(const Parameters<double>& theta, const State<double>& x, Make make) {
  return {theta, x, make, make};
}
EnergyFamily make_family(const HopfieldNetwork<double>& network, const State<double>& x);

/// A user's model, offering nothing beyond the Energy concept:
/// E = sum_i s_i^2/2 + s_i^4/4 - (b_i + x_i) s_i - sum_i w_i tanh(s_i) s_{i+1}, theta = (w, b).
template <class S>
class ChainEnergy;
EnergyFamily chain_family(Random& random, Index units, Index batch);

/// d2E/ds2 of a single sample, by dual numbers from the gradient alone: of a vector field, minus its
/// Jacobian.
State<double> dense_hessian(const EnergyFamily& sample, const State<double>& s);
/// dE/dtheta ds, (units, parameters), of a single sample, by dual numbers from the gradient alone.
State<double> dense_mixed_derivative(const EnergyFamily& sample, const State<double>& s);

/// Half of what an Euler step at s may be: 1 / the largest eigenvalue of the Hessian's symmetric part.
double stable_step(const EnergyFamily& family, const State<double>& s);

/// x with A x = b on the `free` units and x = 0 on the others.
State<double> solve_on(const std::vector<Index>& free, const State<double>& a,
                       const State<double>& b);
/// Q diag(spectrum) Q^T with a random Q, for a (size, 1) spectrum.
State<double> random_symmetric(Random& random, const State<double>& spectrum);
double largest_eigenvalue(const State<double>& symmetric);

// ---------------------------------------------------------------------------- laws (laws.cpp)

/// Checks each derivative of an energy at s (units, batch) against the dual-number derivative of the
/// function one level below, the symmetry of the Hessian, that a batch is its samples, and that the
/// mobility and the transposed product are derivatives of the fixed-point map. A vector field has no
/// energy: its laws are those below `gradient`, and that E is NaN and dE/dtheta refused.
void check_energy(const EnergyFamily& family, const State<double>& s);
/// Checks the derivatives of a cost in the same way, and that a batch is its samples.
void check_cost(const AnyCost<double>& cost, const AnyCost<D>& dual_cost, const State<double>& o);

}  // namespace equiprop::tests
