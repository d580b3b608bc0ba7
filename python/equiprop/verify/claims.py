"""The table of claims: the name, the function and the scope of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from equiprop.models import HopfieldNetwork
from equiprop.verify.asymmetry import asymmetry
from equiprop.verify.bounded import bounded
from equiprop.verify.derivatives import derivatives
from equiprop.verify.discrete_time import discrete_time
from equiprop.verify.equivalence import equivalence
from equiprop.verify.gradients import gradients
from equiprop.verify.limit import limit
from equiprop.verify.orders import orders
from equiprop.verify.problem import Problem
from equiprop.verify.projected_cost import projected_cost
from equiprop.verify.surrogate import surrogate
from equiprop.verify.unconverged import unconverged
from equiprop.verify.verdict import Report

Applies = Callable[[Problem], "str | None"]


@dataclass(frozen=True)
class Claim:
    """A claim: its function, settings, and a function that says why it does not apply to a problem."""

    check: Callable[..., Report]
    settings: Mapping[str, Any] = field(default_factory=dict)
    excluded: Applies = lambda _: None


def _without_energy(problem: Problem) -> str | None:
    return None if problem.model.conservative else "the model has no energy"


def _with_kinks(problem: Problem) -> str | None:
    if isinstance(problem.model, HopfieldNetwork) and not problem.model.holomorphic:
        return "kinks allow no expansion in beta; see bounded"
    return _without_energy(problem)


def _with_held_units(problem: Problem) -> str | None:
    return None if problem.free_units.all() else "a bound holds some units"


def _without_held_units(problem: Problem) -> str | None:
    return "no bound holds a unit" if problem.free_units.all() else None


def _not_asymmetric(problem: Problem) -> str | None:
    if isinstance(problem.model, HopfieldNetwork) or not problem.model.conservative:
        return None
    return "the model has no couplings that could be made asymmetric"


#: Every claim, in the order of a certificate.
CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        "derivatives": Claim(derivatives),
        "equality": Claim(equivalence),
        "runge-kutta": Claim(equivalence, {"integrator": "runge-kutta"}, _with_held_units),
        "limit": Claim(limit),
        "orders": Claim(orders, excluded=_with_kinks),
        "surrogate": Claim(surrogate, excluded=_without_energy),
        "discrete-time": Claim(discrete_time, excluded=_without_energy),
        "gradients": Claim(gradients),
        "bounded": Claim(bounded, excluded=_without_held_units),
        "asymmetry": Claim(asymmetry, excluded=_not_asymmetric),
        "unconverged": Claim(unconverged, excluded=_without_energy),
        "projected-cost": Claim(projected_cost),
    }
)
