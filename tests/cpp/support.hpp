#pragma once
/// Shared by all tests: a set of small models (the zoo), dense references, and the laws of every energy.

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <functional>
#include <string>
#include <vector>

#include "equiprop/equiprop.hpp"

namespace equiprop::tests {

using D = Dual<double>;

/// Tolerance of a few hundred rounding errors of numbers of order one.
inline constexpr double rounding = 1e-12;

/// Expects max |actual - expected| <= tolerance (1 + max |expected|); NaN is never close.
void expect_close(const State<double>& actual, const State<double>& expected, double tolerance,
                  const std::string& what);
/// Expects equal bits; NaN is equal to NaN.
void expect_identical(const State<double>& actual, const State<double>& expected,
                      const std::string& what);

/// Returns numbers uniform on [-scale, scale).
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

/// Returns the zoo: every activation with both potentials, on chains of several shapes (also 1-1) and on a graph with a
/// skip and an odd cycle, and with couplings within layers and identities; networks whose layers differ in activation;
/// and graphs with a layer of five neighbours.
const std::vector<Case>& zoo();
/// Returns the zoo with separate feedback weights: vector fields.
const std::vector<Case>& fields();
bool is_smooth(const Case& c);             ///< true if no clip can hold a unit
bool has_linear_signals(const Case& c);    ///< true for legendre, or if all are clips
bool has_couplings_within(const Case& c);  ///< true if a layer is coupled to itself
bool is_exact(const Case& c);              ///< true if block updates are exact minimisers
inline bool is_any(const Case&) {
  return true;
}
/// Calls check(Probe(c)) for each case with keep(c), and names the case in every failure.
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

/// Returns a network with random biases and random weights that are small enough for one stable fixed point. Separate
/// feedback weights are the forward weights plus a perturbation of half their size.
HopfieldNetwork<double> make_network(const Case& c, std::uint64_t seed = 1);
/// Returns a state at which every derivative exists: inside the range of rho if rho has one.
State<double> interior_state(const HopfieldNetwork<double>& network, Random& random, Index batch);
/// Appends each solver with each of these memories of Anderson acceleration.
void add_accelerated(std::vector<Solver>& solvers, const std::vector<Index>& memories);
/// Returns a free fixed point, up to rounding.
State<double> fixed_point(const AnyEnergy<double>& energy, State<double> start);

// ---------------------------------------------------------------------------- energies

/// An energy as a function of its parameters and its input, on the scalars that the laws need. For a network, on_dual
/// gives the library's states over real weights, or ReferenceNetwork if parameters have a derivative part.
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

/// Creates a family from a generic function: make(theta, x) returns an energy on the scalar of its arguments.
template <class Make>
EnergyFamily make_family(const Parameters<double>& theta, const State<double>& x, Make make) {
  return {theta, x, make, make};
}
EnergyFamily make_family(const HopfieldNetwork<double>& network, const State<double>& x);

/// A user-defined model with only the functions of the concept Energy:
/// E = sum_i s_i^2/2 + s_i^4/4 - (b_i + x_i) s_i - sum_i w_i tanh(s_i) s_{i+1}, theta = (w, b).
template <class S>
class ChainEnergy;
EnergyFamily chain_family(Random& random, Index units, Index batch);

/// Returns d2E/ds2 of a single sample, by dual numbers from the gradient only; for a vector field, minus its Jacobian.
State<double> dense_hessian(const EnergyFamily& sample, const State<double>& s);
/// Returns d2E/dtheta ds of a single sample, (units, parameters), by dual numbers from the gradient only.
State<double> dense_mixed_derivative(const EnergyFamily& sample, const State<double>& s);

/// Returns half of the largest stable Euler step at s: 1 / the largest eigenvalue of the Hessian's symmetric part.
double stable_step(const EnergyFamily& family, const State<double>& s);

/// Returns x with A x = b on the `free` units and x = 0 on the others.
State<double> solve_on(const std::vector<Index>& free, const State<double>& a,
                       const State<double>& b);
/// Returns Q diag(spectrum) Q^T with a random orthogonal Q; the spectrum is (size, 1).
State<double> random_symmetric(Random& random, const State<double>& spectrum);
double largest_eigenvalue(const State<double>& symmetric);

// ---------------------------------------------------------------------------- laws (laws.cpp)

/// Checks each derivative of an energy at s (units, batch) against the dual-number derivative of the function that it
/// differentiates, the symmetry of the Hessian, that the samples of a batch are independent, and that the mobility and
/// the transposed product are derivatives of the fixed-point map. For a vector field only the laws of derivatives of
/// `gradient` are checked, and that E is NaN and dE/dtheta throws.
void check_energy(const EnergyFamily& family, const State<double>& s);
/// Checks the derivatives of a cost in the same way, and that the samples of a batch are independent.
void check_cost(const AnyCost<double>& cost, const AnyCost<D>& dual_cost, const State<double>& o);

}  // namespace equiprop::tests
