"""The search for causes inside a model that make figures wrong, by evaluations of its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.energies import Energy
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.verify.cause_sentences import (
    DOUBLE,
    Cause,
    Coupled,
    of_arguments,
    of_break,
    of_coupling,
    of_precision,
    of_values,
    of_variation,
)
from equiprop.verify.model_parts import kept_parameters
from equiprop.verify.own_methods import PARAMETERS, changed_arrays, not_finite
from equiprop.verify.repeats import Variation, variation
from equiprop.verify.roughness import Break, largest_break, roughness

_Floats = NDArray[np.float64]
Function = Callable[[Any, _Floats], _Floats]

#: Number of lines on which smoothness is examined, and of states at which precision is examined.
_LINES, _STATES = 3, 5
#: Lines end within this multiple of the span, and the span is halved at most so many times.
_LINE_END, _HALVINGS = 1.5, 8
#: A relative difference between a batch and its samples that is more than a different order of a sum.
_COUPLED = 1e-10
#: Larger states have diverged; the functions are not examined there.
_FAR = 1e6


def find_causes(model: Model, x: _Floats, state: _Floats) -> tuple[Cause, ...]:
    """Examine the functions of a model, and return causes of wrong figures, the most basic ones first.

    The order is: changed parameters, values, repeats, changed arguments, precision, batches, smoothness.

    Breaks are not looked for in functions with noise or low precision, where each rounding is a jump. Only
    repeats are examined for a `HopfieldNetwork`, whose functions are those of the library.

    Parameters
    ----------
    model : Model
    x : (batch, inputs)
    state : (batch, units)
        A state; the functions are examined near it and far from it.
    """
    # Far from a fixed point the functions of a user may overflow, and they may change the parameters.
    with np.errstate(all="ignore"), kept_parameters(model):
        probe = _Probe(model, x.copy(), np.where(np.abs(state) < _FAR, state, model.initial_state(len(x))))
        if isinstance(model, HopfieldNetwork):
            return tuple(probe.repeats())
        first = (*probe.arguments(parameters=True), *probe.values(), *probe.repeats())
        others = (*probe.arguments(parameters=False), *probe.precision())
        return (*first, *others, *probe.coupling(), *probe.smoothness())


class _Probe:
    """Evaluates the functions of a model at states near and far from a fixed point."""

    def __init__(self, model: Model, x: _Floats, state: _Floats) -> None:
        self.model, self.x, self.state = model, x, state
        self.energy = model.clamp(x)
        self.random = np.random.default_rng(0)
        span = max(1.0, 2 * float(np.abs(state).max(initial=0.0)))
        #: The arrays that each method changes; after each call the parameters are restored if some do.
        self.changed = changed_arrays(model, x, state + 0.1 * span)
        self.restored = any(PARAMETERS in names for names in self.changed.values())
        values = {name: function(self.energy, state) for name, function in self._functions().items()}
        #: Sentences on the functions that are not finite at the given state, which are not examined further.
        self.broken = {name: text for name in values if (text := not_finite(model, name, values[name]))}
        self.functions = {n: f for n, f in self._functions().items() if n not in self.broken}
        self.span = self._reach(span)
        self.floors: dict[str, float] = {}  # noise and rounding errors of each function
        self.rough: set[str] = set()  # functions with noise or low precision

    def _functions(self) -> dict[str, Function]:
        """Return the functions of energy and state that the model defines itself, by name."""
        gradient = "gradient" if self.model.conservative else "velocity"
        functions: dict[str, Function] = {gradient: lambda e, s: e.gradient(s)}
        if self.model.conservative:
            functions["energy"] = lambda e, s: e.energy(s)[:, None]
        model = self.model
        steps = isinstance(model, Energy) and type(model).parameter_gradient is Energy.parameter_gradient
        if model.conservative and not steps:
            functions["parameter_gradient"] = lambda e, s: e.parameter_gradient(s)
        return {name: self._restoring(f) for name, f in functions.items()} if self.restored else functions

    def _restoring(self, function: Function) -> Function:
        """Return a function that restores the parameters after each call."""

        def restoring(energy: Any, state: _Floats) -> _Floats:
            with kept_parameters(self.model):
                return function(energy, state)

        return restoring

    def _reach(self, span: float) -> float:
        """Return the span, or a part of it within which all functions are defined and finite."""
        for part in 0.5 ** np.arange(_HALVINGS):
            corner = _LINE_END * part * span * self.random.choice([-1.0, 1.0], self.state.shape)
            if all(self._defined(self.state + sign * corner) for sign in (1, -1)):
                return float(part * span)
        return float(span * 0.5**_HALVINGS)

    def _defined(self, state: _Floats) -> bool:
        try:
            values = [f(self.energy, np.ascontiguousarray(state)) for f in self.functions.values()]
        except Exception:  # a user's function may refuse a state
            return False
        return all(np.isfinite(value).all() for value in values)

    def elsewhere(self) -> _Floats:
        """Return a random state around the given one."""
        return np.ascontiguousarray(
            self.state + 0.5 * self.span * self.random.uniform(-1, 1, self.state.shape)
        )

    def repeats(self) -> Iterator[Cause]:
        """Yield a cause for the function with the largest differences between equal calls."""
        found: dict[str, Variation] = {}
        state, other = self.elsewhere(), self.elsewhere()
        for name, function in self.functions.items():
            differs = variation(
                lambda f=function: f(self.energy, state),  # type: ignore[misc]
                lambda f=function: f(self.energy, other),  # type: ignore[misc]
            )
            if differs:
                found[name] = differs
                self.floors[name] = differs.size
                self.rough.add(name)
        if found:
            yield of_variation(found)

    def arguments(self, parameters: bool) -> Iterator[Cause]:
        """Yield a cause for each method that writes into the parameters, or only into its arguments."""
        for name, changed in self.changed.items():
            if (PARAMETERS in changed) == parameters:
                yield of_arguments(name, changed)

    def values(self) -> Iterator[Cause]:
        """Yield a cause for the first function that is not finite at the given state."""
        yield from (of_values(text) for text in list(self.broken.values())[:1])

    def precision(self) -> Iterator[Cause]:
        """Yield a cause if a function has larger rounding errors than double precision."""
        found = {}
        for name, function in self.functions.items():
            if name in self.floors:
                continue
            errors, scale = [], 0.0
            for _ in range(_STATES):
                base, direction = self.elsewhere(), self.random.uniform(-1, 1, self.state.shape)
                scale = max(scale, float(np.abs(function(self.energy, base)).max(initial=0.0)))
                errors.append(
                    roughness(lambda t, f=function, s=base, d=direction: f(self.energy, s + t * d))  # type: ignore[misc]
                )
            error = float(np.median(errors))
            found[name] = error, error / (scale or 1.0)
        self.rough |= {name for name, errors in found.items() if errors[1] > DOUBLE}
        self.floors |= {name: error for name, (error, _) in found.items()}
        cause = of_precision(found)
        if cause:
            yield cause

    def coupling(self) -> Iterator[Cause]:
        """Yield a cause if a sample's results alone differ from those in the batch."""
        if len(self.x) < 2:
            return
        state, found = self.elsewhere(), {}
        for name, function in self.functions.items():
            together = function(self.energy, state)
            alone = [
                function(self.model.clamp(self.x[j : j + 1]), state[j : j + 1]) for j in range(len(self.x))
            ]
            summed = name == "parameter_gradient"
            expected = np.sum(alone, axis=0) if summed else np.concatenate(alone)
            scale = float(np.abs(together).max(initial=0.0)) or 1.0
            limit = max(_COUPLED * scale, 100 * self.floors[name])
            if float(np.abs(together - expected).max(initial=0.0)) > limit:  # not if a value is not finite
                gap = self._interaction(function, state) if summed else self._effect_of_mates(function, state)
                found[name] = Coupled(together, expected, len(self.x), mates=gap > limit)
        yield from of_coupling(found)

    def _effect_of_mates(self, function: Function, state: _Floats) -> float:
        """Return how much the value of a sample changes if all others of its batch become equal to it."""
        together, gap = function(self.energy, state), 0.0
        for j in range(len(state)):
            alike = np.full(len(state), j)
            values = function(self.model.clamp(self.x[alike]), state[alike])
            gap = max(gap, float(np.abs(values[j] - together[j]).max()))
        return gap

    def _interaction(self, function: Function, state: _Floats) -> float:
        """Return the largest second difference by a sample and by all others, which is 0 for a sum."""
        (x, s), (other_x, other_s) = (self.x, state), (np.roll(self.x, 1, axis=0), self.elsewhere())
        gap = 0.0
        for j in range(len(s)):
            one = (np.arange(len(s)) == j)[:, None]
            second = np.zeros(0)
            for changed, sign in ((one & False, 1), (one, -1), (~one, -1), (one | True, 1)):
                clamped = self.model.clamp(np.where(changed, other_x, x))
                value = sign * function(clamped, np.where(changed, other_s, s))
                second = second + value if second.size else value
            gap = max(gap, float(np.abs(second).max(initial=0.0)))
        return gap

    def smoothness(self) -> Iterator[Cause]:
        """Yield a cause if energy or gradient jumps, or the gradient has a kink, on some lines."""
        for name, function in self.functions.items():
            if name == "parameter_gradient" or name in self.rough:
                continue
            found = self._break(function, self.floors[name])
            if found is not None and (name != "energy" or found[0].jumps):
                yield of_break(name, self.model, *found)

    def _break(self, function: Function, floor: float) -> tuple[Break, _Floats] | None:
        """Return the largest break on some lines, with the state at it."""
        best: tuple[Break, _Floats] | None = None
        for _ in range(_LINES):
            signs = self.random.choice([-1.0, 1.0], self.state.shape)
            direction = self.span * signs * self.random.uniform(0.5, 1, self.state.shape)
            start = self.elsewhere()

            def along(t: _Floats, s: _Floats = start, d: _Floats = direction) -> _Floats:
                return function(self.energy, np.ascontiguousarray(s + t[:, None] * d))

            found = largest_break(along, len(self.state), floor)
            if found and (best is None or (found.jumps, found.size) > (best[0].jumps, best[0].size)):
                best = found, start[found.sample] + found.position * direction[found.sample]
        return best
