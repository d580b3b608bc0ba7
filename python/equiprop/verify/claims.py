"""The table of claims, with the name, the function and the scope of each claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from equiprop.couplings import MaxPooled
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
from equiprop.verify.traces import traces
from equiprop.verify.unconverged import unconverged
from equiprop.verify.verdict import Report

Applies = Callable[[Problem], "str | None"]


@dataclass(frozen=True)
class Claim:
    """A claim of the theory.

    Attributes
    ----------
    check : callable
        Function of a `Problem` that returns a report.
    settings : mapping of str to value
        Arguments of `check`.
    excluded : callable
        Function of a `Problem` that returns the reason why the claim does not apply, or None if it applies.
    """

    check: Callable[..., Report]
    settings: Mapping[str, Any] = field(default_factory=dict)
    excluded: Applies = lambda _: None


def _without_energy(problem: Problem) -> str | None:
    return None if problem.model.conservative else "the model has no energy"


def _with_maxima(problem: Problem) -> str | None:
    model = problem.model
    if isinstance(model, HopfieldNetwork) and any(isinstance(c, MaxPooled) for c in model.couplings):
        return "differences cross the kinks of maxima over windows"
    return None


def _with_kinks(problem: Problem) -> str | None:
    if _with_maxima(problem):
        return "maxima over windows have no expansion in beta"
    if isinstance(problem.model, HopfieldNetwork) and not problem.model.holomorphic:
        return "activations with kinks have no expansion in beta (see the claim bounded)"
    return _without_energy(problem)


def _with_held_units(problem: Problem) -> str | None:
    return None if problem.free_units.all() else "some units are held by a bound"


def _without_held_units(problem: Problem) -> str | None:
    return "no unit is held by a bound" if problem.free_units.all() else None


def _not_asymmetric(problem: Problem) -> str | None:
    if isinstance(problem.model, HopfieldNetwork) or not problem.model.conservative:
        return None
    return "the model has no couplings that could be made asymmetric"


#: Every claim, in the order of a certificate.
CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        "derivatives": Claim(derivatives, excluded=_with_maxima),
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

#: The claims that `replay` repeats: those of a model, and that on recordings, which are among its settings.
REPEATED: Mapping[str, Claim] = MappingProxyType({**CLAIMS, "traces": Claim(traces)})
