"""Both second phases agree with the implicit function theorem, finite differences and their definitions."""

from __future__ import annotations

import dataclasses
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop.arrays import one_hot
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, chain, inputs, labels, skip

COSTS = {"squared": eq.SquaredError(), "entropy": eq.CrossEntropy()}
LINEAR = [
    eq.ConjugateGradient(tolerance=1e-13),
    eq.Richardson(tolerance=1e-13, max_iterations=100_000, step_size=0.1),
    eq.Neumann(tolerance=1e-13, max_iterations=100_000),
]
few = settings(max_examples=15, deadline=None, derandomize=True)


def precise(net: eq.HopfieldNetwork) -> Any:
    if net.has_block_update:
        return eq.BlockUpdate(tolerance=1e-14, max_iterations=100_000)
    return eq.FixedPointIteration(tolerance=1e-14, max_iterations=100_000, damping=0.5)


def prepare(net: eq.HopfieldNetwork, seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return a precise free phase with its input, labels and one-hot targets."""
    x, y = inputs(net, seed=seed), labels(net, seed=seed)
    return eq.free_phase(net, x, solver=precise(net)), x, y, np.eye(net.num_outputs)[y]


def close(value: np.ndarray, reference: np.ndarray, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * max(1e-3, np.abs(reference).max()))


@few
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    st.sampled_from(sorted(COSTS)),
    st.integers(0, 99),
)
def test_both_phases_give_the_implicit_gradient(
    sizes: list[int], activation: str, potential: str, cost: str, seed: int
) -> None:
    net = chain(*sizes, activation=activation, potential=potential, seed=seed)
    free, x, y, targets = prepare(net, seed)
    theta, by_x, objective = Oracle(net).implicit(x, targets, cost)
    results = [
        eq.equilibrium_propagation(net, free, y, cost=COSTS[cost], nudging=eq.exact_limit()),
        eq.recurrent_backpropagation(net, free, y, cost=COSTS[cost], linear_solver=LINEAR[0]),
    ]
    for result in results:
        assert result.converged
        close(result.parameters, theta)
        close(result.inputs, by_x)
        assert result.objective == pytest.approx(objective, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
@pytest.mark.parametrize("cost", sorted(COSTS))
def test_a_graph_with_skips_has_the_same_gradient_by_every_way(
    potential: str, activation: str, cost: str
) -> None:
    net = skip(activation, potential)
    free, x, y, targets = prepare(net)
    theta, by_x, _ = Oracle(net).implicit(x, targets, cost)
    results = [eq.equilibrium_propagation(net, free, y, cost=COSTS[cost], nudging=eq.exact_limit())]
    for linear in LINEAR:
        if not (potential == "quadratic" and isinstance(linear, eq.Neumann)):  # which has no step size
            results.append(eq.recurrent_backpropagation(net, free, y, cost=COSTS[cost], linear_solver=linear))
    for result in results:
        close(result.parameters, theta)
        close(result.inputs, by_x)


@pytest.mark.parametrize("build", [chain, skip])
@pytest.mark.parametrize("cost", sorted(COSTS))
def test_both_derivatives_agree_with_central_differences_of_the_objective(build: Any, cost: str) -> None:
    net, h = build(), 1e-5
    free, x, y, _ = prepare(net)
    gradient = eq.recurrent_backpropagation(net, free, y, cost=COSTS[cost], linear_solver=LINEAR[0])

    def objective(at: np.ndarray) -> float:
        free = eq.free_phase(net, at, solver=precise(net))
        return eq.recurrent_backpropagation(net, free, y, cost=COSTS[cost]).objective

    for j, i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[j, i] = h
        slope = (objective(x + step) - objective(x - step)) / (2 * h)
        assert gradient.inputs[j, i] == pytest.approx(slope, abs=1e-9)
    for i in range(0, net.num_parameters, 5):
        kept = net.parameters[i]
        net.parameters[i] = kept + h
        above = objective(x)
        net.parameters[i] = kept - h
        slope = (above - objective(x)) / (2 * h)
        net.parameters[i] = kept
        assert gradient.parameters[i] == pytest.approx(slope, abs=1e-9)


NUDGINGS = {
    "one_sided": (eq.one_sided, lambda b: [(0.0, -1 / b), (b, 1 / b)]),
    "centered": (eq.centered, lambda b: [(-b, -1 / (2 * b)), (b, 1 / (2 * b))]),
}


@pytest.mark.parametrize("name", sorted(NUDGINGS))
@pytest.mark.parametrize("cost", sorted(COSTS))
@pytest.mark.parametrize("beta", [0.3, -0.2])
@pytest.mark.parametrize("build", [chain, skip])
def test_a_nudging_is_the_combination_of_relaxations_it_says(
    name: str, cost: str, beta: float, build: Any
) -> None:
    net = build()
    free, x, y, targets = prepare(net)
    rule, nodes = NUDGINGS[name]
    result = eq.equilibrium_propagation(net, free, y, cost=COSTS[cost], nudging=rule(beta))
    expected = Oracle(net).equilibrium_propagation(x, targets, nodes(beta), cost)
    close(result.parameters, expected, 1e-9)
    assert [list(pair) for pair in rule(beta).nodes(0)] == [list(pair) for pair in nodes(beta)]


@pytest.mark.parametrize("name", sorted(NUDGINGS))
@pytest.mark.parametrize("cost", sorted(COSTS))
@pytest.mark.parametrize("potential", POTENTIALS)
def test_a_finite_beta_is_the_exact_gradient_of_its_surrogate(name: str, cost: str, potential: str) -> None:
    """EqProp is the gradient of (F*(b2) - F*(b1)) / (b2 - b1), where F*(b) is the minimum of E + b C."""
    net, h = chain(3, 4, 2, potential=potential), 1e-5
    free, x, y, targets = prepare(net)
    rule, nodes = NUDGINGS[name]
    low, high = (beta for beta, _ in nodes(0.3))
    result = eq.equilibrium_propagation(net, free, y, cost=COSTS[cost], nudging=rule(0.3))

    def surrogate(oracle: Oracle) -> float:
        def least(beta: float) -> float:
            s = oracle.relax(x, targets, beta, cost)
            return (oracle.energy(x, s) + beta * oracle.cost(s, targets, cost)).mean()

        return (least(high) - least(low)) / (high - low)

    for i in range(0, net.num_parameters, 5):
        values = []
        for sign in (1, -1):
            oracle = Oracle(net)
            oracle.theta[i] += sign * h
            values.append(surrogate(oracle))
        assert result.parameters[i] == pytest.approx((values[0] - values[1]) / (2 * h), abs=1e-9)


@few
@given(st.integers(0, 2**64 - 1), st.floats(0.01, 0.9))
def test_a_random_sign_is_one_of_two_one_sided_rules_fixed_by_seed_and_step(seed: int, beta: float) -> None:
    nudging = eq.random_sign(beta, seed)
    drawn = [nudging.nodes(step) for step in range(64)]
    assert set(drawn) == {eq.one_sided(beta).nodes(0), eq.one_sided(-beta).nodes(0)}
    assert drawn == [eq.random_sign(beta, seed).nodes(step) for step in range(64)]


def test_a_random_sign_counts_the_step_it_is_given() -> None:
    net = chain()
    free, _, y, _ = prepare(net)
    nudging = eq.random_sign(0.2, seed=5)
    sided = {
        beta: eq.equilibrium_propagation(net, free, y, nudging=eq.one_sided(beta)) for beta in (0.2, -0.2)
    }
    for step in range(6):
        result = eq.equilibrium_propagation(net, free, y, nudging=nudging, step=step)
        beta = nudging.nodes(step)[1][0]
        np.testing.assert_array_equal(result.parameters, sided[beta].parameters)


@pytest.mark.parametrize("cost", sorted(COSTS))
def test_labels_are_one_hot_targets(cost: str) -> None:
    net = chain()
    free, _, y, targets = prepare(net)
    for kind in (np.int64, np.uint8, np.int16):
        by_label = eq.equilibrium_propagation(net, free, y.astype(kind), cost=COSTS[cost])
        by_target = eq.equilibrium_propagation(net, free, targets, cost=COSTS[cost])
        np.testing.assert_array_equal(by_label.parameters, by_target.parameters)
    np.testing.assert_array_equal(one_hot(y, 3, np.dtype(np.float64), ""), targets)


@pytest.mark.parametrize("phase", [eq.equilibrium_propagation, eq.recurrent_backpropagation])
@pytest.mark.parametrize("change", ["parameters", "state", "weights drawn anew"])
def test_a_stale_free_phase_is_refused(phase: Any, change: str) -> None:
    net = chain()
    free, _, y, _ = prepare(net)
    phase(net, free, y)
    if change == "parameters":
        net.parameters[3] += 1e-3
    elif change == "state":
        free.state[0, 0] += 1e-3
    else:
        net.initialize(seed=7)
    with pytest.raises(ValueError, match=r"present parameters .* Run free_phase again"):
        phase(net, free, y)
    replaced = eq.free_phase(net, free.x)
    phase(net, replaced, y)


def test_a_free_phase_of_another_network_is_refused() -> None:
    net = chain()
    free, _, y, _ = prepare(net)
    with pytest.raises(ValueError, match="Run free_phase again"):
        eq.equilibrium_propagation(chain(seed=1), free, y)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_acceleration_changes_no_gradient(activation: str, potential: str) -> None:
    net = chain(4, 6, 5, 3, activation=activation, potential=potential)
    free, x, y, _ = prepare(net)
    accelerated = dataclasses.replace(precise(net), tolerance=1e-13, anderson=3)
    found = eq.free_phase(net, x, solver=accelerated)
    close(found.state, free.state, 1e-11)
    rules = [eq.centered(0.1), eq.one_sided(0.1), eq.exact_limit()]
    for nudging in [*rules, eq.holomorphic(0.1, 4)] if activation == "tanh" else rules:
        expected = eq.equilibrium_propagation(net, free, y, nudging=nudging, solver=precise(net))
        gradient = eq.equilibrium_propagation(net, found, y, nudging=nudging, solver=accelerated)
        assert gradient.converged
        assert gradient.iterations.sum() < expected.iterations.sum()
        assert gradient.fallbacks.shape == (3,)
        close(gradient.parameters, expected.parameters, 1e-9)


def test_blocks_are_views_of_the_gradient() -> None:
    net = skip()
    free, _, y, _ = prepare(net)
    gradient = eq.recurrent_backpropagation(net, free, y)
    for name, block in gradient.blocks.items():
        assert block.shape == net.blocks[name].shape
        assert np.shares_memory(block, gradient.parameters)
        np.testing.assert_array_equal(block.ravel(), gradient.parameters[net.block_slices[name]])


@pytest.mark.parametrize("activation", SMOOTH + CLIPPED)
@pytest.mark.parametrize("way", ["centered", "exact", "rbp"])
def test_single_precision_is_near_double(activation: str, way: str) -> None:
    results = []
    for dtype in ("float64", "float32"):
        net = chain(4, 6, 3, activation=activation, dtype=dtype)
        free = eq.free_phase(net, inputs(net), solver=eq.BlockUpdate(tolerance=1e-6))
        if way == "rbp":
            linear = eq.ConjugateGradient(tolerance=1e-6)
            result = eq.recurrent_backpropagation(net, free, labels(net), linear_solver=linear)
        else:
            nudging = eq.exact_limit() if way == "exact" else eq.centered(0.25)
            solver = eq.BlockUpdate(tolerance=1e-6)
            result = eq.equilibrium_propagation(net, free, labels(net), nudging=nudging, solver=solver)
        assert result.parameters.dtype == result.inputs.dtype == np.dtype(dtype)
        results.append(result)
    close(results[1].parameters, results[0].parameters, 1e-4)
    close(results[1].inputs, results[0].inputs, 1e-4)


def test_a_gradient_is_the_mean_over_its_samples() -> None:
    net = chain()
    x, y = inputs(net, 5), labels(net, 5)

    def gradient(rows: slice) -> eq.Gradient:
        return eq.recurrent_backpropagation(
            net, eq.free_phase(net, x[rows], solver=precise(net)), y[rows], linear_solver=LINEAR[0]
        )

    each = [gradient(slice(j, j + 1)) for j in range(5)]
    together = gradient(slice(0, 5))
    close(together.parameters, np.mean([g.parameters for g in each], axis=0), 1e-11)
    close(together.inputs, np.concatenate([g.inputs for g in each]) / 5, 1e-11)
    assert together.objective == pytest.approx(np.mean([g.objective for g in each]), rel=1e-14)


def test_the_status_is_the_worst_of_the_nudged_phases() -> None:
    net = chain()
    free, _, y, _ = prepare(net)
    hurried = eq.BlockUpdate(tolerance=1e-12, max_iterations=2)
    with pytest.warns(eq.ConvergenceWarning, match=r"\[equilibrium_propagation\] 3 samples: 3 did not reach"):
        result = eq.equilibrium_propagation(net, free, y, solver=hurried)
    assert (result.status == eq.Status.MAX_ITERATIONS).all()
    assert not result.converged
    with pytest.raises(eq.ConvergenceError) as failure:
        eq.equilibrium_propagation(net, free, y, solver=hurried, on_failure="raise")
    np.testing.assert_array_equal(failure.value.outcome.parameters, result.parameters)
    fixed = dataclasses.replace(hurried, tolerance=0.0)
    assert (eq.equilibrium_propagation(net, free, y, solver=fixed).status == eq.Status.FIXED_STEPS).all()


def test_negative_curvature_is_reported_by_conjugate_gradients() -> None:
    net = chain(2, 3, 2, activation="linear")
    net.blocks["W2"][...] = 2.0
    free = eq.free_phase(net, inputs(net), solver=eq.BlockUpdate(max_iterations=1), on_failure="ignore")
    with pytest.warns(eq.ConvergenceWarning, match="met negative curvature"):
        gradient = eq.recurrent_backpropagation(net, free, [0, 1, 0])
    assert (gradient.status == eq.Status.INDEFINITE).any()


@pytest.mark.parametrize("activation", ["hard_sigmoid", "tanh", "sigmoid"])
@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5, 2.0])
def test_the_centered_rule_is_the_mean_of_its_sides_sample_by_sample(gain: float, activation: str) -> None:
    """Networks with large weights have several fixed points; each side is relaxed from s* independently."""
    for seed in range(3):
        net = eq.HopfieldNetwork([4, 8, 3], activation=activation, seed=seed, gain=gain, dtype="float64")
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(64, 4)), random.integers(0, 3, 64)
        patient = eq.BlockUpdate(tolerance=1e-11, max_iterations=5000)
        free = eq.free_phase(net, x, solver=patient, on_failure="ignore")

        def by_input(beta: float, rule: Any, net: Any = net, free: Any = free, y: Any = y) -> np.ndarray:
            arguments: dict[str, Any] = {"cost": eq.CrossEntropy(), "on_failure": "ignore"}
            return eq.equilibrium_propagation(net, free, y, nudging=rule(beta), **arguments).inputs

        mean = (by_input(0.25, eq.one_sided) + by_input(-0.25, eq.one_sided)) / 2
        close(by_input(0.25, eq.centered), mean, 1e-12)
