"""Holomorphic nudging, backpropagation through time, and gradients without an energy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CLIPPED, POTENTIALS, SMOOTH, Oracle, chain, inputs, labels, skip
from numpy.testing import assert_allclose, assert_array_equal

few = settings(max_examples=12, deadline=None, derandomize=True)


def precise(net: eq.HopfieldNetwork) -> Any:
    kind = eq.BlockUpdate if net.has_block_update else eq.Euler
    return kind(tolerance=1e-14, max_iterations=100_000)


# ---------------------------------------------------------------------------- holomorphic nudging


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("build", [chain, skip])
def test_points_on_a_circle_reach_the_exact_gradient(build: Any, activation: str, potential: str) -> None:
    net = build(activation=activation, potential=potential)
    x, y = inputs(net), labels(net)
    free = eq.free_phase(net, x, solver=precise(net))
    exact, _, _ = Oracle(net).implicit(x, np.eye(3)[y])
    errors = []
    for points in (2, 4, 8, 16, 32):
        gradient = eq.equilibrium_propagation(net, free, y, nudging=eq.holomorphic(0.03, points))
        assert gradient.converged
        assert gradient.parameters.dtype == np.float64
        errors.append(np.abs(gradient.parameters - exact).max() / np.abs(exact).max())
    assert errors[-1] < 1e-11
    assert all(b < a / 4 for a, b in pairwise(errors) if a > 1e-10)


def test_two_points_are_the_centered_rule() -> None:
    net = chain()
    x, y = inputs(net), labels(net)
    free = eq.free_phase(net, x, solver=precise(net))
    two = eq.equilibrium_propagation(net, free, y, nudging=eq.holomorphic(0.1, 2))
    centered = eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.1))
    assert_allclose(two.parameters, centered.parameters, rtol=0, atol=1e-12)
    assert_allclose(two.inputs, centered.inputs, rtol=0, atol=1e-12)
    assert repr(eq.holomorphic(0.1, 8)) == "holomorphic(0.1, 8)"


def test_half_of_the_circle_is_enough() -> None:
    rule = eq.holomorphic(0.2, 8)
    betas, weights = np.array(rule.circle).T
    assert len(betas) == 5
    assert_allclose(abs(betas), 0.2, rtol=1e-15)
    for power in range(9):  # sum w beta^k is 1 for k = 1, and 0 for every other up to N
        total = (weights * betas**power).sum().real
        assert total == pytest.approx(float(power == 1), abs=1e-13)


@pytest.mark.parametrize("activation", ["hard_sigmoid", "relu"])
def test_networks_with_kinks_are_refused(activation: str) -> None:
    net = chain(activation=activation)
    free = eq.free_phase(net, inputs(net))
    with pytest.raises(
        ValueError, match=r"\[holomorphic\] Complex nudging needs a model that is complex-diff"
    ):
        eq.equilibrium_propagation(net, free, labels(net), nudging=eq.holomorphic(0.1, 4))


def test_single_precision_networks_are_nudged_in_double() -> None:
    net = chain(dtype="float32")
    free = eq.free_phase(net, inputs(net))
    gradient = eq.equilibrium_propagation(net, free, labels(net), nudging=eq.holomorphic(0.05, 8))
    assert gradient.parameters.dtype == np.float32
    reference = eq.recurrent_backpropagation(net, free, labels(net)).parameters
    assert_allclose(gradient.parameters, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


def test_holomorphic_networks_train() -> None:
    net = eq.HopfieldNetwork([4, 8, 2], activation="tanh", seed=2)
    x = np.random.default_rng(0).uniform(size=(64, 4)).astype(np.float32)
    data = eq.Dataset(x, (x[:, 0] > x[:, 1]).astype(np.int64))
    phase = eq.EquilibriumPropagation(eq.holomorphic(0.1, 4))
    patient = eq.BlockUpdate(tolerance=1e-3, max_iterations=2000)  # a few samples are near a fold bifurcation
    trainer = eq.Trainer(net, phase, eq.Adam(0.01), solver=patient, batch_size=16)
    trainer.fit(data, epochs=25)
    assert trainer.evaluate(data).error < 0.1


# ---------------------------------------------------------------------------- backpropagation through time


@few
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.sampled_from(SMOOTH + CLIPPED),
    st.sampled_from(POTENTIALS),
    st.integers(0, 12),
    st.integers(0, 99),
)
def test_unrolled_gradients_are_differences_of_the_unrolled_loss(
    sizes: list[int], activation: str, potential: str, steps: int, seed: int
) -> None:
    net = chain(*sizes, activation=activation, potential=potential, seed=seed)
    x, y = inputs(net, 2, seed), labels(net, 2, seed)
    smooth_legendre = potential == "legendre" and activation in SMOOTH
    solvers: list[Any] = [eq.FixedPointIteration(tolerance=0, max_iterations=steps, damping=0.3)]
    if not smooth_legendre:  # Euler steps may leave the range of rho there
        solvers.append(eq.Euler(tolerance=0, max_iterations=steps, step_size=0.3))
    start = np.random.default_rng(seed).uniform(0.2, 0.4, (2, net.num_units))
    for solver in solvers:
        free = eq.free_phase(net, x, solver=solver, initial=start, record=True)
        assert free.trajectory is not None
        assert len(free.trajectory) == steps + 1
        assert_array_equal(free.trajectory[-1], free.state)
        gradient = eq.backpropagation_through_time(net, free, y)
        if active_sets(net, x, free.trajectory) != 1 and activation in CLIPPED:
            continue  # a kink is nearer than the step of the difference
        theta, h = net.parameters, 1e-5
        for i in range(0, len(theta), 3):
            kept, losses = theta[i], []
            for shift in (h, -h):
                theta[i] = kept + shift
                end = eq.free_phase(net, x, solver=solver, initial=start).outputs
                losses.append(0.5 * ((end - np.eye(net.num_outputs)[y]) ** 2).sum(axis=1).mean())
            theta[i] = kept
            assert gradient.parameters[i] == pytest.approx((losses[0] - losses[1]) / (2 * h), abs=1e-8)


def active_sets(net: eq.HopfieldNetwork, x: np.ndarray, states: np.ndarray) -> int:
    """Return the number of different sets of held units during a relaxation."""
    energy = net.clamp(x)
    return len({(energy.mobility(np.ascontiguousarray(s)) != 0).tobytes() for s in states})


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_steps_at_the_fixed_point_truncate_the_neumann_series(activation: str) -> None:
    """K steps at s* give the gradient truncated to K terms (Ernoult et al. 2019; Liao et al. 2018)."""
    net = chain(4, 6, 5, 3, activation=activation)
    x, y = inputs(net), labels(net)
    rest = eq.free_phase(net, x, solver=precise(net)).state
    steps = eq.FixedPointIteration(tolerance=0, max_iterations=7)
    free = eq.free_phase(net, x, solver=steps, initial=rest, record=True)
    unrolled = eq.backpropagation_through_time(net, free, y)
    series = eq.recurrent_backpropagation(
        net, free, y, linear_solver=eq.Neumann(tolerance=0, max_iterations=7)
    )
    assert_allclose(unrolled.parameters, series.parameters, rtol=0, atol=1e-13)
    assert_allclose(unrolled.inputs, series.inputs, rtol=0, atol=1e-13)
    assert (unrolled.status == eq.Status.FIXED_STEPS).all()


def test_a_recording_of_a_fixed_number_of_steps_is_needed() -> None:
    net = chain()
    x, y = inputs(net), labels(net)
    steps = eq.FixedPointIteration(tolerance=0, max_iterations=5)
    for free in (
        eq.free_phase(net, x, solver=steps),
        eq.free_phase(net, x, solver=eq.FixedPointIteration(tolerance=1e-3), record=True),
    ):
        with pytest.raises(
            ValueError, match=r"\[backpropagation_through_time\] `free` is a recorded relaxation"
        ):
            eq.backpropagation_through_time(net, free, y)
    blocks = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=0, max_iterations=5), record=True)
    with pytest.raises(ValueError, match="by Euler or FixedPointIteration"):
        eq.backpropagation_through_time(net, blocks, y)
    accelerated = eq.FixedPointIteration(tolerance=0, max_iterations=5, anderson=2)
    with pytest.raises(ValueError, match="not accelerated: anderson is 0"):
        eq.backpropagation_through_time(net, eq.free_phase(net, x, solver=accelerated, record=True), y)
    recorded = eq.free_phase(net, x, solver=steps, record=True)
    net.parameters[0] += 1
    with pytest.raises(ValueError, match="Run free_phase again"):
        eq.backpropagation_through_time(net, recorded, y)


# ---------------------------------------------------------------------------- without an energy


def separate(activation: str = "tanh", potential: str = "quadratic", seed: int = 0) -> eq.HopfieldNetwork:
    net = chain(4, 6, 5, 3, activation=activation, potential=potential, seed=seed).variant(
        feedback="separate"
    )
    random = np.random.default_rng(seed)
    for name, block in net.blocks.items():
        if name.startswith("B"):
            block += 0.15 * random.standard_normal(block.shape)
    return net


SYMMETRIZED = [
    eq.Euler(tolerance=1e-14, max_iterations=100_000, step_size=0.1),
    eq.FixedPointIteration(tolerance=1e-14, max_iterations=100_000, damping=0.5),
    eq.FixedPointIteration(tolerance=1e-14, max_iterations=100_000, damping=0.5, anderson=3),
]


def differences(net: eq.HopfieldNetwork, x: np.ndarray, y: np.ndarray, solver: Any) -> np.ndarray:
    """Return dJ/dtheta by central differences of the relaxed cost, without derivatives of the library."""

    def objective() -> float:
        outputs = eq.free_phase(net, x, solver=solver).outputs
        return float(0.5 * ((outputs - np.eye(3)[y]) ** 2).sum(axis=1).mean())

    theta, slopes, h = net.parameters, np.zeros(net.num_parameters), 1e-5
    for i in range(len(theta)):
        kept = theta[i]
        theta[i] = kept + h
        above = objective()
        theta[i] = kept - h
        slopes[i] = (above - objective()) / (2 * h)
        theta[i] = kept
    return slopes


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "hard_sigmoid"])
def test_gmres_and_the_antisymmetric_term_give_the_gradient_of_a_vector_field(
    activation: str, potential: str
) -> None:
    net = separate(activation, potential)
    x, y = inputs(net, 2), labels(net, 2)
    solver = precise(net)
    expected = differences(net, x, y, solver)
    free = eq.free_phase(net, x, solver=solver)
    scale = np.abs(expected).max()
    rbp = eq.recurrent_backpropagation(net, free, y, linear_solver=eq.GMRES(tolerance=1e-13))
    assert_allclose(rbp.parameters, expected, rtol=0, atol=1e-8 * scale)
    for nudged in SYMMETRIZED:
        arguments: dict[str, Any] = {"nudging": eq.exact_limit(), "solver": nudged}
        repaired = eq.equilibrium_propagation(net, free, y, symmetrize=True, **arguments)
        assert_allclose(repaired.parameters, rbp.parameters, rtol=0, atol=1e-10 * scale)
        assert_allclose(repaired.inputs, rbp.inputs, rtol=0, atol=1e-10)
        plain = eq.equilibrium_propagation(net, free, y, **arguments)
        assert np.abs(plain.parameters - rbp.parameters).max() > 1e-4 * scale
        finite = eq.equilibrium_propagation(
            net, free, y, symmetrize=True, nudging=eq.centered(1e-3), solver=nudged
        )
        assert_allclose(finite.parameters, rbp.parameters, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("seed", range(3))
def test_the_antisymmetric_term_rests_at_one_point_for_every_solver(seed: int, potential: str) -> None:
    """Every solver converges to the same fixed point, also where Euler steps of size 1 would diverge."""
    net = eq.HopfieldNetwork(
        [4, 8, 6, 3],
        activation="tanh",
        potential=potential,
        feedback="separate",
        gain=0.5 if potential == "legendre" else 0.3,
        seed=seed,
        dtype="float64",
    )
    x, y = np.random.default_rng(seed).normal(size=(20, 4)), np.arange(20) % 3
    free = eq.free_phase(net, x, solver=SYMMETRIZED[1])
    euler, *others = (
        eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.05), solver=solver, symmetrize=True)
        for solver in SYMMETRIZED
    )
    for other in others:
        assert other.converged
        assert_allclose(other.parameters, euler.parameters, rtol=0, atol=1e-9)


def test_backpropagation_through_time_needs_no_energy() -> None:
    net = separate()
    x, y = inputs(net, 2), labels(net, 2)
    steps = eq.Euler(tolerance=0, max_iterations=400, step_size=0.3)
    free = eq.free_phase(net, x, solver=steps, record=True)
    unrolled = eq.backpropagation_through_time(net, free, y).parameters
    expected = eq.recurrent_backpropagation(net, free, y, linear_solver=eq.GMRES(tolerance=1e-13)).parameters
    assert_allclose(unrolled, expected, rtol=0, atol=1e-10)


def test_conjugate_gradients_are_refused_there() -> None:
    net = separate()
    free = eq.free_phase(net, inputs(net), solver=precise(net))
    with pytest.raises(ValueError, match=r"needs a symmetric Hessian\. Use GMRES for a vector field"):
        eq.recurrent_backpropagation(net, free, labels(net))


def test_tied_networks_do_not_change_under_the_antisymmetric_term() -> None:
    net = chain(4, 6, 5, 3, potential="quadratic")
    x, y = inputs(net), labels(net)
    solver = eq.Euler(tolerance=1e-14, max_iterations=100_000)
    free = eq.free_phase(net, x, solver=solver)
    plain, repaired = (
        eq.equilibrium_propagation(net, free, y, nudging=eq.centered(0.1), symmetrize=yes)
        for yes in (False, True)
    )
    assert_allclose(plain.parameters, repaired.parameters, rtol=0, atol=1e-12)


def test_separate_feedback_starts_tied_and_keeps_the_other_parameters() -> None:
    tied = chain(4, 6, 5, 3)
    net = tied.variant(feedback="separate")
    assert not net.conservative
    assert tied.conservative
    assert list(net.blocks) == ["W1", "W2", "W3", "B2", "B3", "b1", "b2", "b3"]
    for name, block in tied.blocks.items():
        assert_array_equal(net.blocks[name], block)
    assert_array_equal(net.blocks["B3"], tied.blocks["W3"])
    x = inputs(net)
    assert_allclose(eq.free_phase(net, x).state, eq.free_phase(tied, x).state, rtol=0, atol=1e-13)
    assert "separate feedback" in repr(net)
    fresh = eq.HopfieldNetwork([4, 6, 5, 3], feedback="separate", seed=3)
    assert_array_equal(fresh.blocks["B2"], fresh.blocks["W2"])
    assert np.isnan(net.clamp(x).energy(net.initial_state(3))).all()


def test_separate_feedback_is_saved(tmp_path: Any) -> None:
    net = separate()
    again = eq.load(eq.save(net, tmp_path / "model"))
    assert again.feedback == "separate"
    assert_array_equal(again.parameters, net.parameters)
    x = inputs(net)
    assert_array_equal(eq.free_phase(again, x).state, eq.free_phase(net, x).state)


@pytest.mark.parametrize("restart", [1, 3, 50])
def test_gmres_agrees_with_conjugate_gradients(restart: int) -> None:
    net = chain(4, 6, 5, 3)
    free = eq.free_phase(net, inputs(net), solver=precise(net))
    solver = eq.GMRES(tolerance=1e-12, restart=restart, max_iterations=10_000)
    by_gmres = eq.recurrent_backpropagation(net, free, labels(net), linear_solver=solver)
    by_cg = eq.recurrent_backpropagation(
        net, free, labels(net), linear_solver=eq.ConjugateGradient(tolerance=1e-13)
    )
    assert by_gmres.converged
    assert by_gmres.residual.max() <= 1e-12
    assert_allclose(
        by_gmres.parameters, by_cg.parameters, rtol=0, atol=1e-10 * np.abs(by_cg.parameters).max()
    )
