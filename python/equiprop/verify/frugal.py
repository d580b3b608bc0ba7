"""Settings that limit the work of checks of large models in Python."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from equiprop.energies import OwnModel
from equiprop.verify.directions import by_complex_steps, original
from equiprop.verify.problem import Problem

#: Largest number of floating-point numbers that a derivative by parameters may touch with full settings.
_CHEAP = 100_000
#: Betas in pairs for the orders 1 (the last three) and 2.
_BETAS = (2.0**-4, 2.0**-7, 2.0**-10, 2.0**-13, 2.0**-15, 2.0**-17)
_FRUGAL: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "derivatives": {"max_parameters": 40},
        "equality": {"steps": 30},
        "runge-kutta": {"steps": 10},
        "orders": {"betas": _BETAS, "points": ()},
        "surrogate": {"max_differences": 1},
        "discrete-time": {"steps": 8},
        "gradients": {"betas": (1e-3,), "max_differences": 4},
        "unconverged": {"steps": (20, 80)},
        "projected-cost": {"steps": (0, 1, 5, 20), "max_differences": 6},
    }
)


def frugal(problem: Problem) -> Mapping[str, Mapping[str, Any]]:
    """Return settings of claims with fewer steps, betas and differences for a model that is large and slow.

    A model of the library is never slow. For a model in Python the measure is the number of floating-point
    numbers that one derivative by the parameters touches: all parameters and units, once if the model
    computes that derivative, and once for each parameter or direction if complex steps do.
    """
    model = problem.model
    if not isinstance(model, OwnModel):
        return {}
    evaluations = len(model.parameters) if by_complex_steps(model) else 1
    work = evaluations * (len(original(model).parameters) + problem.state.size)
    return _FRUGAL if work > _CHEAP else {}
