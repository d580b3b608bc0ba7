"""The advice on failures of free phases is correct: the phase converges after it is followed."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import HopfieldNetwork, Status
from networks import scaled_down
from networks import small_net as net

X = np.random.default_rng(0).uniform(-1, 1, (20, 4))
Y = np.random.default_rng(1).integers(0, 3, 20)


def relaxed(model: Any, solver: Any, x: Any = X) -> eq.FixedPoint:
    return eq.free_phase(model, x, solver=solver, on_failure="ignore")


FREE: list[tuple[Any, Any, Status, str, Any]] = [
    # network, solver, status of its failure, advice, and the cure, a solver or a network
    (
        net(),
        eq.BlockUpdate(max_iterations=5),
        Status.MAX_ITERATIONS,
        "Raise max_iterations (5).",
        eq.BlockUpdate(),
    ),
    (
        net(),
        eq.Euler(step_size=0.05),
        Status.MAX_ITERATIONS,
        "Raise max_iterations (1000).",
        eq.Euler(step_size=0.05, max_iterations=10_000),
    ),
    (
        net(),
        eq.FixedPointIteration(max_iterations=5),
        Status.MAX_ITERATIONS,
        "Raise max_iterations (5).",
        eq.FixedPointIteration(),
    ),
    (net(), eq.Euler(step_size=2.5), Status.DIVERGED, "Use BlockUpdate()", eq.BlockUpdate()),
    (net(), eq.Euler(step_size=2.5), Status.DIVERGED, "or lower step_size (2.5);", eq.Euler(step_size=0.25)),
    (
        net(potential="quadratic"),
        eq.Euler(step_size=2.5),
        Status.MAX_ITERATIONS,
        "or lower step_size (2.5);",
        eq.Euler(step_size=0.25),
    ),
    *(
        (
            net(potential="quadratic", gain=1.0),
            eq.FixedPointIteration(),
            Status.MAX_ITERATIONS,
            advice,
            cure,
        )
        for advice, cure in (
            ("If the residual still does not fall, use BlockUpdate()", eq.BlockUpdate()),
            ("or raise the damping (0);", eq.FixedPointIteration(damping=0.8)),
        )
    ),
    *(
        (
            net("relu", gain=gain),
            solver,
            status,
            "cale weights and inputs down",
            scaled_down(net("relu", gain=gain)),
        )
        for gain, solver, status in (
            (1.0, eq.BlockUpdate(max_iterations=5), Status.MAX_ITERATIONS),
            (1.0, eq.BlockUpdate(), Status.DIVERGED),
            (1.0, eq.FixedPointIteration(), Status.MAX_ITERATIONS),
            (2.0, eq.FixedPointIteration(), Status.DIVERGED),
            (2.0, eq.Euler(), Status.DIVERGED),
        )
    ),
    (
        HopfieldNetwork([4, 8, 8, 8, 3], activation="tanh", dtype="float64"),
        eq.BlockUpdate(tolerance=1e-17),
        Status.MAX_ITERATIONS,
        "Rounding errors of float64 can exceed the tolerance 1e-17: use tolerance=None.",
        eq.BlockUpdate(),
    ),
    (
        net("linear", dtype="float32"),
        eq.BlockUpdate(tolerance=1e-9),
        Status.MAX_ITERATIONS,
        "Rounding errors of float32 can exceed the tolerance 1e-09: use a network in float64.",
        net("linear"),
    ),
]


@pytest.mark.parametrize(("model", "solver", "status", "advice", "cure"), FREE)
def test_advice_of_a_free_phase_cures_it(
    model: Any, solver: Any, status: Status, advice: str, cure: Any
) -> None:
    free = relaxed(model, solver)
    assert (free.status == status).any()
    assert any(advice in sentence for sentence in free.advice), free.advice
    smaller = isinstance(cure, HopfieldNetwork)
    cured = relaxed(cure, replace(solver, max_iterations=1000)) if smaller else relaxed(model, cure)
    assert cured.converged, cured.summary()
    assert cured.advice == ()


GRID = list(
    itertools.product(
        ["linear", "relu", "tanh", "hard_sigmoid"],
        ["legendre", "quadratic"],
        [0.5, 1.0, 2.0],
        [
            eq.BlockUpdate(max_iterations=5),
            eq.BlockUpdate(),
            eq.FixedPointIteration(),
            eq.Euler(),
            eq.Euler(step_size=1.0),
            eq.Euler(step_size=2.5),
            eq.Euler(step_size=0.05),
        ],
    )
)


def failures() -> list[eq.FixedPoint]:
    """Return failed free phases of many networks with many solvers."""
    models = {key: net(*key) for key in {case[:3] for case in GRID}}
    pairs = ((models[case[:3]], case[3]) for case in GRID)
    usable = [(m, s) for m, s in pairs if m.has_block_update or not isinstance(s, eq.BlockUpdate)]
    return [free for free in (relaxed(m, s, X[:6]) for m, s in usable) if not free.converged]


FAILURES = failures()


def test_the_grid_has_failures_of_both_kinds() -> None:
    statuses = {int(status) for free in FAILURES for status in free.status}
    assert {Status.MAX_ITERATIONS, Status.DIVERGED} <= statuses
    assert len(FAILURES) > 50


@pytest.mark.parametrize("free", FAILURES, ids=lambda free: f"{free.model!r} {free.solver}")
def test_nothing_that_is_in_use_is_recommended(free: eq.FixedPoint) -> None:
    sentences = [*free.advice, *eq.verify.diagnose(free).advice]
    for sentence in sentences:
        assert "tolerance" not in sentence.split("the tolerance")[0]
        if isinstance(free.solver, eq.BlockUpdate) or not free.model.has_block_update:
            assert "se BlockUpdate" not in sentence
        assert not re.search(r"(raise|higher|lower|loosen)\w* (the )?tolerance", sentence.lower())


@pytest.mark.parametrize("free", FAILURES[:3], ids=lambda free: f"{free.model!r} {free.solver}")
def test_an_explanation_leaves_the_result_as_it_is(free: eq.FixedPoint) -> None:
    before = free.state.copy()
    once, again = eq.verify.diagnose(free).advice, eq.verify.diagnose(free).advice
    np.testing.assert_array_equal(free.state, before)
    assert once == again


def explained_cure(free: eq.FixedPoint, sentence: str) -> tuple[Any, Any]:
    """Return the model and the solver that a sentence of a diagnosis recommends."""
    step = re.search(r"[Uu]se (?:BlockUpdate\(\) or )?(?:Euler\()?step_size=([\d.e+-]*\d)", sentence)
    if "use BlockUpdate(" in sentence and free.model.conservative:
        return free.model, eq.BlockUpdate(max_iterations=20_000)
    enough = re.search(r"use max_iterations=(\d+)", sentence)
    if enough:
        return free.model, replace(free.solver, max_iterations=int(enough[1]))
    if step:
        return free.model, eq.Euler(step_size=float(step[1]), max_iterations=20_000)
    if "raise max_iterations" in sentence:
        more = re.search(r"about (\d+) more", sentence)
        assert more
        return free.model, replace(free.solver, max_iterations=int(free.iterations.max()) + 2 * int(more[1]))
    assert "scale the weights down" in sentence, sentence
    return scaled_down(free.model), eq.Euler(step_size=0.3)


@pytest.mark.parametrize("free", FAILURES, ids=lambda free: f"{free.model!r} {free.solver}")
def test_the_advice_of_an_explanation_cures(free: eq.FixedPoint) -> None:
    first = eq.verify.diagnose(free).advice[0]
    model, solver = explained_cure(free, first)
    cured = relaxed(model, solver, X[:6])
    assert cured.converged, f"{first}\n{cured.summary()}"


def test_dynamics_without_an_energy_are_not_told_of_block_updates() -> None:
    model = net(gain=0.8).variant(feedback="separate")
    model.blocks["B2"][:] = -model.blocks["W2"]
    free = relaxed(model, eq.BlockUpdate())
    assert not free.converged
    assert any("use Euler() with a small step_size;" in sentence for sentence in free.advice)
    assert relaxed(model, eq.Euler(step_size=0.1, max_iterations=5000)).converged
    by_map = relaxed(model, eq.FixedPointIteration())
    assert not by_map.converged
    for sentence in (*by_map.advice, eq.verify.diagnose(by_map).advice[0]):
        assert "BlockUpdate" not in sentence
        assert "raise the damping" in sentence
    assert relaxed(model, eq.FixedPointIteration(damping=0.8)).converged
    sentence = eq.verify.diagnose(free).advice[0]
    assert relaxed(*explained_cure(free, sentence)).converged
