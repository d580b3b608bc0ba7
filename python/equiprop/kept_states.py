"""Free states of the samples of a training, at which their next free phases start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.checks import check_choice, check_type, enough_memory
from equiprop.dataset import Dataset
from equiprop.model_interface import Model
from equiprop.position import fingerprint
from equiprop.results import Status
from equiprop.solvers import start_of

#: Largest part of the machine's memory that the states may take; the data need memory, too.
_LARGEST_PART = 0.5


@dataclass
class KeptStates:
    """Free states of the samples of one data set, each from the last step of `Trainer.fit` on its sample.

    Attributes
    ----------
    data : str
        Digest of the data set, see `fingerprint`; empty if no states are kept.
    states : (samples, units) array, optional
        Free states, in the precision of the model.
    known : (samples,) uint8 array, optional
        1 for a sample with a free state in `states`, and 0 for one that starts at rest: it was not seen yet,
        or its free phase did not converge.
    """

    data: str = ""
    states: Array | None = field(default=None, repr=False, compare=False)
    known: Array | None = field(default=None, repr=False, compare=False)
    _of: Dataset | None = field(
        default=None, init=False, repr=False, compare=False, metadata={"saved": False}
    )
    _rows: Array | None = field(
        default=None, init=False, repr=False, compare=False, metadata={"saved": False}
    )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which contains no data set and is not within a step."""
        return {**self.__dict__, "_of": None, "_rows": None}

    def prepare(self, free_start: str, data: Any, model: Model) -> None:
        """Keep free states from now on if `free_start` is "last", and discard them if it is "rest".

        The states so far are kept if they are those of equal data and have the shape and the precision of the
        states of `model`; otherwise all samples start at rest.

        Parameters
        ----------
        free_start : {"rest", "last"}
        data : Dataset, or iterable of batches
            Data of `Trainer.fit`.
        model : Model

        Raises
        ------
        TypeError
            If states are to be kept for batches, whose samples have no numbers.
        MemoryError
            If the states need more than half of the machine's memory.
        """
        if free_start == "rest":
            self._set("", None, None)
            return
        rule = "Data with free_start='last' are a Dataset, or arrays, whose samples have numbers"
        check_type(data, Dataset, "Trainer.fit", rule)
        if data is self._of:
            return
        digest = fingerprint(data)
        complete = self.known is not None and len(self.known) == len(data)
        if digest != self.data or not complete or not self.fits(model):
            self._allocate(digest, len(data), model)
        self._of = data

    def _allocate(self, digest: str, samples: int, model: Model) -> None:
        shape, dtype = (samples, model.num_units), model.dtype
        size = samples * model.num_units * dtype.itemsize
        what = f"the free states of {samples} samples with {model.num_units} units in {dtype}"
        cure = "Use free_start='rest', or fewer samples or units"
        self._set("", None, None)
        with enough_memory(size, "Trainer.fit", what, part=_LARGEST_PART, cure=cure):
            self._set(digest, np.zeros(shape, dtype), np.zeros(samples, np.uint8))

    def _set(self, data: str, states: Array | None, known: Array | None) -> None:
        self.data, self.states, self.known, self._of = data, states, known, None

    def fits(self, model: Model) -> bool:
        """Return True if no states are kept, or if they are complete, finite, and states of a model."""
        if self.states is None or self.known is None:
            return self.states is self.known and not self.data
        right = self.states.ndim == 2 and self.states.shape[1] == model.num_units
        flags = self.known.dtype == np.uint8 and self.known.shape == self.states.shape[:1]
        right = right and self.states.dtype == model.dtype
        return right and flags and bool(np.isfinite(self.states).all())

    def forget(self) -> None:
        """Let all samples start at rest."""
        if self.known is not None:
            self.known[:] = 0

    def visit(self, rows: Array | None) -> KeptStates:
        """Return a context: the step in it starts at the states of the samples `rows`, and keeps new ones.

        If `rows` is None, nothing happens.
        """
        self._rows = rows
        return self

    def __enter__(self) -> None:
        """Enter the context of `visit`."""

    def __exit__(self, *_: object) -> None:
        """Leave the context of `visit`: further steps start at rest."""
        self._rows = None

    @property
    def is_visited(self) -> bool:
        """True within a step that starts at kept states and keeps new ones."""
        return self._rows is not None

    def starts(self, model: Model) -> Array | None:
        """Return the start states (batch, units) of the step, or None if all its samples start at rest."""
        if self._rows is None:
            return None
        assert self.states is not None
        assert self.known is not None
        known = self.known[self._rows].astype(bool)
        if not known.any():
            return None
        states: Array = self.states[self._rows]
        if not known.all():
            states = np.where(known[:, None], states, start_of(model, len(known)))
        return states.astype(model.dtype, order="C", copy=False)

    def keep(self, states: Array, free: NDArray[np.int8], second: NDArray[np.int8]) -> None:
        """Keep the free states (batch, units) of the step, except those that are no minima.

        Parameters
        ----------
        states : (batch, units) array
        free, second : (batch,) int8
            Values of `Status` of free and second phase. A free phase that did not converge and a free state
            at which the second phase met negative curvature are discarded: their samples start at rest.
        """
        assert self._rows is not None
        assert self.states is not None
        assert self.known is not None
        self.states[self._rows] = states
        self.known[self._rows] = (free <= Status.FIXED_STEPS) & (second != Status.INDEFINITE)


def check_free_start(free_start: Any) -> None:
    """Raise ValueError unless the start of free phases is "rest" or "last"."""
    check_choice(free_start, "Trainer", "free_start", "rest", "last")
