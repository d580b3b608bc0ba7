"""Causes inside a model that make figures wrong: noise, low precision, coupled samples, jumps and kinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.energies import Energy
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.verify.confidence import certain
from equiprop.verify.model_parts import unit_name
from equiprop.verify.repeats import Variation, variation
from equiprop.verify.roughness import Break, largest_break, roughness

_Floats = NDArray[np.float64]
Function = Callable[[Any, _Floats], _Floats]

#: Number of lines on which smoothness is examined, and of states at which precision is examined.
_LINES, _STATES = 3, 5
#: Lines end within this multiple of the span, and the span is halved at most so many times.
_LINE_END, _HALVINGS = 1.5, 8
#: Relative rounding errors of double precision are below the first number; those of single precision are
#: between the second and the third.
_DOUBLE, _SINGLE, _HALF = 1e-12, 3e-10, 5e-6
#: A relative difference between a batch and its samples that is more than a different order of a sum.
_COUPLED = 1e-10
#: Larger states have diverged; the functions are not examined there.
_FAR = 1e6
#: Stands between a cause that affects all figures and the other sentences.
_REMARK = "Repair this first: the sentences below may describe effects of it."
#: Residuals up to this multiple of a cause's floor are explained by it.
_MARGIN = 30


@dataclass(frozen=True)
class Cause:
    """One cause of wrong figures.

    Attributes
    ----------
    name : str
        A key, such as "noise".
    sentence : str
        The cause, its evidence and its cure, and how sure it is.
    basic : bool
        True if all other figures are computed with it, so that they cannot be interpreted.
    floor : float
        The residual of a fixed point below which no relaxation can come; 0 if there is none.
    """

    name: str
    sentence: str
    basic: bool = True
    floor: float = 0.0

    def explains(self, residual: float) -> bool:
        """Return True if a free phase may stop at this residual because of the cause."""
        return bool(residual <= _MARGIN * self.floor)


def find_causes(model: Model, x: _Floats, state: _Floats) -> tuple[Cause, ...]:
    """Examine the functions of a model in order: repeats, arguments, precision, batches, smoothness.

    Breaks are not looked for in functions with noise or low precision, where each rounding is a jump. Only
    repeats are examined for a `HopfieldNetwork`, whose functions are those of the library.

    Parameters
    ----------
    model : Model
    x : (batch, inputs)
    state : (batch, units)
        A state; the functions are examined near it and far from it.
    """
    with np.errstate(all="ignore"):  # far from a fixed point, the functions of a user may overflow
        probe = _Probe(model, x.copy(), np.where(np.abs(state) < _FAR, state, model.initial_state(len(x))))
        causes = probe.repeats()
        if isinstance(model, HopfieldNetwork):
            return tuple(causes)
        return (*causes, *probe.arguments(), *probe.precision(), *probe.coupling(), *probe.smoothness())


def sentences(causes: Sequence[Cause], others: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences on causes, then the other ones, with a remark if a cause affects all figures."""
    found = [cause.sentence for cause in causes]
    others = [sentence for sentence in dict.fromkeys(others) if sentence not in (*found, _REMARK)]
    if others and any(cause.basic for cause in causes):
        found.append(_REMARK)
    return (*found, *others)


class _Probe:
    """Evaluates the functions of a model at states near and far from a fixed point."""

    def __init__(self, model: Model, x: _Floats, state: _Floats) -> None:
        self.model, self.x, self.state = model, x, state
        self.energy = model.clamp(x)
        self.random = np.random.default_rng(0)
        self.span = self._reach(max(1.0, 2 * float(np.abs(state).max(initial=0.0))))
        self.floors: dict[str, float] = {}  # noise and rounding errors of each function
        self.rough: set[str] = set()  # functions with noise or low precision

    @property
    def functions(self) -> dict[str, Function]:
        """The functions of energy and state that the model defines itself, by name."""
        gradient = "gradient" if self.model.conservative else "velocity"
        functions: dict[str, Function] = {gradient: lambda e, s: e.gradient(s)}
        if self.model.conservative:
            functions["energy"] = lambda e, s: e.energy(s)[:, None]
        model = self.model
        steps = isinstance(model, Energy) and type(model).parameter_gradient is Energy.parameter_gradient
        if model.conservative and not steps:
            functions["parameter_gradient"] = lambda e, s: e.parameter_gradient(s)
        return functions

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
            yield _of_variation(found)

    def arguments(self) -> Iterator[Cause]:
        """Yield a cause for each method that writes into the state or the input which it receives."""
        for name in self.functions:
            given = {"x": self.x, "s": self.state + 0.1 * self.span}
            passed = {argument: values.copy() for argument, values in given.items()}
            getattr(self.model, name)(*passed.values())
            changed = [key for key in given if not np.array_equal(given[key], passed[key], equal_nan=True)]
            if changed:
                yield _of_arguments(name, changed)

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
        self.rough |= {name for name, errors in found.items() if errors[1] > _DOUBLE}
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
            gap = float(np.abs(together - expected).max(initial=0.0))
            if not gap <= max(_COUPLED * scale, 100 * self.floors[name]):
                found[name] = Coupled(together, expected, len(self.x))
        yield from of_coupling(found)

    def smoothness(self) -> Iterator[Cause]:
        """Yield a cause if energy or gradient jumps, or the gradient has a kink, on some lines."""
        for name, function in self.functions.items():
            if name == "parameter_gradient" or name in self.rough:
                continue
            found = self._break(function, self.floors[name])
            if found is not None and (name != "energy" or found[0].jumps):
                yield _of_break(name, self.model, *found)

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


def _of_variation(found: dict[str, Variation]) -> Cause:
    name = max(found, key=lambda key: found[key].relative)
    worst, names = found[name], " and ".join(found)
    floor = next((found[key].size for key in ("gradient", "velocity") if key in found), 0.0)
    evidence = (
        f"two calls of {name} with equal arguments differ by {worst.size:.1e} ({worst.relative:.1e} relative)"
    )
    texts = {
        "noise": f"Noise inside {names}: {evidence}. No fixed point and no gradient can be more "
        "accurate than "
        "this noise. Remove the random numbers (dropout, added noise, a random generator), or draw "
        "them once.",
        "drift": f"Drift inside {names}: {evidence}, more with each call. Something changes in every "
        "call, such "
        "as a counter, a running mean, or an array that is updated in place (x += ...): remove it.",
        "memory": f"Memory inside {names}: {evidence} after a call at another state. The result depends on "
        "earlier calls, such as through a cache or a stored state: compute it from the arguments alone.",
    }
    return Cause(worst.kind, certain(texts[worst.kind]), floor=floor)


def _of_arguments(name: str, changed: Sequence[str]) -> Cause:
    names, first = " and ".join(changed), changed[0]
    return Cause(
        "changed arguments",
        certain(
            f"{name} changes {names}, which it receives: after a call the array has other numbers. Compute a "
            f"new array ({first} = {first} + ...) in place of writing into it ({first} += ..., {first}[...] "
            "= ...)."
        ),
    )


def of_precision(found: Mapping[str, tuple[float, float]], remark: str = "") -> Cause | None:
    """Return the cause if a function has larger rounding errors than double precision, otherwise None.

    Parameters
    ----------
    found : mapping of str to (float, float)
        Rounding error of each function, and the error relative to its largest value.
    remark : str
        Another sentence on the cause.
    """
    rough = {name: errors for name, errors in found.items() if errors[1] > _DOUBLE}
    if not rough:
        return None
    size = max(relative for _, relative in rough.values())
    floor = max((rough[key][0] for key in ("gradient", "velocity") if key in rough), default=0.0)
    errors = f"{' and '.join(rough)} are {size:.1e} relative; in double precision they are 1e-16"
    if size > _HALF:
        name, cure = (
            "low precision",
            (
                "Numbers are rounded to half precision (float16, bfloat16), or to another coarse grid. "
                "Compute in float64 throughout."
            ),
        )
    elif size > _SINGLE:
        name, cure = (
            "single precision (float32)",
            (
                "Compute in float64 throughout (no astype(float32), no float32 tensor, no complex64). A "
                "complex step of 1e-100 is zero in single precision."
            ),
        )
    else:
        name, cure = (
            "lost digits",
            (
                "Large numbers cancel, or a derivative is computed by finite differences: write the formula "
                "without the cancellation, or the derivative in closed form."
            ),
        )
    text = f"{name.capitalize()} inside: rounding errors of {errors}. {cure}"
    return Cause(name, certain(f"{text} {remark}" if remark else text), floor=floor)


@dataclass(frozen=True)
class Coupled:
    """Value of a function for a batch, and the value that its samples alone give.

    Attributes
    ----------
    together, expected : arrays of equal shape
        A sum over the batch, or one row for each sample.
    batch : int
        Number of samples.
    """

    together: _Floats
    expected: _Floats
    batch: int

    @property
    def factor(self) -> float:
        """The number f with together = f expected, as well as possible."""
        power = float((self.expected**2).sum())
        return float((self.together * self.expected).sum()) / power if power else np.nan

    @property
    def averaged(self) -> bool:
        """True if the value for the batch is 1 / batch times the expected one."""
        rest = np.abs(self.together * self.batch - self.expected).max(initial=0.0)
        return bool(rest < 1e-3 * np.abs(self.expected).max(initial=0.0))

    @property
    def gap(self) -> float:
        """Largest difference, relative to the largest magnitude; NaN if a value is not finite."""
        scale = float(np.abs(self.together).max(initial=0.0)) or 1.0
        return float(np.abs(self.together - self.expected).max(initial=0.0)) / scale


def of_coupling(found: Mapping[str, Coupled]) -> Iterator[Cause]:
    """Yield the causes of functions whose value for a batch is not that of its samples, by name."""
    averaged = {name: pair for name, pair in found.items() if pair.averaged}
    if averaged:
        pair = next(iter(averaged.values()))
        yield Cause(
            "batch mean",
            certain(
                f"{' and '.join(averaged)}: a mean over the batch where each sample counts fully. For "
                f"{pair.batch} samples the value is {pair.factor:.4g} = 1 / (number of samples) times that "
                "of the samples alone. Use the sum over the batch instead of the mean."
            ),
        )
    mixed = {name: pair for name, pair in found.items() if name not in averaged}
    if mixed:
        sizes = ", ".join(f"{name} by {pair.gap:.1e}" for name, pair in mixed.items())
        yield Cause(
            "batch coupling",
            certain(
                f"Samples depend on the other samples of their batch: alone they change {sizes} "
                "(relative). Compute each sample from its own row: no mean, normalisation or maximum over "
                "axis 0 (batch normalisation)."
            ),
        )


def _of_break(name: str, model: Model, found: Break, state: _Floats) -> Cause:
    unit = found.entry
    where = "at a state" if name == "energy" else f"where {unit_name(model, unit)} = {state[unit]:.6g}"
    sample = f" (sample {found.sample})"
    if found.jumps:
        reason = (
            "The energy is not continuous: a mask, a threshold or a rounding changes it."
            if name == "energy"
            else "The energy has a kink there, or a mask or a threshold switches a term."
        )
        text = f"{name} is not smooth: it jumps by {found.size:.2g} {where}{sample}. {reason}"
    else:
        text = (
            f"{name} is not smooth: it has a kink, a jump of its slope, {where} (sample "
            f"{found.sample}), such "
            "as from max, abs or a clip."
        )
    cure = (
        " The theory needs an energy with two continuous derivatives around the fixed point: use smooth "
        "functions (tanh, softplus), or check that states stay away from there."
    )
    return Cause(
        "jump" if found.jumps else "kink",
        certain(text + cure),
        basic=found.jumps,
        floor=found.size if found.jumps else 0.0,
    )
