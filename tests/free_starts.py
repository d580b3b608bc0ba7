"""Trainers whose free phases start at the last free states, and at rest."""

from __future__ import annotations

import copy
from typing import Any

import equiprop as eq
from networks import blobs, chain

DATA = blobs(50)
OTHER = blobs(50, seed=1)
TIGHT = eq.BlockUpdate(tolerance=1e-11)
#: A learning rate at which no parameter changes.
STILL = 1e-30


def new(model: Any = None, free_start: str = "last", **options: Any) -> eq.Trainer:
    options = {"optimizer": eq.Adam(0.01), "batch_size": 9, **options}
    return eq.Trainer(chain() if model is None else model, free_start=free_start, **options)


def pair(**options: Any) -> tuple[eq.Trainer, eq.Trainer]:
    """Return two equal trainers that start at the last free state, and at rest."""
    return new(**options), new(free_start="rest", **options)


def bits(trainer: eq.Trainer) -> bytes:
    return trainer.model.parameters.tobytes()


def from_rest(trainer: eq.Trainer) -> eq.Trainer:
    """Return a copy that starts all further free phases at rest."""
    twin = copy.deepcopy(trainer)
    twin.free_start = "rest"
    return twin
