"""The advice on failures of second phases is correct: the phase converges after it is followed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Status
from networks import scaled_down
from networks import small_net as net

X = np.random.default_rng(0).uniform(-1, 1, (20, 4))
Y = np.random.default_rng(1).integers(0, 3, 20)


def relaxed(model: Any, solver: Any, x: Any = X) -> eq.FixedPoint:
    return eq.free_phase(model, x, solver=solver, on_failure="ignore")


def nudged(model: Any, free: Any, nudging: Any, solver: Any) -> eq.Gradient:
    return eq.equilibrium_propagation(model, free, Y, nudging=nudging, solver=solver, on_failure="ignore")


SLOW = eq.Euler(step_size=0.01)
FAILS = Status.MAX_ITERATIONS
NUDGED: list[tuple[str, Any, Any, Any, Status, str, Any]] = [
    # potential, free solver, nudging, nudged solver, status of its failure, advice, and the cure
    (
        "quadratic",
        eq.Euler(),
        eq.centered(1.5),
        None,
        Status.MAX_ITERATIONS,
        "lower |beta| (1.5).",
        eq.centered(0.1),
    ),
    (
        "quadratic",
        eq.Euler(),
        eq.one_sided(-2.0),
        None,
        Status.MAX_ITERATIONS,
        "lower |beta| (2).",
        eq.one_sided(-0.1),
    ),
    (
        "quadratic",
        eq.Euler(step_size=0.3),
        eq.holomorphic(1.5, 4),
        None,
        Status.MAX_ITERATIONS,
        "lower |beta| (1.5).",
        eq.holomorphic(0.3, 4),
    ),
    (
        "quadratic",
        eq.FixedPointIteration(),
        eq.centered(3.0),
        None,
        Status.DIVERGED,
        "Lower |beta| (3).",
        eq.centered(0.01),
    ),
    (
        "quadratic",
        None,
        eq.centered(0.1),
        eq.Euler(step_size=5.0),
        Status.DIVERGED,
        "Lower step_size (5);",
        eq.Euler(step_size=0.5, max_iterations=5000),
    ),
    (
        "quadratic",
        None,
        eq.centered(1.5),
        eq.Euler(step_size=0.3),
        Status.MAX_ITERATIONS,
        "if the states still grow, lower |beta| (1.5).",
        eq.centered(0.1),
    ),
    ("legendre", None, eq.exact_limit(), eq.Euler(step_size=5.0), Status.DIVERGED, "Use BlockUpdate()", None),
    (
        "legendre",
        None,
        eq.exact_limit(),
        eq.Euler(step_size=5.0),
        Status.DIVERGED,
        "or lower step_size (5);",
        eq.Euler(step_size=0.5),
    ),
    (
        "legendre",
        None,
        eq.exact_limit(),
        SLOW,
        Status.MAX_ITERATIONS,
        "Raise max_iterations (1000).",
        replace(SLOW, max_iterations=20_000),
    ),
]


@pytest.mark.parametrize(("potential", "solver", "nudging", "own", "status", "advice", "cure"), NUDGED)
def test_advice_of_a_nudged_phase_cures_it(
    potential: str, solver: Any, nudging: Any, own: Any, status: Status, advice: str, cure: Any
) -> None:
    model = net(potential=potential)
    free = eq.free_phase(model, X, solver=solver)
    failed = nudged(model, free, nudging, own)
    assert (failed.status == status).any(), failed.summary()
    assert any(advice in sentence for sentence in failed.advice), failed.advice
    by_nudging = type(cure) is type(nudging)
    cured = nudged(model, free, cure, own) if by_nudging else nudged(model, free, nudging, cure)
    assert cured.converged, cured.summary()


LINEAR: list[tuple[Any, float, Status, str, Any]] = [
    # linear solver, gain of the weights, status of its failure, advice, and the cure
    (
        eq.ConjugateGradient(max_iterations=2),
        0.5,
        Status.MAX_ITERATIONS,
        "Raise max_iterations (2).",
        eq.ConjugateGradient(),
    ),
    (
        eq.Richardson(step_size=0.01),
        0.5,
        Status.MAX_ITERATIONS,
        "Raise max_iterations (1000).",
        eq.Richardson(step_size=0.01, max_iterations=50_000),
    ),
    (eq.Richardson(step_size=3.0), 0.5, Status.DIVERGED, "Use ConjugateGradient()", eq.ConjugateGradient()),
    (
        eq.Richardson(step_size=3.0),
        0.5,
        Status.DIVERGED,
        "or lower step_size (3).",
        eq.Richardson(step_size=0.5),
    ),
    (
        eq.Neumann(max_iterations=2000),
        1.0,
        Status.DIVERGED,
        "Use ConjugateGradient()",
        eq.ConjugateGradient(),
    ),
    (
        eq.Neumann(max_iterations=2000),
        1.0,
        Status.DIVERGED,
        "or Richardson() with a step_size below 1.",
        eq.Richardson(step_size=0.5, max_iterations=5000),
    ),
    (eq.GMRES(max_iterations=2), 0.5, Status.MAX_ITERATIONS, "Raise max_iterations (2).", eq.GMRES()),
    (
        eq.GMRES(restart=2, max_iterations=12),
        0.5,
        Status.MAX_ITERATIONS,
        "A larger restart (2) needs fewer steps.",
        eq.GMRES(restart=11, max_iterations=12),
    ),
]


@pytest.mark.parametrize(("solver", "gain", "status", "advice", "cure"), LINEAR)
def test_advice_of_a_side_network_cures_it(
    solver: Any, gain: float, status: Status, advice: str, cure: Any
) -> None:
    model = net(potential="quadratic", gain=gain)
    free = eq.free_phase(model, X, solver=eq.Euler(step_size=0.2, max_iterations=10_000))

    def back(linear: Any) -> eq.Gradient:
        return eq.recurrent_backpropagation(model, free, Y, linear_solver=linear, on_failure="ignore")

    failed = back(solver)
    assert (failed.status == status).any(), failed.summary()
    assert any(advice in sentence for sentence in failed.advice), failed.advice
    assert back(cure).converged


def test_negative_curvature_is_cured_as_advised() -> None:
    model = net(potential="quadratic", gain=1.0)
    early = relaxed(model, eq.Euler(step_size=0.2, tolerance=3.0))
    failed = eq.recurrent_backpropagation(model, early, Y, on_failure="ignore")
    assert (failed.status == Status.INDEFINITE).any()
    assert any("lower the tolerance of the free phase;" in sentence for sentence in failed.advice)
    late = eq.free_phase(model, X, solver=eq.Euler(step_size=0.2, max_iterations=10_000))
    assert eq.recurrent_backpropagation(model, late, Y).converged


def test_a_saddle_is_cured_by_smaller_weights() -> None:
    model, nothing = net(gain=2.0), np.zeros((2, 4))
    saddle = eq.free_phase(model, nothing)
    failed = eq.recurrent_backpropagation(model, saddle, Y[:2], on_failure="ignore")
    exact = eq.equilibrium_propagation(model, saddle, Y[:2], nudging=eq.exact_limit(), on_failure="ignore")
    (stability,) = eq.verify.diagnose(saddle).advice
    assert any("if it is a saddle point, scale the weights down." in sentence for sentence in failed.advice)
    assert any("Scale weights and inputs down" in sentence for sentence in exact.advice)
    assert "Scale the weights down, or relax from another state." in stability
    smaller = scaled_down(model)
    rest = eq.free_phase(smaller, nothing)
    assert eq.recurrent_backpropagation(smaller, rest, Y[:2]).converged
    assert eq.equilibrium_propagation(smaller, rest, Y[:2], nudging=eq.exact_limit()).converged
    assert eq.verify.diagnose(rest).advice == ()
    elsewhere = eq.free_phase(model, nothing, initial=np.full((2, 11), 0.1))
    assert eq.verify.diagnose(elsewhere).advice == ()


def test_numbers_that_overflow_are_named() -> None:
    model = net(dtype="float32")
    free = eq.free_phase(model, X)
    huge = np.full((20, 3), 3e38, np.float32)
    failed = eq.recurrent_backpropagation(model, free, huge, on_failure="ignore")
    assert failed.advice == ("Scale targets and weights down: numbers overflowed in float32.",)
    assert eq.recurrent_backpropagation(model, free, huge * np.float32(1e-38)).converged
