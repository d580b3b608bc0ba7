"""Sentences on causes inside a model that make figures wrong, with their evidence and cures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.model_interface import Model
from equiprop.verify.confidence import certain
from equiprop.verify.model_parts import unit_name
from equiprop.verify.own_methods import PARAMETERS
from equiprop.verify.repeats import Variation
from equiprop.verify.roughness import Break

_Floats = NDArray[np.float64]

#: Relative rounding errors of double precision are below the first number; those of single precision are
#: between the second and the third.
DOUBLE, _SINGLE, _HALF = 1e-12, 3e-10, 5e-6
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


def sentences(causes: Sequence[Cause], others: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences on causes, then the other ones, with a remark if a cause affects all figures."""
    found = [cause.sentence for cause in causes]
    others = [sentence for sentence in dict.fromkeys(others) if sentence not in (*found, _REMARK)]
    if others and any(cause.basic for cause in causes):
        found.append(_REMARK)
    return (*found, *others)


def of_variation(found: Mapping[str, Variation]) -> Cause:
    """Return the cause that equal calls of some functions give different values."""
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


def of_arguments(name: str, changed: Sequence[str]) -> Cause:
    """Return the cause that a method changes arrays: `PARAMETERS`, or those that it receives."""
    names, first = " and ".join(changed), changed[0]
    if PARAMETERS in changed:
        received = " and ".join(key for key in changed if key != PARAMETERS)
        what = f"the parameters{f' and {received}' if received else ''}: after a call self.parameters"
        cure = f"theta = 0.9 * {PARAMETERS}) in place of writing into {PARAMETERS}"
    else:
        what = f"{names}, which it receives: after a call the array"
        cure = f"{first} = {first} + ...) in place of writing into it"
    return Cause(
        "changed arguments",
        certain(
            f"{name} changes {what} has other numbers. Compute a new array ({cure} ({first} += ..., "
            f"{first}[...] = ...)."
        ),
    )


def of_values(text: str) -> Cause:
    """Return the cause that a function is not finite, which a sentence says."""
    return Cause("not finite", certain(text))


def of_precision(found: Mapping[str, tuple[float, float]], remark: str = "") -> Cause | None:
    """Return the cause if a function has larger rounding errors than double precision, otherwise None.

    Parameters
    ----------
    found : mapping of str to (float, float)
        Rounding error of each function, and the error relative to its largest value.
    remark : str
        Another sentence on the cause.
    """
    rough = {name: errors for name, errors in found.items() if errors[1] > DOUBLE}
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
    mates : bool
        True if other samples in the batch, of the same number, change the value of a sample.
    """

    together: _Floats
    expected: _Floats
    batch: int
    mates: bool = True

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
    others = {name: pair for name, pair in found.items() if name not in averaged}
    mixed = {name: pair for name, pair in others.items() if pair.mates}
    if mixed:
        yield Cause(
            "batch coupling",
            certain(
                f"Samples depend on the other samples of their batch: alone they change {_sizes(mixed)}. "
                "Compute each sample from its own row: no mean, normalisation or maximum over axis 0 (batch "
                "normalisation)."
            ),
        )
    kept = {name: pair for name, pair in others.items() if not pair.mates}
    if kept:
        yield Cause(
            "kept value",
            certain(
                f"A batch of another size changes {_sizes(kept)}, but other samples in a batch of the same "
                "size do not: a value of an earlier call with the same shape is kept (a cache), or the batch "
                "size enters. Compute the value from the arguments alone."
            ),
        )


def _sizes(found: Mapping[str, Coupled]) -> str:
    return f"{', '.join(f'{name} by {pair.gap:.1e}' for name, pair in found.items())} (relative)"


def of_break(name: str, model: Model, found: Break, state: _Floats) -> Cause:
    """Return the cause that a function has a jump or a kink at a state."""
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
