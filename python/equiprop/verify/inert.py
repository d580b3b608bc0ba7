"""Parameters that have no effect on a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.couplings import diagonal, is_lateral
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.verify.confidence import certain
from equiprop.verify.model_parts import parameter_name

#: Relative change of a parameter that is examined; absolute change if its magnitude is below 1.
_CHANGE = 1e-3
#: Largest number of names in a sentence.
_SHOWN = 6

Point = tuple[Array, Array]


@dataclass(frozen=True)
class Inert:
    """Parameters whose changes do not change any bit of the energy and the gradient.

    Attributes
    ----------
    blocks : tuple of str
        Blocks without effect.
    entries : (count,)
        Indices of other parameters without effect, among those that were examined.
    count : int
        Number of parameters in `blocks` and `entries`.
    """

    blocks: tuple[str, ...]
    entries: NDArray[np.int64]
    count: int

    def advice(self, model: Model) -> Iterator[str]:
        """Yield one sentence on blocks without effect, and one on single parameters, if there are any."""
        functions = "energy and gradient" if model.conservative else "the velocity"
        reason = (
            f"a change does not change any bit of {functions}. The methods must read the parameters at each "
            "call (self.parameters, or the argument params), not a copy of them."
        )
        if 0 < self.count == len(model.parameters):
            yield certain(f"No parameter has an effect: {reason}")
        elif self.blocks:
            yield certain(f"No parameter of block {_listed(self.blocks)} has an effect: {reason}")
        if len(self.entries):
            names = [parameter_name(model, int(i)) for i in self.entries]
            yield certain(f"Parameters without effect are {_listed(names)}: {reason}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def find_inert(model: Model, points: Sequence[Point], chosen: NDArray[np.int64]) -> Inert:
    """Find blocks, and parameters among `chosen`, whose changes have no effect on the model.

    The diagonals of couplings within a layer are left out: they are zero by definition.

    Parameters
    ----------
    model : Model
        Model whose parameters are changed one after the other, and restored.
    points : sequence of (x, state)
        Inputs (batch, inputs) and states (batch, units); one of them with an effect is sufficient.
    chosen : (count,)
        Indices of the parameters that are examined.
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

    diagonals = _diagonals(model)
    slices = {name: at for name, at in model.block_slices.items() if not diagonals[at].all()}
    blocks = {name: at for name, at in slices.items() if not acts(at)}
    inert = (any(at.start <= i < at.stop for at in blocks.values()) or diagonals[i] for i in chosen)
    others = [i for i, skipped in zip(chosen, inert, strict=True) if not skipped]
    entries = np.array([i for i in others if not acts(slice(i, i + 1))], dtype=np.int64)
    count = sum(at.stop - at.start for at in blocks.values()) + len(entries)
    return Inert(tuple(blocks), entries, count)


def _diagonals(model: Model) -> NDArray[np.bool_]:
    """Return which parameters are on the diagonal of a coupling within a layer."""
    result = np.zeros(len(model.parameters), dtype=np.bool_)
    if isinstance(model, HopfieldNetwork):
        shapes = {name: block.shape for name, block in model.blocks.items()}
        for i, coupling in enumerate(model.couplings, start=1):
            if is_lateral(coupling):
                result[model.block_slices[f"W{i}"]] = diagonal(coupling, shapes[f"W{i}"]).ravel()
    return result


def _evaluate(model: Model, x: Array, state: Array) -> Callable[[], Array]:
    """Return a function that returns gradient and energy at x and state with the present parameters."""

    def values() -> Array:
        energy = model.clamp(x)
        gradient = energy.gradient(state).ravel()
        return np.concatenate([gradient, energy.energy(state)]) if model.conservative else gradient

    return values
