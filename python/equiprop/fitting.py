"""The epochs of `Trainer.fit`, which start at any position of an earlier call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from equiprop import _core
from equiprop.checkpointing import Checkpoint
from equiprop.data import Dataset
from equiprop.history import Epoch, Evaluation, Metrics
from equiprop.models import Model
from equiprop.position import Position, resumed
from equiprop.progress import progress_bar
from equiprop.results import warn_of_epoch


class Fitting(Protocol):
    """The part of a `Trainer` that takes steps and records epochs."""

    model: Model
    batch_size: int
    seed: int
    callbacks: Sequence[Any]
    history: list[Epoch]
    unfinished: Position | None

    def step(self, x: Any, y: Any, *, progress: float = 0.0) -> Metrics: ...  # noqa: D102
    def evaluate(self, data: Dataset) -> Evaluation: ...  # noqa: D102


def run_epochs(
    trainer: Fitting,
    data: Dataset,
    validation: Dataset | None,
    epochs: int,
    patience: int | None,
    progress: bool,
    checkpoint: Checkpoint | None,
) -> list[Epoch]:
    """Train for the epochs of a call of `Trainer.fit`, and return their records; see there for arguments.

    If the trainer has an unfinished position, the call continues there.
    """
    kept = checkpoint is not None or trainer.unfinished is not None
    settings = {"network": repr(trainer.model), "batch_size": trainer.batch_size, "seed": trainer.seed}
    parts = (data, validation) if kept else ()
    position = Position.start(settings, parts, epochs, patience, len(trainer.history))
    if trainer.unfinished is not None:
        position = resumed(trainer.unfinished, position)
    try:
        if kept:
            trainer.unfinished = position
        if checkpoint is not None:
            checkpoint.begin(trainer)
        while not position.done:
            _run_epoch(trainer, data, validation, position, progress, checkpoint)
    finally:
        trainer.unfinished = None
    position.best.restore(trainer.model)
    return trainer.history[position.first :]


def _run_epoch(
    trainer: Fitting,
    data: Dataset,
    validation: Dataset | None,
    position: Position,
    progress: bool,
    checkpoint: Checkpoint | None,
) -> None:
    order = _core.permutation(len(data), trainer.seed, len(trainer.history))
    count = -(-len(data) // trainer.batch_size)
    start = time.perf_counter() - position.seconds
    title = f"epoch {position.epoch}/{position.epochs}"
    for k in progress_bar(range(len(position.metrics), count), title, progress):
        indices = order[k * trainer.batch_size : (k + 1) * trainer.batch_size]
        x, y = data.batch(indices, trainer.model.dtype)
        metrics = trainer.step(x, y, progress=position.progress(count))
        position.add(metrics, len(indices), time.perf_counter() - start)
        if checkpoint is not None:
            checkpoint.after_step(trainer)
    if position.unconverged:
        advice = [a for m in position.metrics for a in m.advice]
        warn_of_epoch(position.epoch, position.unconverged, len(data), advice)
    error = None if validation is None else trainer.evaluate(validation).error
    record = position.summary(error)
    trainer.history.append(record)
    position.stopped = position.best.should_stop(record, trainer.model)
    position.next_epoch()
    for callback in trainer.callbacks:
        callback(trainer, record)
