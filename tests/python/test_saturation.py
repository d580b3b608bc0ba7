"""Smooth units at the ends of their range, where rho' is below rounding, count as held by a bound."""

from __future__ import annotations

from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import Oracle

LINEAR = [
    eq.ConjugateGradient(tolerance=1e-13),
    eq.GMRES(tolerance=1e-13),
    eq.Neumann(tolerance=1e-13, max_iterations=10_000),
    eq.Richardson(tolerance=1e-13, max_iterations=10_000),
]


def saturated(
    activation: str, dtype: str = "float64", batch: int = 64
) -> tuple[eq.HopfieldNetwork, np.ndarray, np.ndarray]:
    """Return a network with units within their range and at its ends, with inputs and labels."""
    net = eq.HopfieldNetwork(
        [4, 12, 5, 3], activation=activation, output_activation=activation, dtype=dtype, seed=0
    )
    net.blocks["W1"][...] *= 5
    if activation != "softplus":  # whose states would grow
        net.blocks["W2"][...] *= 2
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, 4)) * np.geomspace(1, 60, batch)[:, None]
    return net, x.astype(dtype), np.arange(batch) % 3


def slope(rho: eq.Activation, p: np.ndarray) -> np.ndarray:
    """Return rho' as a function of the drive, without the cancellation in 1 - r."""
    if rho.kind == "tanh":
        return 1 / np.cosh(p) ** 2
    size = rho.gain * np.abs(p - (rho.shift if rho.kind == "logistic" else 0))
    if rho.kind == "logistic":
        return rho.gain * np.exp(-size) / (1 + np.exp(-size)) ** 2
    return np.where(p > 0, 1 / (1 + np.exp(-size)), np.exp(-size) / (1 + np.exp(-size)))


def implicit(net: eq.HopfieldNetwork, free: eq.FixedPoint, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (dJ/dtheta, dJ/dx) in double precision from lambda = (1 - D M)^-1 D dC/ds, without 1 / rho'."""
    oracle, s = Oracle(net), free.state.astype(np.float64)
    x, targets = free.x.astype(np.float64), np.eye(net.num_outputs)[y]
    d = np.concatenate(
        [slope(rho, p) for rho, p in zip(oracle.rho[1:], oracle.drives(x, s), strict=True)], axis=1
    )
    weights, _ = oracle.unpack(oracle.theta)
    ends = np.cumsum([0, *oracle.sizes[1:]])
    pulls = np.zeros((ends[-1], ends[-1]))
    for (a, b), w in zip(oracle.edges, weights, strict=True):
        if a > 0:
            pulls[ends[a - 1] : ends[a], ends[b - 1] : ends[b]] = w
    pulls += pulls.T
    c = oracle.force(s, targets)
    adjoint = np.stack(
        [np.linalg.solve(np.eye(len(pulls)) - d[j, :, None] * pulls, d[j] * c[j]) for j in range(len(s))]
    )
    values, errors = [x, *oracle.layers(s)], [np.zeros_like(x), *oracle.layers(adjoint)]
    blocks = [values[a].T @ errors[b] + errors[a].T @ values[b] for a, b in oracle.edges]
    blocks += [error.sum(axis=0) for error in errors[1:]]
    return np.concatenate([block.ravel() for block in blocks]) / len(s), errors[1] @ weights[0].T / len(s)


@pytest.mark.parametrize("solver", LINEAR, ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "steep_sigmoid", "softplus"])
def test_the_gradient_is_the_implicit_one_where_units_are_saturated(activation: str, solver: Any) -> None:
    net, x, y = saturated(activation)
    free = eq.free_phase(net, x, solver=eq.BlockUpdate(tolerance=1e-14, max_iterations=10_000))
    if activation != "softplus":  # its range has one end, 0, which the units approach
        assert (np.isin(free.state, [-1.0, 0.0, 1.0])).sum() > 20
    by_theta, by_x = implicit(net, free, y)
    gradient = eq.recurrent_backpropagation(net, free, y, linear_solver=solver)
    assert gradient.converged
    np.testing.assert_allclose(gradient.parameters, by_theta, rtol=0, atol=1e-10 * np.abs(by_theta).max())
    np.testing.assert_allclose(gradient.inputs, by_x, rtol=0, atol=1e-10 * np.abs(by_x).max())


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "steep_sigmoid", "softplus"])
def test_single_precision_gives_the_implicit_gradient_too(activation: str) -> None:
    net, x, y = saturated(activation, "float32")
    free = eq.free_phase(net, x, solver=eq.BlockUpdate(max_iterations=10_000))
    by_theta, by_x = implicit(net, free, y)
    for solver in (eq.ConjugateGradient(), eq.GMRES(), eq.Neumann(), eq.Richardson()):
        gradient = eq.recurrent_backpropagation(net, free, y, linear_solver=solver)
        assert gradient.converged
        np.testing.assert_allclose(gradient.parameters, by_theta, rtol=0, atol=1e-3 * np.abs(by_theta).max())
        np.testing.assert_allclose(gradient.inputs, by_x, rtol=0, atol=1e-3 * np.abs(by_x).max())


@pytest.mark.parametrize("solver", LINEAR, ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_a_saturated_sample_is_the_same_in_any_batch(activation: str, dtype: str, solver: Any) -> None:
    net, x, y = saturated(activation, dtype, batch=512)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    solver = type(solver)(tolerance=tolerance, max_iterations=solver.max_iterations)

    def run(size: int, batches: range) -> list[np.ndarray]:
        parts = []
        for k in batches:
            part = slice(k * size, (k + 1) * size)
            free = eq.free_phase(net, x[part])
            gradient = eq.recurrent_backpropagation(net, free, y[part], linear_solver=solver)
            parts.append((gradient.status, gradient.iterations, gradient.residual))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    together, by_some = run(512, range(1)), run(64, range(8))
    alone = run(1, range(440, 512))
    assert (together[0] == eq.Status.CONVERGED).all()
    for of_all, of_some, of_one in zip(together, by_some, alone, strict=True):
        np.testing.assert_array_equal(of_some, of_all)
        np.testing.assert_array_equal(of_one, of_all[440:])


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_all_second_phases_agree_where_units_are_saturated(activation: str) -> None:
    net, x, y = saturated(activation)
    solver = eq.FixedPointIteration(tolerance=1e-14, max_iterations=10_000)
    free = eq.free_phase(net, x, solver=solver)
    by_theta, _ = implicit(net, free, y)
    scale = np.abs(by_theta).max()
    limit = eq.equilibrium_propagation(net, free, y, nudging=eq.exact_limit())
    assert limit.converged
    np.testing.assert_allclose(limit.parameters, by_theta, rtol=0, atol=1e-10 * scale)
    steps = eq.FixedPointIteration(tolerance=0.0, max_iterations=1000)
    recorded = eq.free_phase(net, x, solver=steps, initial=free.state, record=True)
    through_time = eq.backpropagation_through_time(net, recorded, y)
    np.testing.assert_allclose(through_time.parameters, by_theta, rtol=0, atol=1e-10 * scale)
