"""The claim that Equilibrium Propagation at a finite beta is the exact gradient of a surrogate objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import of_normal_size, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, one_sided
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem
from equiprop.verify.reference import extrapolated_differences, spread
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

#: Extrapolated differences with steps h and 2 h have a truncation error of h^4 f^(5) / 30, about 1e-16 f^(5)
#: for h = 3e-4. Their rounding error is that of F*, divided by h and by the interval of beta.
_TOLERANCE, _ROUNDING = 1e-9, 1e-15


@dataclass(frozen=True, kw_only=True)
class SurrogateReport(Report):
    """EqProp at finite betas compared with differences of its surrogates, and bounds of J by surrogates."""

    claim: ClassVar[str] = "surrogate"
    statement: ClassVar[str] = (
        "EqProp between beta_1 and beta_2 is the exact gradient of (F*(beta_2) - F*(beta_1)) / "
        "(beta_2 - beta_1), F* = min E + beta C; with P on (0, beta) and N on (-beta, 0), "
        "P <= J <= N (Scellier et al. 2023)."
    )


def surrogate(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    beta: float = 0.1,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    max_differences: int = 24,
    time_limit: float | None = None,
    progress: bool = False,
) -> SurrogateReport:
    """Check that EqProp at a finite beta is the exact gradient of its surrogate, and that P <= J <= N.

    Source: Scellier et al. (2023).

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`; the model has an energy.
    beta : float, positive
        Nudging factor; it must be so small that E - beta C has a minimum.
    max_differences : int
        Largest number of parameters for which differences are computed; they are spread over all.

    Returns
    -------
    SurrogateReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> eq.verify.surrogate(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    beta = of_normal_size(beta, "surrogate", "beta")
    most = whole(max_differences, "surrogate", "max_differences", 1)
    timed = Timed("surrogate", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    if not problem.model.conservative:
        raise ValueError(f"[surrogate] The model has an energy. Received {problem.model!r}.")
    settings = {"beta": beta, "max_differences": max_differences}
    return timed.report(SurrogateReport, problem, settings, lambda rows: _check(problem, beta, most, rows))


def _check(problem: Problem, beta: float, most: int, rows: list[Row]) -> dict[str, Any]:
    """Append a row for each surrogate, and those on their values."""
    chosen = spread(len(problem.model.parameters), most)
    step = problem.difference_step((-beta, 0.0, beta))
    values = {}
    rules = {
        "P": (0.0, beta, one_sided(beta)),
        "N": (-beta, 0.0, one_sided(-beta)),
        "C": (-beta, beta, centered(beta)),
    }
    for name in tracked(list(rules), lambda name: f"gradient of {name}"):
        low, high, rule = rules[name]
        values[name] = _value(problem, low, high)
        label = f"EqProp on ({low:g}, {high:g}) = gradient of {name}"
        rows.append(_against_differences(label, problem, low, high, rule, chosen, step))
    rows += _bounds(problem.objective(problem.state), values)
    return {}


def _value(problem: Problem, low: float, high: float) -> float:
    """Return the surrogate (F*(high) - F*(low)) / (high - low), with the present parameters of the model."""
    return (_minimum(problem, high) - _minimum(problem, low)) / (high - low)


def _against_differences(
    label: str,
    problem: Problem,
    low: float,
    high: float,
    rule: Nudging,
    chosen: NDArray[np.int64],
    step: float,
) -> Row:
    """Compare EqProp by `rule` with differences of the surrogate between the betas `low` and `high`."""
    theta = problem.model.parameters
    expected = extrapolated_differences(lambda: _value(problem, low, high), theta, chosen, step)
    estimate = problem.nudged(rule).parameters
    scale = float(np.abs(estimate).max(initial=0.0)) or 1.0
    error = float(np.abs(estimate[chosen] - expected).max(initial=0.0) / scale)
    rounding = _ROUNDING * max(1.0, abs(_minimum(problem, high))) / (step * (high - low) * scale)
    return Row(label, error, high=_TOLERANCE + rounding)


def _bounds(objective: float, values: Mapping[str, float]) -> list[Row]:
    """Return the rows on P <= J <= N, where rounding errors are allowed, and on the values of J and C."""
    rounding = 1e-12 * max(1.0, abs(objective))
    return [
        Row("J - P", objective - values["P"], low=-rounding),
        Row("N - J", values["N"] - objective, low=-rounding),
        Row("J", objective),
        Row("C, the centered surrogate", values["C"]),
    ]


def _minimum(problem: Problem, beta: float) -> float:
    """Return F*(beta) = min E + beta C, the mean over the batch, with the present parameters of the model."""
    model = problem.model
    energy = _core.f64.total_energy(model.clamp(problem.x), problem.bound, beta)
    state, *_ = model.core.relax(energy, problem.solver.core, problem.state)
    return float(energy.energy(state).mean())
