"""The claim that every derivative which a model supplies is the derivative of its other functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import as_states
from equiprop.checks import require, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.results import Status
from equiprop.verify.derivative_checks import DerivativeChecks, interior_state
from equiprop.verify.directions import along_directions
from equiprop.verify.model_parts import in_double
from equiprop.verify.problem import Problem, at_rest
from equiprop.verify.timed import Timed, Work
from equiprop.verify.verdict import Report, Row

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DerivativesReport(Report):
    """One row for each derivative; the advice names wrong entries and the kind of their error."""

    claim: ClassVar[str] = "derivatives"
    statement: ClassVar[str] = (
        "Every derivative of the model is that of the function it belongs to; the Hessian is symmetric; a "
        "batch gives the results of its samples; every parameter has an effect."
    )

    @property
    def passed(self) -> bool:
        """True if every row is within its limits and nothing was left out.

        The free phase need not converge, but it must not diverge, unless the caller gave a state.
        """
        return self.within_limits and not self.left_out


def derivatives(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    state: Any = None,
    cost: Cost = SquaredError(),  # noqa: B008
    max_parameters: int = 200,
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool = False,
) -> DerivativesReport:
    """Check every derivative that a model supplies at a random state, and name those that are wrong.

    The function compares the gradient with the energy, hessian_vector_product with the gradient,
    parameter_gradient with the energy, and mixed_derivative_product with both. The Hessian must be symmetric,
    each sample must give equal results alone and in a batch, and every parameter must have an effect. A
    user's gradient is also compared with the energy far from the fixed point, and complex steps of a user's
    functions with differences of real states. No method may change the parameters, and the free phase must
    not diverge unless `state` is given. For a vector field, the velocity takes the place of the gradient. The
    reference is a complex step if the model accepts complex states, with a limit of 1e-12; otherwise
    five-point differences, with a limit of 1e-9.

    Parameters
    ----------
    model : HopfieldNetwork, Energy, VectorField, or a prepared Problem
    x : (batch, inputs) array, optional
        By default random numbers.
    y : not used
    state : (batch, units) array, optional
        State at which the derivatives are checked; by default one near the fixed point.
    max_parameters : int
        Largest number of parameters for which differences are computed; they are spread over all.
    seed : int
        Seed of the random input, state and directions.
    time_limit, progress
        See `equivalence`.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or x is missing and the model has no `num_inputs`.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.verify.derivatives(eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")).passed
    True
    """
    seed = whole(seed, "derivatives", "seed", 0)
    random = np.random.default_rng(seed)
    max_parameters = whole(max_parameters, "derivatives", "max_parameters", 1)
    timed = Timed("derivatives", time_limit, progress)
    with timed.begun():
        problem = _prepare(model, x, y, cost, seed)
    state = None if state is None else _checked_state(state, problem)
    at = interior_state(problem, random) if state is None else state
    settings = {"state": state, "max_parameters": max_parameters, "seed": seed}
    return timed.report(DerivativesReport, problem, settings, _work(problem, at, settings, random))


def _work(problem: Problem, at: _Floats, settings: Mapping[str, Any], random: np.random.Generator) -> Work:
    """Return the check at the state `at`, which fails if samples diverged and the caller gave no state."""
    diverged = int((problem.free.status == Status.DIVERGED).sum()) if settings["state"] is None else 0

    def check(rows: list[Row]) -> dict[str, Any]:
        if diverged:
            rows.append(Row("samples whose free phase diverged", float(diverged), high=0.0))
        checks = DerivativeChecks(problem, at, settings["max_parameters"], random, rows)
        checks.run(np.random.default_rng([settings["seed"], 2]))
        return {"advice": tuple(checks.advice)}

    return check


def _checked_state(state: Any, problem: Problem) -> _Floats:
    state = as_states(state, problem.model.num_units, np.dtype(np.float64), "derivatives", "state")
    rule = "dE/ds is finite at `state`, for example inside of the bounds of all units"
    finite = bool(np.isfinite(problem.energy.gradient(state)).all())
    require(finite, "derivatives", rule, "a state where it is not")
    return np.asarray(state)


def _prepare(model: Model | Problem, x: Any, y: Any, cost: Cost, seed: int) -> Problem:
    """Return the problem, with random numbers for an input and zeros for targets that are missing."""
    if isinstance(model, Problem):
        return model
    model = along_directions(in_double(model))
    x = model.as_input(_invented(model, np.random.default_rng([seed, 1])) if x is None else x, "derivatives")
    y = np.zeros((len(x), model.num_outputs)) if y is None else y
    return at_rest("derivatives", model, x, y, cost)


def _invented(model: Model, random: np.random.Generator) -> _Floats:
    inputs = getattr(model, "num_inputs", None)
    if inputs is None:
        raise ValueError("[derivatives] An input x, or a model with num_inputs, is needed. Received neither.")
    return random.uniform(size=(3, inputs))
