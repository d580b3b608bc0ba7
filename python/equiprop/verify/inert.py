"""Parameters that have no effect on a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.models import Model
from equiprop.verify.model_parts import parameter_name

#: A parameter changes by this share of itself, or by this much if it is small.
_CHANGE = 1e-3
#: Names that a sentence lists.
_SHOWN = 6

Point = tuple[Array, Array]


@dataclass(frozen=True)
class Inert:
    """Parameters whose changes leave every bit of the model's functions as it was.

    Attributes
    ----------
    blocks : tuple of str
        Blocks of which no entry has an effect.
    entries : (count,)
        Other parameters, of those looked at.
    count : int
        Number of all of them.
    """

    blocks: tuple[str, ...]
    entries: NDArray[np.int64]
    count: int

    def advice(self, model: Model) -> Iterator[str]:
        """Yield a sentence on the blocks and one on single entries, if there are any."""
        functions = "energy and gradient" if model.conservative else "the velocity"
        reason = (
            f"changes leave every bit of {functions} as it was. The methods have to read the parameters at "
            "each call (self.parameters, or the argument params), and not a copy that is kept elsewhere."
        )
        if 0 < self.count == len(model.parameters):
            yield f"No parameter has an effect: {reason}"
        elif self.blocks:
            yield f"No parameter of block {_listed(self.blocks)} has an effect: {reason}"
        if len(self.entries):
            names = [parameter_name(model, int(i)) for i in self.entries]
            yield f"Parameters without effect are {_listed(names)}: {reason}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def find_inert(model: Model, points: Sequence[Point], chosen: NDArray[np.int64]) -> Inert:
    """Change whole blocks, and each parameter of `chosen`, and see whether the model notices.

    Parameters
    ----------
    model : Model
        Its parameters are changed one after the other, and restored.
    points : sequence of (x, state)
        Inputs (batch, inputs) and states (batch, units); an effect at any of them is enough.
    chosen : (count,)
        Indices of parameters.
    """
    functions = [_evaluate(model, x, state) for x, state in points]
    before = [function() for function in functions]

    def acts(at: slice) -> bool:
        kept = model.parameters[at].copy()
        signs = np.random.default_rng(0).uniform(0.5, 1.0, len(kept))
        try:
            model.parameters[at] = kept + _CHANGE * signs * np.maximum(1.0, np.abs(kept))
            return any(
                not np.array_equal(function(), old, equal_nan=True)
                for function, old in zip(functions, before, strict=True)
            )
        finally:
            model.parameters[at] = kept

    slices = {name: at for name, at in model.block_slices.items() if at.stop > at.start}
    blocks = {name: at for name, at in slices.items() if not acts(at)}
    others = [i for i in chosen if not any(at.start <= i < at.stop for at in blocks.values())]
    entries = np.array([i for i in others if not acts(slice(i, i + 1))], dtype=np.int64)
    count = sum(at.stop - at.start for at in blocks.values()) + len(entries)
    return Inert(tuple(blocks), entries, count)


def _evaluate(model: Model, x: Array, state: Array) -> Callable[[], Array]:
    """Return a function that gives gradient and energy at x and state, under the present parameters."""

    def values() -> Array:
        energy = model.clamp(x)
        gradient = energy.gradient(state).ravel()
        return np.concatenate([gradient, energy.energy(state)]) if model.conservative else gradient

    return values
