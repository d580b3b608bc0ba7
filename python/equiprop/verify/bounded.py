"""The claim on units that are held by a bound of their activation, and the range of beta where it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import positive, several
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import one_sided
from equiprop.solvers import FreeSolver
from equiprop.verify.equivalence import EquivalenceReport, equivalence
from equiprop.verify.model_parts import kink_margins, unit_name
from equiprop.verify.problem import Problem
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked


@dataclass(frozen=True, kw_only=True)
class BoundedReport(Report):
    """The theorem with units that are held by a bound, and the betas at which the set of held units changes.

    Attributes
    ----------
    changes : dict of float to tuple of str
        Units that are held at beta = 0 and free at beta, or the reverse, for each beta.
    """

    claim: ClassVar[str] = "bounded"
    statement: ClassVar[str] = (
        "A unit that is held by a bound has no temporal derivative and transmits no error derivative; the "
        "theorem holds for the free units as long as the set of held units does not change."
    )

    changes: dict[float, tuple[str, ...]]


def bounded(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    betas: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1, 0.5),
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> BoundedReport:
    """Check the theorem with held units, and name the units that a finite beta releases or holds.

    The error of one-sided EqProp is proportional to beta as long as the set of held units does not change.
    For a larger beta the expansion in beta is not valid, and the error is shown without a limit.

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`.
    betas : sequence of float
        Positive nudging factors.

    Returns
    -------
    BoundedReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 8, 3], activation="hard_sigmoid", dtype="float64")
    >>> net.blocks["b1"][:] = np.linspace(-0.5, 1.5, 8)
    >>> eq.verify.bounded(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    sizes = several(betas, "bounded", "betas", positive)
    timed = Timed("bounded", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    settings = {"betas": sizes}
    return timed.report(
        BoundedReport, problem, settings, lambda rows: _check(problem, sizes, rows), {"changes": {}}
    )


def _check(problem: Problem, sizes: Sequence[float], rows: list[Row]) -> dict[str, Any]:
    """Append the rows of the theorem and those of each beta; return advice and changes."""
    theorem = equivalence(problem, steps=100)
    rows += _theorem_rows(problem, theorem)
    reference = implicit_gradient(problem)
    changes: dict[float, tuple[str, ...]] = {}
    slopes, advice = [], []
    for beta in tracked(sorted(set(sizes)), lambda beta: f"beta = {beta:g}"):
        changes[beta] = _changes(problem, beta)
        error = _error(problem, beta, reference)
        if changes[beta]:
            names = f"{', '.join(changes[beta][:3])}{' ...' if len(changes[beta]) > 3 else ''}"
            advice.append(f"At beta = {beta:g} the set of held units changes: {names}.")
        elif error > 1e-11 / beta:
            slopes.append((beta, error))
        note = f"{len(changes[beta])} units are held or released" if changes[beta] else ""
        rows.append(Row(f"one-sided error at beta = {beta:g}", error, note=note))
    if len(slopes) > 1:
        (low, small), (high, large) = slopes[0], slopes[1]
        order = float(np.log(large / small) / np.log(high / low))
        rows.append(Row("order in beta before the first change", order, 0.9, 1.1))
    return {"advice": (*theorem.advice, *advice), "changes": changes}


def _theorem_rows(problem: Problem, theorem: EquivalenceReport) -> list[Row]:
    """Return the held units, their temporal derivatives, and the errors of the theorem."""
    held = ~problem.free_units
    shown = held[np.ix_(theorem.traced.samples, theorem.traced.units)]
    still = float(np.abs(theorem.temporal_derivatives.states[:, shown]).max(initial=0.0))
    return [
        Row("units held by a bound", float(held.sum()), note=f"of {held.size}"),
        Row("distance to the nearest kink", _margin(problem), low=0.0),
        Row("largest |S~| of a held unit", still, high=0.0),
        Row("states, every step", float(theorem.state_errors.max()), high=theorem.tolerance),
        Row("parameters, every step", float(theorem.parameter_errors.max()), high=theorem.tolerance),
    ]


def _margin(problem: Problem) -> float:
    margin = float(kink_margins(problem.model, problem.energy, problem.state).min())
    return margin if np.isfinite(margin) else 1.0


def _error(problem: Problem, beta: float, reference: NDArray[np.float64]) -> float:
    return relative_error(problem.nudged(one_sided(beta)).parameters, reference)


def _changes(problem: Problem, beta: float) -> tuple[str, ...]:
    """Return texts on the units that are held at beta and free at 0, or free at beta and held at 0."""
    core = _core.f64
    energy = core.total_energy(problem.energy, problem.bound, beta)
    state, *_ = core.relax(energy, problem.solver.core, problem.state)
    free = energy.mobility(state) != 0
    return tuple(
        f"{unit_name(problem.model, i)} of sample {j} is {'released' if free[j, i] else 'held'}"
        for j, i in np.argwhere(free != problem.free_units)
    )
