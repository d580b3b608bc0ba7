"""The claim on the order in beta of the bias of Equilibrium Propagation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import of_normal_size, require, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, holomorphic, one_sided
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import JSON, Report, Row
from equiprop.verify.watch import tracked

_BETAS = (*(0.5 / 2 ** (k / 2) for k in range(12)), *(2.0**-k for k in range(7, 18)))
_POINTS = (2, 4, 8, 16)
#: Below _LEADING, the leading term in beta dominates an error; below _NOISE / beta, rounding dominates it.
_LEADING, _NOISE = 1e-3, 3e-15


@dataclass(frozen=True, kw_only=True)
class OrdersReport(Report):
    """The error of each nudging as a function of beta.

    Attributes
    ----------
    betas : (betas,)
        Nudging factors.
    errors : dict of (betas,)
        Largest error of the gradient for each nudging, relative to the largest entry of the gradient.
    slopes : dict of float
        Orders d log(error) / d log(beta) at the two smallest betas whose error is above rounding: 1 for
        one-sided, 2 for centered, N for N points on a circle. Nudgings with fewer than two such betas are
        omitted.
    radius : float
        Estimate of the radius R within which the fixed point is analytic in beta, from an error of
        (beta / R)^N for N points. NaN if there is no estimate.
    """

    claim: ClassVar[str] = "orders"
    statement: ClassVar[str] = (
        "The bias of EqProp is O(beta) one-sided, O(beta^2) centered, O(beta^N) with N points on a circle "
        "(Laborieux et al. 2021; Laborieux & Zenke 2022)."
    )

    betas: NDArray[np.float64] = field(repr=False)
    errors: dict[str, NDArray[np.float64]] = field(repr=False)
    slopes: dict[str, float]
    radius: float

    def series(self) -> JSON:
        """Return the betas, and the errors and the order of each nudging."""
        errors = {name: e.tolist() for name, e in self.errors.items()}
        return {"beta": self.betas.tolist(), "error": errors, "order": dict(self.slopes)}

    def table(self) -> str:
        """Return the errors of each nudging at each beta as a table of text."""
        names = list(self.errors)
        rows = [f"{'beta':>8}  " + "  ".join(f"{name:>13}" for name in names)]
        rows += [
            f"{beta:8.1e}  " + "  ".join(f"{self.errors[name][k]:13.1e}" for name in names)
            for k, beta in enumerate(self.betas)
        ]
        slopes = [f"{self.slopes[name]:13.2f}" if name in self.slopes else f"{'-':>13}" for name in names]
        return "\n".join([*rows, f"{'order':>8}  " + "  ".join(slopes)])


def orders(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    betas: Sequence[float] = _BETAS,
    points: Sequence[int] = _POINTS,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> OrdersReport:
    """Measure the order in beta of one-sided, centered and holomorphic Equilibrium Propagation.

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`.
    betas : sequence of float
        At least two different, positive nudging factors.
    points : sequence of int
        Numbers of points of `holomorphic` nudging; used only if the model is holomorphic.

    Returns
    -------
    OrdersReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> report = eq.verify.orders(net, [[0.1, 0.5, 0.9, 0.3]], [2])
    >>> report.passed, round(report.slopes["centered"], 1)
    (True, 2.0)
    """
    betas = sorted(set(several(betas, "orders", "betas", of_normal_size)), reverse=True)
    numbers = several(points, "orders", "points", _even)
    require(len(betas) > 1, "orders", "An order needs at least two different, positive betas", betas)
    timed = Timed("orders", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    unknown = {"betas": np.array(betas), "errors": {}, "slopes": {}, "radius": np.nan}
    settings = {"betas": list(betas), "points": numbers}
    return timed.report(
        OrdersReport, problem, settings, lambda rows: _measure(problem, betas, numbers, rows), unknown
    )


def _measure(
    problem: Problem, betas: Sequence[float], numbers: Sequence[int], rows: list[Row]
) -> dict[str, Any]:
    """Append the rows of all rules, and return the other fields of the report."""
    reference = implicit_gradient(problem)
    circles = numbers if problem.model.holomorphic else []
    expected: dict[str, float] = {"one_sided": 1, "centered": 2, **{f"holomorphic {n}": n for n in circles}}
    pairs = [(name, beta) for name in expected for beta in betas]
    found = [
        _error(problem, reference, _rule(name, beta))
        for name, beta in tracked(pairs, lambda pair: f"{pair[0]} at beta = {pair[1]:.3g}")
    ]
    errors = dict(zip(expected, np.reshape(found, (len(expected), len(betas))), strict=True))
    noise = _NOISE / np.array(betas)
    slopes = {name: slope for name, e in errors.items() if (slope := _slope(betas, e, noise)) is not None}
    rows += [_row(name, order, slopes) for name, order in expected.items()]
    radius = _radius(betas, errors, noise, circles)
    rows += _circle_rows(betas, errors, noise, radius)
    return {"betas": np.array(betas), "errors": errors, "slopes": slopes, "radius": radius}


def _even(value: Any, where: str, name: str) -> int:
    """Return a number of points of `holomorphic` nudging."""
    number = whole(value, where, name, 2, 4096)
    require(number % 2 == 0, where, f"{name} is even", value)
    return number


def _row(name: str, order: float, slopes: dict[str, float]) -> Row:
    label = f"order of {name}"
    if name not in slopes and name.startswith("holomorphic"):
        return Row(label, np.nan, note="below rounding")
    return Row(label, slopes.get(name, np.nan), order - 0.1, order + 0.1)


def _circle_rows(
    betas: Sequence[float], errors: dict[str, NDArray[np.float64]], noise: NDArray[np.float64], radius: float
) -> list[Row]:
    """Return the rows on the radius of convergence, and on two points compared with the centered rule."""
    rows = []
    if np.isfinite(radius):
        rows.append(Row("radius of convergence in beta", radius, note="estimated"))
    if "holomorphic 2" in errors:
        with np.errstate(invalid="ignore"):  # a phase that does not converge has an infinite error
            gaps = np.abs(errors["holomorphic 2"] - errors["centered"])[np.array(betas) < radius]
        gap = float(gaps.max(initial=0))
        rows.append(Row("two points equal the centered rule", gap, high=float(noise.max())))
    return rows


def _rule(name: str, beta: float) -> Nudging:
    if name == "one_sided":
        return one_sided(beta)
    return centered(beta) if name == "centered" else holomorphic(beta, int(name.split()[1]))


def _error(problem: Problem, reference: NDArray[np.float64], rule: Nudging) -> float:
    """Return the error of a rule with phases relaxed to rounding; infinity if one did not converge."""
    try:
        result = problem.nudged(rule)
    except ValueError:  # beta is so negative that the energy of a block has no minimum
        return np.inf
    if not result.converged:
        return np.inf
    twice = 2 * int(result.iterations.max())  # at a linear rate, twice the steps square the residual
    result = problem.nudged(rule, replace(problem.solver, tolerance=0.0, max_iterations=twice))
    return relative_error(result.parameters, reference)


def _slope(betas: Sequence[float], errors: NDArray[np.float64], noise: NDArray[np.float64]) -> float | None:
    """Return the order between the two smallest betas whose error is above rounding, or None."""
    usable = np.flatnonzero((errors > 100 * noise) & (errors < _LEADING))[-2:]
    if len(usable) < 2:
        return None
    (a, b), log = usable, np.log
    return float((log(errors[a]) - log(errors[b])) / (log(betas[a]) - log(betas[b])))


def _radius(
    betas: Sequence[float],
    errors: dict[str, NDArray[np.float64]],
    noise: NDArray[np.float64],
    circles: Sequence[int],
) -> float:
    """Return R = beta (e_N / e_2N)^(1 / N), since e_N = (beta / R)^N, at the largest usable beta."""
    for n in sorted(circles, reverse=True):
        if 2 * n not in circles:
            continue
        few, many = errors[f"holomorphic {n}"], errors[f"holomorphic {2 * n}"]
        usable = np.flatnonzero((many > 100 * noise) & (few < _LEADING) & (many < few))
        if len(usable):
            k = usable[0]
            return float(betas[k] * (few[k] / many[k]) ** (1 / n))
    return float("nan")
