"""Position of a call of `Trainer.fit`: all that the rest of the call needs besides trainer and data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.dataset import Dataset
from equiprop.early_stopping import BestEpoch
from equiprop.history import Epoch, Metrics, summarise
from equiprop.scaling import Scaling

#: Number of rows that are copied at a time, so that data on a disk need not fit into memory.
_ROWS = 4096
#: Names of digests.
_DIGESTS = ("data", "parameters")


@dataclass
class Position:
    """Position of a call of `Trainer.fit`.

    Attributes
    ----------
    settings : mapping
        Network, data, epochs and other settings of the call, by name.
    epochs : int
        Number of epochs of the call.
    best : BestEpoch
        The epoch with the lowest validation error so far.
    first : int
        Length of the trainer's history when the call began.
    epoch : int
        Number of the current epoch, from 1.
    stopped : bool
        True if early stopping has ended the training.
    metrics : list of Metrics
        Metrics of the steps of the current epoch so far.
    sizes : list of int
        Number of samples of each of these steps.
    weights : list of float
        Sum of the weights of these samples, which are 1 by default.
    seconds : float
        Time of these steps in seconds.
    read : mapping
        State of the trainer when it was read from a checkpoint; see `state_of`. Empty in other cases.
    """

    settings: Mapping[str, Any]
    epochs: int
    best: BestEpoch
    first: int
    epoch: int = 1
    stopped: bool = False
    metrics: list[Metrics] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    seconds: float = 0.0
    read: Mapping[str, Any] = field(default_factory=dict, metadata={"saved": False})

    @classmethod
    def start(
        cls,
        settings: Mapping[str, Any],
        digest: str,
        epochs: int,
        patience: int | None,
        first: int,
    ) -> Position:
        """Return the position at the start of a call; `digest` is that of the data, or "" for none."""
        own = {"data": digest, "epochs": epochs, "patience": patience}
        return cls({**settings, **own}, epochs, BestEpoch(patience), first)

    @property
    def done(self) -> bool:
        """True if no epoch is left."""
        return self.stopped or self.epoch > self.epochs

    def progress(self, count: int, ahead: int = 0) -> float:
        """Return the progress of the training in [0, 1] if an epoch has `count` steps; 0 steps: not known.

        It is that of the step which follows `ahead` others.
        """
        steps = (len(self.metrics) + ahead) / count if count else 0.0
        return (self.epoch - 1 + steps) / self.epochs

    def add(self, metrics: Metrics, samples: int, weight: float, seconds: float) -> None:
        """Record a step of `samples` samples.

        Parameters
        ----------
        metrics : Metrics
        samples : int
        weight : float
            Sum of the weights of the samples.
        seconds : float
            Time of all steps of the epoch so far.
        """
        self.metrics.append(metrics)
        self.sizes.append(samples)
        self.weights.append(weight)
        self.seconds = seconds

    @property
    def unconverged(self) -> int:
        """Number of samples of the current epoch that did not converge, without inaccurate ones."""
        return sum(m.unconverged - m.inaccurate for m in self.metrics)

    @property
    def inaccurate(self) -> int:
        """Number of samples of the current epoch that converged, but whose gradient is inaccurate."""
        return sum(m.inaccurate for m in self.metrics)

    def summary(self, error: float | None) -> Epoch:
        """Return the record of the current epoch; `error` is that on the validation data."""
        sizes, weights = np.array(self.sizes), np.array(self.weights)
        return summarise(self.epoch, self.metrics, sizes, weights, error, self.seconds)

    def next_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch += 1
        self.metrics, self.sizes, self.weights, self.seconds = [], [], [], 0.0


def state_of(trainer: Any) -> dict[str, Any]:
    """Return what a step of a trainer depends on, besides its data, as texts and numbers by name."""
    phases = ("second_phase", "cost", "solver", "free_start", "shards")
    names = (*phases, "schedule", "clip", "coupling_norm", "averaging")
    optimizer = trainer.optimizer
    return {
        **{name: repr(getattr(trainer, name)) for name in names},
        "optimizer": f"{optimizer!r} after {getattr(optimizer, '_steps', 0)} steps",
        "steps": trainer.steps,
        "epochs so far": len(trainer.history),
        "parameters": digest_of(trainer.model.parameters),
    }


def digest_of(numbers: Array) -> str:
    """Return a digest of numbers."""
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def resumed(unfinished: Position, new: Position, state: Mapping[str, Any]) -> Position:
    """Return `unfinished` if a call with the settings of `new` continues it.

    Parameters
    ----------
    unfinished, new : Position
    state : mapping
        State of the trainer, which is that of its checkpoint if it was read from one.

    Raises
    ------
    ValueError
        If a setting or the state differs; the message names what does.
    """
    old, given = {**unfinished.settings, **unfinished.read}, dict(new.settings)
    given |= {name: state[name] for name in unfinished.read}
    other = [
        f"other {name}" if name in _DIGESTS else f"{name} {given[name]} instead of {old.get(name)}"
        for name in given
        if given[name] != old.get(name)
    ]
    if other:
        raise ValueError(
            "[Trainer.fit] A resumed training continues with the settings that it was started with. "
            f"Received {', '.join(other)}; use equiprop.load(path) to start a new training from a checkpoint."
        )
    unfinished.read = {}
    return unfinished


def fingerprint(*parts: Dataset | None) -> str:
    """Return a digest of all numbers, types, shapes, scales, weights and augmentations of data sets."""
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            digest.update(b"none")
            continue
        facts = (part.x.dtype.str, part.x.shape, part.y.dtype.str, part.y.shape)
        digest.update(repr((*facts, part.num_classes)).encode())
        scale = part.scale or Scaling.none()
        for numbers in (scale.offset, scale.factor):
            digest.update(repr(numbers.shape).encode() + numbers.tobytes())
        if part.sample_weight is not None:
            digest.update(b"weights" + part.sample_weight.tobytes())
        if part.augmentation is not None:
            digest.update(repr(part.augmentation).encode())
        for array in (part.x, part.y):
            for begin in range(0, len(part), _ROWS):
                rows = array[begin : begin + _ROWS]
                dense = rows.toarray() if hasattr(rows, "toarray") else rows
                digest.update(np.ascontiguousarray(dense).tobytes())
    return digest.hexdigest()
