"""The claim on asymmetric couplings: the error of Equilibrium Propagation, and the term that removes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from equiprop.checks import real, require, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.couplings import is_lateral
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.nudging import exact_limit
from equiprop.solvers import FreeSolver
from equiprop.verify.equivalence import equivalence
from equiprop.verify.problem import Problem, at_rest
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.spectrum import symmetry
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

_TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class AsymmetryReport(Report):
    """Errors of EqProp for increasing asymmetry, without and with the antisymmetric term."""

    claim: ClassVar[str] = "asymmetry"
    statement: ClassVar[str] = (
        "With asymmetric couplings EqProp has an error of first order in |A - A^T| (Scellier et al. 2018); "
        "with the term -(A - A^T)(s - s*) in the nudged dynamics it is exact (Scurria et al. 2026)."
    )


def asymmetry(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    deltas: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1),
    seed: int = 0,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> AsymmetryReport:
    """Measure the error of EqProp with asymmetric feedback, without and with the antisymmetric term.

    For a network with tied weights, the function measures copies with feedback weights W (1 + delta noise),
    where the noise is uniform in [-1, 1]; so are the weights within a layer, which then are not symmetric. A
    vector field is measured without noise.

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`; the model is a HopfieldNetwork or a vector field.
    deltas : sequence of float
        Relative sizes of the noise; the order of the error comes from the two smallest ones.
    seed : int
        Seed of the noise.

    Returns
    -------
    AsymmetryReport

    Raises
    ------
    ValueError
        If the model is an `Energy`, whose couplings are not known.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 5, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.asymmetry(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    sizes = several(deltas, "asymmetry", "deltas", _noise)
    seed = whole(seed, "asymmetry", "seed", 0, 2**64 - 1)
    timed = Timed("asymmetry", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    base = problem.model
    if base.conservative and not isinstance(base, HopfieldNetwork):
        raise ValueError(
            f"[asymmetry] The model is a HopfieldNetwork or a vector field. Received {type(base).__name__}."
        )
    settings = {"deltas": sizes, "seed": seed}
    return timed.report(AsymmetryReport, problem, settings, lambda rows: _check(problem, sizes, seed, rows))


def _check(problem: Problem, sizes: Sequence[float], seed: int, rows: list[Row]) -> dict[str, Any]:
    """Append the rows of a vector field, or those of a network for each size of the noise."""
    base = problem.model
    if not isinstance(base, HopfieldNetwork) or not base.conservative:
        rows += _measure(problem, "")[0]
        return {}
    curve: list[tuple[float, float]] = []
    for delta in tracked(sorted(set(sizes)), lambda delta: f"delta = {delta:g}"):
        noisy = _with_noise(base, delta, seed)
        field = at_rest("asymmetry", noisy, problem.x, problem.y, problem.cost)
        more, figures = _measure(field, f", delta = {delta:g}")
        rows += more
        curve.append(figures)
    rows += _order(curve)
    return {}


def _noise(value: Any, where: str, name: str) -> float:
    """Return a size of relative noise, in [0, 1]."""
    delta = real(value, where, name)
    require(0 <= delta <= 1, where, f"{name} lies in [0, 1]", value)
    return delta


def _order(curve: Sequence[tuple[float, float]]) -> list[Row]:
    """Return a row with the order of the error at the two smallest asymmetries, if there are two."""
    if len(curve) < 2 or not all(size > 0 for size, _ in curve[:2]):
        return []
    (s0, e0), (s1, e1) = curve[:2]
    return [Row("order of the error in |A - A^T|", float(np.log(e1 / e0) / np.log(s1 / s0)), 0.9, 1.1)]


def _with_noise(base: HopfieldNetwork, delta: float, seed: int) -> HopfieldNetwork:
    noisy, random = base.variant(feedback="separate"), np.random.default_rng(seed)
    within = {f"W{i}" for i, coupling in enumerate(base.couplings, start=1) if is_lateral(coupling)}
    for name, block in noisy.blocks.items():
        if name.startswith("B") or name in within:
            block *= 1 + delta * random.uniform(-1, 1, block.shape)
    return noisy


def _measure(problem: Problem, suffix: str) -> tuple[list[Row], tuple[float, float]]:
    """Return the rows of one vector field, and its asymmetry with the error of EqProp without the term."""
    size = symmetry(problem.energy, problem.state, problem.model.layer_slices).asymmetry
    reference = implicit_gradient(problem)
    plain, repaired = (_error(problem, reference, symmetrize) for symmetrize in (False, True))
    theorem = equivalence(problem, steps=100, symmetrize=True)
    return [
        Row(f"|A - A^T| / |A|{suffix}", size),
        Row(f"error of plain EqProp{suffix}", plain),
        Row(f"error with the antisymmetric term{suffix}", repaired, high=_TOLERANCE),
        Row(f"theorem with the term, every step{suffix}", theorem.max_relative_error, high=theorem.tolerance),
    ], (size, plain)


def _error(problem: Problem, reference: Any, symmetrize: bool) -> float:
    result = problem.nudged(exact_limit(), symmetrize=symmetrize)
    return relative_error(result.parameters, reference)
