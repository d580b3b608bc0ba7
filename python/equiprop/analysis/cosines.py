"""Cosines between gradients of Equilibrium Propagation and the exact gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_choice, of_normal_size, require, several
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, exact_limit, holomorphic, one_sided
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.reference import implicit_gradient

#: Points of `holomorphic` nudging.
_POINTS = 8
_RULES: Mapping[str, Callable[[float], Nudging]] = {
    "one_sided": one_sided,
    "centered": centered,
    "holomorphic": lambda beta: holomorphic(beta, _POINTS),
    "exact_limit": lambda _: exact_limit(),
}
#: Name of all parameters together.
ALL = "all parameters"


@dataclass(frozen=True)
class GradientCosines:
    """Cosines between the gradients of EqProp and of RBP, by rule, block of parameters and beta.

    Attributes
    ----------
    betas : (betas,)
        Nudging factors, in descending order.
    gaps : dict of dict of (betas,)
        1 - cosine of each rule and each block, computed without cancellation: |g / |g| - h / |h||^2 / 2. NaN
        where a phase did not converge or a gradient is 0. The key of all parameters is "all parameters".
    """

    betas: NDArray[np.float64]
    gaps: Mapping[str, Mapping[str, NDArray[np.float64]]]

    @property
    def cosines(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """The cosine of each rule and each block, (betas,); 1 if the gradients have one direction."""
        return {rule: {name: 1 - gap for name, gap in of.items()} for rule, of in self.gaps.items()}


def gradient_cosines(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    rules: Sequence[str] = ("one_sided", "centered", "exact_limit"),
    betas: Sequence[float] = (0.5, 0.2, 0.1, 0.03, 0.01, 0.003, 0.001),
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
) -> GradientCosines:
    r"""Compare the direction of gradients of EqProp with that of RBP, for each block of parameters.

    .. math:: \cos = \frac{\langle \hat g, g \rangle}{|\hat g| \, |g|}, \quad g = dJ/d\theta

    g is computed by implicit differentiation, the fixed points to a residual of 1e-14.

    Parameters
    ----------
    model, x, y, cost, solver
        See `equiprop.verify.equivalence`.
    rules : sequence of {"one_sided", "centered", "holomorphic", "exact_limit"}
        Nudgings; `holomorphic` has 8 points and needs a holomorphic model, `exact_limit` has no beta.
    betas : sequence of float
        Positive nudging factors.

    Returns
    -------
    GradientCosines

    Raises
    ------
    ValueError, TypeError
        If an argument has a wrong type or shape, or is out of range.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> found = eq.analysis.gradient_cosines(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=[0.1])
    >>> bool(found.cosines["centered"]["W1"][0] > 0.999)
    True
    """
    where = "gradient_cosines"
    names = several(rules, where, "rules", _rule)
    steps = sorted(set(several(betas, where, "betas", of_normal_size)), reverse=True)
    require(bool(names and steps), where, "There is at least one rule and one beta", f"{rules}, {betas}")
    problem = prepare(where, model, x, y, cost, solver)
    if "holomorphic" in names:
        require(problem.model.holomorphic, where, "'holomorphic' needs a holomorphic model", problem.model)
    reference = implicit_gradient(problem)
    gaps = {name: _gaps(problem, _RULES[name], steps, reference) for name in names}
    return GradientCosines(np.array(steps), gaps)


def _rule(value: Any, where: str, name: str) -> str:
    check_choice(value, where, name, *_RULES)
    return str(value)


def _gaps(
    problem: Problem, rule: Callable[[float], Nudging], betas: Sequence[float], reference: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return 1 - cosine for each block and each beta."""
    blocks = {**problem.model.block_slices, ALL: slice(None)}
    gradients = [_gradient(problem, rule(beta)) for beta in betas]
    return {
        name: np.array([_gap(gradient[where], reference[where]) for gradient in gradients])
        for name, where in blocks.items()
    }


def _gradient(problem: Problem, rule: Nudging) -> NDArray[np.float64]:
    """Return the gradient of a rule; NaN if a phase did not converge."""
    try:
        result = problem.nudged(rule)
    except ValueError:  # beta is so negative that the energy of a block has no minimum
        return np.full(len(problem.model.parameters), np.nan)
    return result.parameters if result.converged else np.full(len(result.parameters), np.nan)


def _gap(g: NDArray[np.float64], h: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(g)), float(np.linalg.norm(h))
    if not all(0 < length < np.inf for length in lengths):
        return float("nan")
    return float(np.sum((g / lengths[0] - h / lengths[1]) ** 2) / 2)
