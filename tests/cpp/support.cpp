#include "support.hpp"

#include <cmath>
#include <cstring>

#include "reference.hpp"

namespace equiprop::tests {

void expect_close(const State<double>& actual, const State<double>& expected, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(actual.rows(), expected.rows()) << what;
  ASSERT_EQ(actual.cols(), expected.cols()) << what;
  if (expected.size() == 0) return;
  const double scale = 1 + expected.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
  const double error = (actual - expected).cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
  EXPECT_LE(error, tolerance * scale) << what << "\nactual\n"
                                      << actual << "\nexpected\n"
                                      << expected;
}

void expect_identical(const State<double>& actual, const State<double>& expected,
                      const std::string& what) {
  ASSERT_EQ(actual.rows(), expected.rows()) << what;
  ASSERT_EQ(actual.cols(), expected.cols()) << what;
  for (Index i = 0; i < actual.size(); ++i)
    ASSERT_EQ(std::memcmp(actual.data() + i, expected.data() + i, sizeof(double)), 0)
        << what << ": entry " << i << ", " << actual(i) << " and " << expected(i);
}

State<double> random_state(Random& random, Index rows, Index columns, double scale) {
  State<double> out(rows, columns);
  for (Index i = 0; i < out.size(); ++i) out(i) = scale * random.symmetric();
  return out;
}

Parameters<double> random_parameters(Random& random, Index size, double scale) {
  return random_state(random, size, 1, scale);
}

State<D> dual(const State<double>& value, const State<double>& derivative) {
  return value.binaryExpr(derivative, [](double v, double d) { return D(v, d); });
}
State<double> value(const State<D>& a) {
  return a.unaryExpr([](const D& v) { return v.value; });
}
State<double> derivative(const State<D>& a) {
  return a.unaryExpr([](const D& v) { return v.derivative; });
}

// ---------------------------------------------------------------------------- networks

const std::vector<NamedActivation>& activations() {
  static const std::vector<NamedActivation> all = {{"tanh", tanh_activation()},
                                                   {"sigmoid", sigmoid()},
                                                   {"logistic", logistic(4, 0.5)},
                                                   {"softplus", softplus()},
                                                   {"hard_sigmoid", hard_sigmoid()},
                                                   {"half_hard_sigmoid", half_hard_sigmoid()},
                                                   {"relu", relu()},
                                                   {"linear", linear()}};
  return all;
}

namespace {

std::vector<Layer> make_layers(const std::vector<Index>& units,
                               const std::vector<Activation>& cycle) {
  std::vector<Layer> layers;
  for (std::size_t k = 0; k < units.size(); ++k)
    layers.push_back({"layer" + std::to_string(k), units[k], cycle[k % cycle.size()]});
  return layers;
}

/// Returns the couplings 0 -> 1 -> 2 -> 3 -> 4 with skips 0 -> 2, 1 -> 3 and 4 -> 1. The triangle 1 2 3 needs three
/// blocks, and the source of one coupling is a later layer than its target.
std::vector<Coupling> skip_couplings() {
  return {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {2, 0}, {1, 3}, {4, 1}};
}

/// Returns the couplings from the input 0 to each of 1 ... 5, and from each of these to 6: a layer with five
/// neighbours.
std::vector<Coupling> star_couplings() {
  std::vector<Coupling> couplings;
  for (Index k = 1; k <= 5; ++k) couplings.insert(couplings.end(), {{0, k}, {k, 6}});
  return couplings;
}

/// Returns the couplings 0 -> 1 -> 2 -> 3 with couplings within 1 and 3, and identities 1 -> 2 and 0 -> 2.
std::vector<Coupling> within_couplings() {
  return {{1, 2}, {1, 1}, Identity{1, 2, -0.1}, {0, 1}, {2, 3}, Identity{2, 0, 0.1}, {3, 3}};
}

std::vector<Case> make_zoo() {
  std::vector<Case> all;
  const auto add = [&](const std::string& name, const std::vector<Activation>& cycle) {
    for (const auto potential : {Potential::legendre, Potential::quadratic}) {
      const std::string full =
          name + (potential == Potential::legendre ? "_legendre" : "_quadratic");
      all.push_back({full + "_smallest", make_layers({1, 1}, cycle), chain(2), potential});
      all.push_back({full + "_chain", make_layers({3, 5, 1, 3}, cycle), chain(4), potential});
      all.push_back(
          {full + "_skip", make_layers({2, 3, 4, 5, 2}, cycle), skip_couplings(), potential});
      all.push_back(
          {full + "_within", make_layers({3, 3, 3, 4}, cycle), within_couplings(), potential});
    }
  };
  for (const auto& [name, activation] : activations()) add(name, {activation});
  add("mixed", {tanh_activation(), hard_sigmoid(), linear(), logistic(4, 0.5)});
  for (const auto& [name, activation] :
       {NamedActivation{"tanh", tanh_activation()}, {"hard_sigmoid", hard_sigmoid()}})
    all.push_back({name + "_star", make_layers({2, 1, 2, 1, 2, 1, 3}, {activation}),
                   star_couplings(), Potential::legendre});
  return all;
}

bool binds(const Layer& layer) {
  const auto* clip = std::get_if<Clip>(&layer.activation);
  return clip != nullptr && clip->bounded();
}

}  // namespace

const std::vector<Case>& zoo() {
  static const std::vector<Case> all = make_zoo();
  return all;
}

const std::vector<Case>& fields() {
  static const std::vector<Case> all = [] {
    std::vector<Case> cases = zoo();
    for (Case& c : cases) {
      c.name += "_separate";
      c.feedback = Feedback::separate;
    }
    return cases;
  }();
  return all;
}

bool is_smooth(const Case& c) {
  return std::none_of(c.layers.begin() + 1, c.layers.end(), binds);
}

bool has_linear_signals(const Case& c) {
  return c.potential == Potential::legendre ||
         std::all_of(c.layers.begin() + 1, c.layers.end(), [](const Layer& layer) {
           return std::holds_alternative<Clip>(layer.activation);
         });
}

bool has_couplings_within(const Case& c) {
  return std::any_of(c.couplings.begin(), c.couplings.end(), [](const Coupling& coupling) {
    return coupling.source() == coupling.target();
  });
}

bool is_exact(const Case& c) {
  return has_linear_signals(c) && !has_couplings_within(c);
}

HopfieldNetwork<double> make_network(const Case& c, std::uint64_t seed) {
  HopfieldNetwork<double> network(c.layers, c.couplings, c.potential, c.feedback);
  network.initialize(seed, 0.3);
  Random random(seed, 1000);
  if (c.feedback == Feedback::separate)
    for (const auto e : network.topology().inner()) {
      const Block& back = network.topology().feedback_weights(e);
      network.parameters().segment(back.offset, back.size()) +=
          random_parameters(random, back.size(), 0.15);
    }
  for (std::size_t k = 0; k < network.topology().num_free(); ++k) {
    const Block& bias = network.topology().bias(k);
    network.parameters().segment(bias.offset, bias.rows) =
        random_parameters(random, bias.rows, 0.5).array() + 0.3;
  }
  return network;
}

State<double> interior_state(const HopfieldNetwork<double>& network, Random& random, Index batch) {
  const Topology& topology = network.topology();
  State<double> s = random_state(random, topology.state().size(), batch, 1.5);
  if (topology.potential() == Potential::legendre)
    for (std::size_t k = 0; k < topology.num_free(); ++k) {
      const Block& block = topology.state()[k];
      StateRef<double> rows = s.middleRows(block.offset, block.rows);
      activate<double>(topology.layers()[k + 1].activation, rows, rows);
    }
  return s;
}

void add_accelerated(std::vector<Solver>& solvers, const std::vector<Index>& memories) {
  const std::vector<Solver> plain = solvers;
  for (const Index memory : memories)
    for (Solver solver : plain) {
      std::visit([=](auto& chosen) { chosen.anderson = memory; }, solver);
      solvers.push_back(solver);
    }
}

State<double> fixed_point(const AnyEnergy<double>& energy, State<double> start) {
  FixedPointIteration solver;
  solver.tolerance = 1e-14;
  solver.max_iterations = 5000;
  solver.damping = 0.6;
  const Report report = relax<double>(energy, solver, start);
  EXPECT_TRUE((report.status == Status::converged).all());
  State<double> s = start;
  energy.fixed_point_map(start, {}, s);  // a damped iteration only approaches a bound
  return s;
}

// ---------------------------------------------------------------------------- energies

EnergyFamily make_family(const HopfieldNetwork<double>& network, const State<double>& x) {
  const Topology topology = network.topology();
  return make_family(network.parameters(), x, [topology](const auto& theta, const auto& input) {
    using S = typename std::decay_t<decltype(theta)>::Scalar;
    HopfieldNetwork<double> same(topology.layers(), topology.couplings(), topology.potential(),
                                 topology.feedback());
    if constexpr (std::same_as<S, D>) {
      same.parameters() = value(theta);
      if ((derivative(theta).array() != 0).any())
        return AnyEnergy<D>(ReferenceNetwork<D>(topology, theta, input));
      return AnyEnergy<D>(
          ClampedHopfield<D>(std::make_shared<const Topology>(topology),
                             std::make_shared<const Parameters<double>>(same.parameters()), input));
    } else {
      same.parameters() = theta;
      return AnyEnergy<double>(same.clamp(input));
    }
  });
}

template <class S>
class ChainEnergy {
 public:
  using Scalar = S;

  ChainEnergy(Parameters<S> theta, State<S> x) : theta_(std::move(theta)), x_(std::move(x)) {}
  Index num_units() const { return x_.rows(); }
  Index num_outputs() const { return (x_.rows() + 1) / 2; }
  Index num_parameters() const { return theta_.size(); }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
    for (Index j = 0; j < s.cols(); ++j) {
      out(j) = S(0);
      for (Index i = 0; i < s.rows(); ++i) {
        const S square = s(i, j) * s(i, j);
        out(j) += S(0.5) * square + S(0.25) * square * square - (b(i) + x_(i, j)) * s(i, j);
        if (i + 1 < s.rows()) out(j) -= w(i) * tanh_of(s(i, j)) * s(i + 1, j);
      }
    }
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    for (Index j = 0; j < s.cols(); ++j)
      for (Index i = 0; i < s.rows(); ++i) {
        out(i, j) = s(i, j) + s(i, j) * s(i, j) * s(i, j) - b(i) - x_(i, j);
        if (i + 1 < s.rows()) out(i, j) -= w(i) * slope(s(i, j)) * s(i + 1, j);
        if (i > 0) out(i, j) -= w(i - 1) * tanh_of(s(i - 1, j));
      }
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    for (Index j = 0; j < s.cols(); ++j)
      for (Index i = 0; i < s.rows(); ++i) {
        out(i, j) = (S(1) + S(3) * s(i, j) * s(i, j)) * v(i, j);
        if (i + 1 < s.rows())
          out(i, j) -=
              w(i) * (curvature(s(i, j)) * s(i + 1, j) * v(i, j) + slope(s(i, j)) * v(i + 1, j));
        if (i > 0) out(i, j) -= w(i - 1) * slope(s(i - 1, j)) * v(i - 1, j);
      }
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    for (Index j = 0; j < s.cols(); ++j)
      for (Index i = 0; i < s.rows(); ++i) {
        grad(s.rows() - 1 + i) -= weight * s(i, j);
        if (i + 1 < s.rows()) grad(i) -= weight * tanh_of(s(i, j)) * s(i + 1, j);
      }
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    for (Index j = 0; j < s.cols(); ++j)
      for (Index i = 0; i < s.rows(); ++i) {
        grad(s.rows() - 1 + i) -= weight * v(i, j);
        if (i + 1 < s.rows())
          grad(i) -=
              weight * (slope(s(i, j)) * v(i, j) * s(i + 1, j) + tanh_of(s(i, j)) * v(i + 1, j));
      }
  }

 private:
  static S tanh_of(const S& s) {
    using std::tanh;
    return tanh(s);
  }
  static S slope(const S& s) { return S(1) - tanh_of(s) * tanh_of(s); }
  static S curvature(const S& s) { return S(-2) * tanh_of(s) * slope(s); }
  S w(Index i) const { return theta_(i); }
  S b(Index i) const { return theta_(x_.rows() - 1 + i); }

  Parameters<S> theta_;
  State<S> x_;
};

EnergyFamily chain_family(Random& random, Index units, Index batch) {
  return make_family(random_parameters(random, 2 * units - 1, 0.4),
                     random_state(random, units, batch), [](const auto& theta, const auto& x) {
                       using S = typename std::decay_t<decltype(theta)>::Scalar;
                       return ChainEnergy<S>(theta, x);
                     });
}

}  // namespace equiprop::tests
