#include "support.hpp"

namespace equiprop::tests {
namespace {

/// A generic weight, so that a missing or squared weight changes the result.
constexpr double weight = 0.75;

State<double> unit_directions(Index rows, Index columns, Index row) {
  State<double> direction = State<double>::Zero(rows, columns);
  direction.row(row).setOnes();
  return direction;
}

/// Returns `s` as dual numbers with a derivative part of 1 in unit i of every sample.
State<D> moved(const State<double>& s, Index i) {
  return dual(s, unit_directions(s.rows(), s.cols(), i));
}

State<double> energies(const AnyEnergy<double>& energy, const State<double>& s) {
  PerSample<double> out(s.cols());
  energy.energy(s, out);
  return out.matrix().transpose();
}

/// Returns dE along the derivative part of s, one number per sample, as a row.
State<double> energy_derivatives(const AnyEnergy<D>& energy, const State<D>& s) {
  PerSample<D> out(s.cols());
  energy.energy(s, out);
  return derivative(out.matrix().transpose());
}

State<double> gradient(const AnyEnergy<double>& energy, const State<double>& s) {
  State<double> out(s.rows(), s.cols());
  energy.gradient(s, out);
  return out;
}

State<double> hessian_times(const AnyEnergy<double>& energy, const State<double>& s,
                            const State<double>& v) {
  State<double> out(s.rows(), s.cols());
  energy.hessian_vector_product(s, v, out);
  return out;
}

Parameters<double> parameter_gradient(const AnyEnergy<double>& energy, const State<double>& s) {
  Parameters<double> grad = Parameters<double>::Zero(energy.num_parameters());
  energy.parameter_gradient(s, weight, grad);
  return grad;
}

void check_gradient(const EnergyFamily& family, const State<double>& s) {
  State<double> expected(s.rows(), s.cols());
  for (Index i = 0; i < s.rows(); ++i)
    expected.row(i) = energy_derivatives(family.dual_energy(), moved(s, i));
  expect_close(gradient(family.energy(), s), expected, rounding, "gradient = dE/ds");
}

void check_hessian(const EnergyFamily& family, const State<double>& s, Random& random) {
  const State<double> u = random_state(random, s.rows(), s.cols());
  const State<double> v = random_state(random, s.rows(), s.cols());
  State<D> expected(s.rows(), s.cols());
  family.dual_energy().gradient(dual(s, v), expected);
  const State<double> hv = hessian_times(family.energy(), s, v);
  State<double> hu(s.rows(), s.cols());
  family.energy().transposed_hessian_vector_product(s, u, hu);
  expect_close(hv, derivative(expected), rounding, "hessian_vector_product = d gradient");
  expect_close(inner<double>(u, hv).matrix(), inner<double>(hu, v).matrix(), rounding,
               "<u, H v> = <H^T u, v>");
  if (family.energy().conservative())
    expect_close(hu, hessian_times(family.energy(), s, u), rounding, "the Hessian is symmetric");
}

void check_parameter_gradient(const EnergyFamily& family, const State<double>& s) {
  Parameters<double> expected(family.theta.size());
  for (Index p = 0; p < family.theta.size(); ++p) {
    Parameters<D> theta = family.theta.cast<D>();
    theta(p).derivative = 1;
    const auto energy = family.on_dual(theta, family.x.cast<D>());
    expected(p) = weight * energy_derivatives(energy, s.cast<D>()).sum();
  }
  const Parameters<double> actual = parameter_gradient(family.energy(), s);
  expect_close(actual, expected, rounding, "parameter_gradient = weight dE/dtheta");
  Parameters<double> twice = actual;
  family.energy().parameter_gradient(s, weight, twice);
  expect_close(twice, 2 * actual, rounding, "parameter_gradient accumulates");
}

/// Returns sum <v, gradient> along the derivative part of its arguments.
State<double> pull_derivatives(const AnyEnergy<D>& energy, const State<double>& s,
                               const State<double>& v) {
  State<D> image(s.rows(), s.cols());
  energy.gradient(s.cast<D>(), image);
  return inner<double>(v, derivative(image)).matrix().transpose();
}

/// The contrast of several states is the sum of their parameter gradients; it is added to the sum.
void check_contrast(const EnergyFamily& family, const State<double>& s, Random& random) {
  const std::vector<State<double>> states = {s, s + 0.01 * random_state(random, s.rows(), s.cols()),
                                             0.99 * s};
  const std::vector<double> weights = {-2, 0.5, 1.5};
  Parameters<double> expected = Parameters<double>::Ones(family.theta.size());
  for (std::size_t k = 0; k < states.size(); ++k)
    family.energy().parameter_gradient(states[k], weights[k], expected);
  Parameters<double> actual = Parameters<double>::Ones(family.theta.size());
  AddTo<double> sum(actual);
  EXPECT_TRUE(family.energy().contrast(states, weights, sum));
  expect_close(actual, expected, rounding, "contrast = sum of weighted parameter gradients");
}

void check_mixed_derivative(const EnergyFamily& family, const State<double>& s, Random& random) {
  const State<double> v = random_state(random, s.rows(), s.cols());
  Parameters<double> expected(family.theta.size());
  for (Index p = 0; p < family.theta.size(); ++p) {
    Parameters<D> theta = family.theta.cast<D>();
    theta(p).derivative = 1;
    const auto energy = family.on_dual(theta, family.x.cast<D>());
    expected(p) = weight * pull_derivatives(energy, s, v).sum();
  }
  Parameters<double> actual = Parameters<double>::Ones(family.theta.size());
  family.energy().mixed_derivative_product(s, v, weight, actual);
  actual.array() -= 1;
  expect_close(actual, expected, rounding,
               "mixed_derivative_product = weight d<v, gradient>/dtheta, accumulated");
}

void check_input_gradient(const EnergyFamily& family, const State<double>& s) {
  const Index inputs = family.energy().num_inputs(), batch = s.cols();
  State<double> expected(inputs, batch), actual = State<double>::Ones(inputs, batch);
  for (Index i = 0; i < inputs; ++i) {
    const auto energy = family.on_dual(family.theta.cast<D>(), moved(family.x, i));
    expected.row(i) = weight * energy_derivatives(energy, s.cast<D>());
  }
  family.energy().input_gradient(s, weight, actual);
  actual.array() -= 1;
  expect_close(actual, expected, rounding, "input_gradient = weight dE/dx, accumulated");
}

void check_mixed_input(const EnergyFamily& family, const State<double>& s, Random& random) {
  const Index inputs = family.energy().num_inputs(), batch = s.cols();
  const State<double> v = random_state(random, s.rows(), batch);
  State<double> expected(inputs, batch), actual = State<double>::Ones(inputs, batch);
  for (Index i = 0; i < inputs; ++i) {
    const auto energy = family.on_dual(family.theta.cast<D>(), moved(family.x, i));
    expected.row(i) = weight * pull_derivatives(energy, s, v);
  }
  family.energy().mixed_input_product(s, v, weight, actual);
  actual.array() -= 1;
  expect_close(actual, expected, rounding,
               "mixed_input_product = weight d<v, gradient>/dx, accumulated");
}

/// There is no energy E and no dE/dtheta: E is NaN, and dE/dtheta throws.
void check_no_energy(const EnergyFamily& family, const State<double>& s) {
  EXPECT_TRUE(energies(family.energy(), s).array().isNaN().all());
  EXPECT_THROW(parameter_gradient(family.energy(), s), InvalidArgument);
}

/// Each sample alone gives its column of the batch, and sums over the batch are sums over samples.
void check_batch(const EnergyFamily& family, const State<double>& s, Random& random) {
  const State<double> v = random_state(random, s.rows(), s.cols());
  const AnyEnergy<double> energy = family.energy();
  const State<double> g = gradient(energy, s), h = hessian_times(energy, s, v);
  Parameters<double> sum = Parameters<double>::Zero(family.theta.size()), all = sum;
  energy.mixed_derivative_product(s, v, weight, all);
  for (Index j = 0; j < s.cols(); ++j) {
    const AnyEnergy<double> alone = family.sample(j).energy();
    expect_close(gradient(alone, s.col(j)), g.col(j), rounding, "gradient of a sample alone");
    expect_close(hessian_times(alone, s.col(j), v.col(j)), h.col(j), rounding,
                 "hessian_vector_product of a sample alone");
    alone.mixed_derivative_product(s.col(j), v.col(j), weight, sum);
  }
  expect_close(all, sum, rounding, "mixed_derivative_product sums samples");
}

void check_batch_of_energies(const EnergyFamily& family, const State<double>& s) {
  const State<double> e = energies(family.energy(), s);
  Parameters<double> sum = Parameters<double>::Zero(family.theta.size());
  for (Index j = 0; j < s.cols(); ++j) {
    const AnyEnergy<double> alone = family.sample(j).energy();
    expect_close(energies(alone, s.col(j)), e.col(j), rounding, "energy of a sample alone");
    sum += parameter_gradient(alone, s.col(j));
  }
  expect_close(parameter_gradient(family.energy(), s), sum, rounding,
               "parameter_gradient sums samples");
}

/// samples(begin, count) is the energy of those samples.
void check_samples(const EnergyFamily& family, const State<double>& s) {
  const AnyEnergy<double> energy = family.energy();
  if (!energy.divisible() || s.cols() < 3) return;
  const AnyEnergy<double> part = energy.samples(1, s.cols() - 1).samples(1, s.cols() - 2);
  const State<double> rest = s.rightCols(s.cols() - 2);
  expect_close(gradient(part, rest), gradient(energy, s).rightCols(rest.cols()), rounding,
               "gradient of some samples");
  State<double> of_part = State<double>::Zero(energy.num_inputs(), rest.cols());
  State<double> of_all = State<double>::Zero(energy.num_inputs(), s.cols());
  part.mixed_input_product(rest, rest, weight, of_part);
  energy.mixed_input_product(s, s, weight, of_all);
  expect_close(of_part, of_all.rightCols(rest.cols()), rounding,
               "mixed_input_product of some samples");
}

/// Returns the numbers of the last units on which a force may act: those of the last one, two, ... layers, or only the
/// outputs of a model without layers; and all units.
std::vector<Index> forced_rows(const AnyEnergy<double>& energy) {
  std::vector<Index> rows{energy.num_outputs(), energy.num_units()};
  for (const Block& layer : energy.layers()) rows.push_back(energy.num_units() - layer.offset);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

/// The mobility is dT/d(force), for a force on the outputs, on more layers, and on all units.
void check_mobility(const EnergyFamily& family, const State<double>& s) {
  const AnyEnergy<D> energy = family.dual_energy();
  const Index batch = s.cols();
  State<double> mobility(s.rows(), batch);
  family.energy().mobility(s, {}, mobility);
  for (const Index forced : forced_rows(family.energy())) {
    const Nudge<D> nudge{
        dual(State<double>::Zero(forced, batch), State<double>::Ones(forced, batch))};
    State<D> image(s.rows(), batch);
    energy.fixed_point_map(s.cast<D>(), nudge, image);
    expect_close(mobility.bottomRows(forced), derivative(image).bottomRows(forced), rounding,
                 "mobility = d fixed_point_map / d force");
  }
}

/// Kernels and dual numbers give the same T(s) under a force on the outputs, on more layers, and on all units.
void check_forced_map(const EnergyFamily& family, const State<double>& s, Random& random) {
  for (const Index forced : forced_rows(family.energy())) {
    const State<double> force = random_state(random, forced, s.cols());
    State<double> image(s.rows(), s.cols());
    State<D> expected(s.rows(), s.cols());
    family.energy().fixed_point_map(s, {force}, image);
    family.dual_energy().fixed_point_map(s.cast<D>(), {force.cast<D>()}, expected);
    expect_close(image, value(expected), rounding, "T(s) under a force");
  }
}

/// The product (dT/ds)^T v agrees with derivatives by one unit of s at a time: without a force, with a force on the
/// outputs, and with a force on all units.
void check_transposed_map(const EnergyFamily& family, const State<double>& s, Random& random) {
  const State<double> v = random_state(random, s.rows(), s.cols());
  const Index outputs = family.energy().num_outputs();
  for (const auto& force : {State<double>(0, 0), random_state(random, outputs, s.cols()),
                            random_state(random, s.rows(), s.cols())}) {
    const Nudge<double> nudge{force};
    const Nudge<D> dual_nudge{force.cast<D>()};
    State<double> expected(s.rows(), s.cols()), actual(s.rows(), s.cols());
    State<D> image(s.rows(), s.cols());
    for (Index i = 0; i < s.rows(); ++i) {
      family.dual_energy().fixed_point_map(moved(s, i), dual_nudge, image);
      expected.row(i) = inner<double>(v, derivative(image)).matrix().transpose();
    }
    family.energy().transposed_map_product(s, nudge, v, actual);
    expect_close(actual, expected, rounding, "transposed_map_product = (dT/ds)^T v");
  }
}

void check_projection(const EnergyFamily& family, const State<double>& s) {
  State<double> once = 3 * s;
  family.energy().project(once);
  State<double> twice = once;
  family.energy().project(twice);
  expect_identical(twice, once, "project is idempotent");
}

}  // namespace

void check_energy(const EnergyFamily& family, const State<double>& s) {
  Random random(7, static_cast<std::uint64_t>(s.size()));
  if (family.energy().conservative()) {
    check_gradient(family, s);
    check_parameter_gradient(family, s);
    check_input_gradient(family, s);
    check_batch_of_energies(family, s);
  } else {
    check_no_energy(family, s);
  }
  check_hessian(family, s, random);
  if (family.energy().conservative()) check_contrast(family, s, random);
  check_mixed_derivative(family, s, random);
  check_mixed_input(family, s, random);
  check_batch(family, s, random);
  check_samples(family, s);
  check_mobility(family, s);
  check_forced_map(family, s, random);
  check_transposed_map(family, s, random);
  check_projection(family, s);
}

void check_cost(const AnyCost<double>& cost, const AnyCost<D>& dual_cost, const State<double>& o) {
  Random random(8, static_cast<std::uint64_t>(o.size()));
  const State<double> v = random_state(random, o.rows(), o.cols());
  State<double> expected(o.rows(), o.cols()), actual(o.rows(), o.cols());
  PerSample<D> along(o.cols());
  for (Index i = 0; i < o.rows(); ++i) {
    dual_cost.value(moved(o, i), along);
    expected.row(i) = derivative(along.matrix().transpose());
  }
  cost.gradient(o, actual);
  expect_close(actual, expected, rounding, "gradient = dC/do");

  State<D> image(o.rows(), o.cols());
  dual_cost.gradient(dual(o, v), image);
  cost.hessian_vector_product(o, v, actual);
  expect_close(actual, derivative(image), rounding, "hessian_vector_product = d gradient");

  const PerSample<double> curvature = inner<double>(v, actual), length = inner<double>(v, v);
  EXPECT_TRUE((curvature <= cost.stiffness() * length + rounding).all())
      << "the stiffness bounds the Hessian";

  PerSample<double> all(o.cols()), one(1);
  cost.value(o, all);
  for (Index j = 0; j < o.cols(); ++j) {
    cost.samples(j, 1).value(o.col(j), one);
    EXPECT_EQ(one(0), all(j)) << "value of a sample alone";
  }
}

}  // namespace equiprop::tests
