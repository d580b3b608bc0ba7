"""Complex steps of the functions of a model, compared with differences of real states."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.energies import OwnModel
from equiprop.model_interface import Model
from equiprop.verify.confidence import certain
from equiprop.verify.relation import figures

_Floats = NDArray[np.float64]
Function = Callable[[Any, Any], Any]

#: A complex step has no truncation and no cancellation error.
COMPLEX_STEP = 1e-100
#: Steps of five-point differences, at which the truncation of a smooth function is below rounding.
_STEPS = (1.6e-5, 4e-6)
#: Errors of differences: a multiple of the change between both steps, and of the numbers that cancel. The
#: multiple is large, because differences across a break narrower than both steps change less than they err.
_MARGIN, _ROUNDING, _LEAST = 100.0, 1e-14, 1e-9
#: Entries whose differences have a larger relative error are not judged.
_INEXACT = 1e-3
#: For each function, the derivative that replaces its complex step, and the row that passes if it is right.
_CURES = {
    "energy": ("parameter_gradient", "gradient = dE/ds"),
    "gradient": ("hessian_vector_product", "gradient = dE/ds"),
    "velocity": ("jacobian_vector_product and parameter_vector_product", ""),
    "parameter_gradient": ("mixed_derivative_product", "parameter_gradient = dE/dtheta"),
}


@dataclass(frozen=True)
class ComplexError:
    """The entry of a derivative by a complex step that differs most, in units of the error of differences.

    Attributes
    ----------
    error, limit : float
        Difference and the error of the differences there, relative to the largest entry.
    at : int
        Flat index of the entry.
    value, expected : float
        The derivative by a complex step, and that by differences.
    """

    error: float
    limit: float
    at: int
    value: float
    expected: float


def complex_functions(model: Model) -> dict[str, Function]:
    """Return the functions of energy and state that a user's model evaluates at complex states, by name."""
    if not (isinstance(model, OwnModel) and model.accepts_complex):
        return {}
    if not model.conservative:
        return {"velocity": lambda e, s: e.gradient(s)}
    functions: dict[str, Function] = {
        "energy": lambda e, s: e.energy(s),
        "gradient": lambda e, s: e.gradient(s),
    }
    if model.holomorphic:
        functions["parameter_gradient"] = lambda e, s: e.parameter_gradient(s)
    return functions


def complex_errors(
    model: Model, x: _Floats, state: _Floats, v: _Floats
) -> Iterator[tuple[str, ComplexError | None]]:
    """Compare the derivatives along v by a complex step with differences, for each function.

    Yields
    ------
    (str, ComplexError or None)
        Name of the function; None if its differences are too inexact to judge any entry.
    """
    for name, function in complex_functions(model).items():
        image = function(model.clamp_complex(x), state + 1j * COMPLEX_STEP * v)
        yield name, _compared(np.asarray(image.imag) / COMPLEX_STEP, function, model.clamp(x), state, v)


def _compared(value: _Floats, function: Function, energy: Any, s: _Floats, v: _Floats) -> ComplexError | None:
    """Compare a derivative with differences, entry by entry, as exactly as the differences are."""
    with np.errstate(all="ignore"):  # a step may leave the domain of the function
        images = [_at_steps(function, energy, s, step * v, value) for step in _STEPS]
        other, slope = (five_points(four, step).ravel() for four, step in zip(images, _STEPS, strict=True))
        changes = np.abs(slope - other)
    scale = float(np.abs(slope[np.isfinite(slope)]).max(initial=0.0)) or 1.0
    cancelled = np.max(np.abs(images[-1]), axis=0).ravel()
    # Two differences may agree by chance, but not most of the entries.
    finite = changes[np.isfinite(changes)]
    error = np.maximum(changes, np.median(finite)) if len(finite) else changes
    limits = _MARGIN * error + _ROUNDING * cancelled / _STEPS[-1] + _LEAST * scale
    judged = np.flatnonzero(limits <= _INEXACT * scale)
    if not len(judged):
        return None
    gaps = np.where(np.isfinite(value.ravel()), np.abs(value.ravel() - slope), np.inf)
    at = int(judged[(gaps / limits)[judged].argmax()])
    return ComplexError(
        float(gaps[at]) / scale, float(limits[at]) / scale, at, float(value.flat[at]), float(slope[at])
    )


def _at_steps(function: Function, energy: Any, s: _Floats, step: _Floats, like: _Floats) -> list[_Floats]:
    """Return a function at -2, -1, 1, 2 steps; NaN, in the shape of `like`, if it refuses a state."""
    try:
        return [function(energy, s + k * step) for k in (-2, -1, 1, 2)]
    except Exception:  # a user's function may raise anything outside of its domain
        return [np.full(like.shape, np.nan)] * 4


def of_complex_states(name: str, found: ComplexError, passed: Container[str]) -> str:
    """Return the sentence on a function that is wrong at complex states.

    Parameters
    ----------
    name : str
    found : ComplexError
    passed : container of str
        Labels of the rows that passed, which tell whether the function is right at real states.
    """
    cure, line = _CURES[name]
    begin = "right at real states, and wrong at complex ones" if line in passed else "wrong at complex states"
    value, expected = figures(found.value, found.expected)
    return certain(
        f"{name} is {begin}: the derivative by a complex step is {value}, and that by differences of real "
        f"states is {expected}. Use functions that accept complex numbers (no real, conj, abs or math.tanh, "
        f"no branch on the type), or implement {cure} and set accepts_complex = False."
    )


def five_points(values: Sequence[Any], step: float) -> _Floats:
    """Return the derivative from values at -2, -1, 1, 2 steps, to fourth order; NaN if one is not finite."""
    far_below, below, above, far_above = values
    with np.errstate(invalid="ignore"):
        return np.asarray((far_below - far_above + 8 * (above - below)) / (12 * step))
