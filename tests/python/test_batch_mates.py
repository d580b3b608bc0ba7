"""The results of a sample do not depend on the other samples of its batch, in any bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import inputs, labels

BATCH, BAD = 7, 3
OTHERS = np.arange(BATCH) != BAD
NETWORKS = [
    ("tanh", "legendre"),
    ("hard_sigmoid", "legendre"),
    ("softplus", "legendre"),
    ("linear", "legendre"),
    ("tanh", "quadratic"),
]
FREE = [
    eq.BlockUpdate(max_iterations=60),
    eq.FixedPointIteration(max_iterations=60, damping=0.3),
    eq.Euler(max_iterations=60, step_size=0.1),
]
FREE += [replace(solver, anderson=3) for solver in FREE]
FREE += [replace(solver, tolerance=0.0) for solver in FREE]
LINEAR = [
    eq.ConjugateGradient(max_iterations=40),
    eq.Richardson(max_iterations=40, step_size=0.3),
    eq.Neumann(max_iterations=40),
    eq.GMRES(max_iterations=40, restart=3),
]
LINEAR += [replace(solver, tolerance=0.0) for solver in LINEAR]


def name(value: Any) -> str:
    if isinstance(value, tuple | str):
        return value if isinstance(value, str) else "-".join(value)
    mode = "fixed" if value.tolerance == 0 else "tolerance"
    return f"{type(value).__name__}-{mode}-{getattr(value, 'anderson', 0)}"


def network(kind: tuple[str, str], dtype: str, gain: float = 0.35) -> eq.HopfieldNetwork:
    activation, potential = kind
    return eq.HopfieldNetwork(
        [4, 6, 3], activation=activation, output_activation=activation, potential=potential,
        dtype=dtype, seed=1, gain=gain,
    )  # fmt: skip


def with_bad_sample(x: np.ndarray, row: Any) -> np.ndarray:
    out = x.copy()
    out[BAD] = row
    return out


def with_state(net: eq.HopfieldNetwork, free: eq.FixedPoint, state: np.ndarray) -> eq.FixedPoint:
    """Return `free` with another final state."""
    return replace(free, state=state, fingerprint=net.clamp(free.x).residual(state))


def assert_same_others(result: Any, expected: Any, *arrays: str) -> None:
    for array in ("status", "iterations", "residual", "fallbacks", *arrays):
        np.testing.assert_array_equal(getattr(result, array)[OTHERS], getattr(expected, array)[OTHERS], array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", FREE, ids=name)
@pytest.mark.parametrize("kind", NETWORKS, ids=name)
def test_a_bad_sample_changes_no_other_in_a_free_or_nudged_phase(kind: Any, solver: Any, dtype: str) -> None:
    net = network(kind, dtype)
    if isinstance(solver, eq.BlockUpdate) and not net.has_block_update:
        pytest.skip("no block updates")
    net.blocks["W1"][...] *= 64  # the input is so large that numbers overflow
    x, y = inputs(net, BATCH).astype(dtype) / 64, labels(net, BATCH)
    huge = with_bad_sample(x, np.finfo(dtype).max * np.array([1, -1, 1, 1], dtype))
    healthy = eq.free_phase(net, x, solver=solver, on_failure="ignore")
    free = eq.free_phase(net, huge, solver=solver, on_failure="ignore")
    assert_same_others(free, healthy, "state", "outputs")
    if kind[0] == "linear":
        assert free.status[BAD] == eq.Status.DIVERGED
    spoilt = [free, with_state(net, healthy, with_bad_sample(healthy.state, np.nan))]
    for nudging in (eq.centered(0.1), eq.one_sided(0.2)):
        expected = eq.equilibrium_propagation(net, healthy, y, nudging=nudging, on_failure="ignore")
        for bad in spoilt:
            gradient = eq.equilibrium_propagation(net, bad, y, nudging=nudging, on_failure="ignore")
            assert_same_others(gradient, expected, "inputs")
        assert gradient.status[BAD] == eq.Status.DIVERGED


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", LINEAR, ids=name)
@pytest.mark.parametrize("kind", NETWORKS, ids=name)
def test_a_bad_sample_changes_no_other_in_a_side_network(kind: Any, solver: Any, dtype: str) -> None:
    net = network(kind, dtype)
    healthy = eq.free_phase(net, inputs(net, BATCH).astype(dtype), on_failure="ignore")
    y = labels(net, BATCH)
    expected = eq.recurrent_backpropagation(net, healthy, y, linear_solver=solver, on_failure="ignore")
    assert not (expected.status == eq.Status.DIVERGED).any()
    for row in (np.nan, np.inf, np.finfo(dtype).max):
        bad = with_state(net, healthy, with_bad_sample(healthy.state, row))
        gradient = eq.recurrent_backpropagation(net, bad, y, linear_solver=solver, on_failure="ignore")
        assert_same_others(gradient, expected, "inputs")
        assert np.isfinite(row) or gradient.status[BAD] == eq.Status.DIVERGED


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", LINEAR, ids=name)
def test_a_saddle_changes_no_other_in_a_side_network(solver: Any, dtype: str) -> None:
    net = network(("tanh", "legendre"), dtype, gain=2.0)
    x = 3 * inputs(net, BATCH).astype(dtype)
    healthy = eq.free_phase(net, x, on_failure="ignore")
    y = labels(net, BATCH)
    expected = eq.recurrent_backpropagation(net, healthy, y, linear_solver=solver, on_failure="ignore")
    # At 0 the couplings exceed the leaks, so the energy has negative curvature. The drive is 0 with input 0.
    at_rest = eq.free_phase(
        net,
        with_bad_sample(x, 0),
        solver=eq.BlockUpdate(max_iterations=0),
        initial=0 * healthy.state,
        on_failure="ignore",
    )
    saddle = with_state(net, at_rest, with_bad_sample(healthy.state, 0))
    gradient = eq.recurrent_backpropagation(net, saddle, y, linear_solver=solver, on_failure="ignore")
    assert_same_others(gradient, expected, "inputs")
    if isinstance(solver, eq.ConjugateGradient):
        assert gradient.status[BAD] == eq.Status.INDEFINITE
        assert not (expected.status == eq.Status.INDEFINITE).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_that_overflows_is_not_called_converged(dtype: str) -> None:
    """Each sample is finite and has converged, but the sum over the samples is not finite."""
    net = eq.HopfieldNetwork([1, 1], dtype=dtype, seed=0)
    x = np.full((4, 1), np.finfo(dtype).max, dtype)
    net.blocks["W1"][...] = 0
    free = eq.free_phase(net, x)
    gradient = eq.recurrent_backpropagation(net, free, np.full((4, 1), -3.0), on_failure="ignore")
    assert not np.isfinite(gradient.parameters).all()
    assert (gradient.status == eq.Status.DIVERGED).all()
