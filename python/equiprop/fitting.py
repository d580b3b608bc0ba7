"""The epochs of `Trainer.fit`, which start at any position of an earlier call."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import repeat
from operator import length_hint
from typing import Any, Protocol

from equiprop.arrays import Array, num_samples
from equiprop.averaging import Average
from equiprop.batches import ShuffledBatches, checked_parts, parts
from equiprop.checkpointing import Checkpoint
from equiprop.checks import require
from equiprop.cuda import on_host
from equiprop.cuda_epochs import DeviceEpoch, release, takes_runs
from equiprop.dataset import Dataset
from equiprop.health_watch import Watched, rows_of, rows_of_batch, watch_end, watch_epoch
from equiprop.history import Epoch, Evaluation, History, Metrics
from equiprop.kept_states import KeptStates
from equiprop.model_interface import Model
from equiprop.overlap import OverlapError
from equiprop.position import Position, digest_of, fingerprint, resumed, state_of
from equiprop.processes import Communicator, check_equal, group_of, of_first
from equiprop.progress import Bar, progress_bar
from equiprop.results import ConvergenceError, warn_of_epoch
from equiprop.sharding import Divided, together
from equiprop.stepping import PhaseDivergence
from equiprop.watching import after_epoch, step_functions, watching
from equiprop.weights import as_sample_weight

#: The part of the text of an object that differs from process to process.
_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")


class Fitting(Watched, Divided, Protocol):
    """The part of a `Trainer` that takes steps and records epochs."""

    batch_size: int
    seed: int
    callbacks: Sequence[Any]
    step_callbacks: Sequence[Any]
    _stopping: bool
    _fitting: bool
    _average: Average
    _kept: KeptStates
    unfinished: Position | None

    @property
    def averaged_model(self) -> Model: ...  # noqa: D102
    def step(  # noqa: D102
        self, x: Any, y: Any, sample_weight: Any = None, *, progress: float = 0.0
    ) -> Metrics: ...
    def check_parameters(self) -> None: ...  # noqa: D102
    def evaluate(self, data: Any, y: Any = None) -> Evaluation: ...  # noqa: D102


@contextmanager
def during_fit(trainer: Fitting, group: Communicator | None) -> Iterator[None]:
    """Mark a trainer as within `fit`, together with the processes of a group if there is one."""
    if trainer._fitting:
        raise OverlapError(
            "[Trainer.fit] fit is called during fit of the same trainer, by a callback. Call it after "
            "the first call has returned."
        )
    trainer._fitting, trainer._stopping = True, False
    try:
        with together(trainer, group):
            yield
    finally:
        trainer._fitting = trainer._stopping = False


def refusal(trainer: Fitting, failure: PhaseDivergence) -> ConvergenceError:
    """Return the error of a step in which a sample diverged."""
    outcome = replace(failure.outcome, advice=trainer.growth_advice() or failure.outcome.advice)
    return ConvergenceError(
        f"[Trainer.step] The {failure.phase} diverged; the parameters were not changed. {outcome.summary()}",
        outcome,
    )


def run_epochs(
    trainer: Fitting,
    data: Any,
    validation: Dataset | None,
    epochs: int,
    patience: int | None,
    progress: bool,
    checkpoint: Checkpoint | None,
) -> History:
    """Train for the epochs of a call of `Trainer.fit`, and return their records; see there for arguments.

    If the trainer has an unfinished position, the call continues there.
    """
    position = _position(trainer, data, validation, epochs, patience, checkpoint)
    records, model = History(trainer.history[position.first :]), trainer.model
    kept = checkpoint is not None or trainer.unfinished is not None
    with (
        _during(trainer, position if kept else None),
        watching(trainer),
        _bar(trainer, data, position, progress) as bar,
    ):
        try:
            if checkpoint is not None:
                checkpoint.begin(trainer)
            while not position.done:
                records.append(_run_epoch(trainer, data, validation, position, bar, checkpoint))
                rule = "All epochs of a call train one model"
                require(trainer.model is model, "Trainer.fit", rule, "another one, which a callback has set")
        except ConvergenceError as error:
            trainer._health.restore(trainer.model)
            trainer._average.restart(trainer.model.parameters)
            trainer._kept.forget()
            step = trainer._health.step
            text = f"{error} The model has its parameters after step {step} again."
            raise ConvergenceError(text, error.outcome) from None
        finally:
            if checkpoint is not None:
                checkpoint.end()
            release(trainer.model)
        if position.best.restore(trainer.model):
            trainer._average.restart(trainer.model.parameters)
        if records:
            watch_end(trainer, data, records)
    return records


def _position(
    trainer: Fitting,
    data: Any,
    validation: Dataset | None,
    epochs: int,
    patience: int | None,
    checkpoint: Checkpoint | None,
) -> Position:
    """Return where a call of `fit` begins, and prepare the trainer for it."""
    kept = checkpoint is not None or trainer.unfinished is not None
    position = _start(trainer, data, validation, epochs, patience, kept)
    if trainer.unfinished is not None:
        position = resumed(trainer.unfinished, position, state_of(trainer))
    else:
        trainer._health.begin_run()
    trainer._kept.prepare(trainer.free_start, data, trainer.model)
    if isinstance(data, Dataset):
        trainer._health.probe = rows_of(data, trainer.model, "Trainer.fit")
    return position


@contextmanager
def _during(trainer: Fitting, position: Position | None) -> Iterator[None]:
    """Let the trainer have its position in the block, for checkpoints and callbacks."""
    trainer.unfinished = position
    try:
        yield
    finally:
        trainer.unfinished = None


def _bar(trainer: Fitting, data: Any, position: Position, wanted: bool) -> AbstractContextManager[Bar]:
    """Return a progress bar for the steps of all epochs."""
    is_dataset = isinstance(data, Dataset)
    count = -(-len(data) // trainer.batch_size) if is_dataset else length_hint(data)
    done = (position.epoch - 1) * count + len(position.metrics)
    return progress_bar(wanted, position.epochs * count or None, "", initial=done)


def _start(
    trainer: Fitting, data: Any, validation: Dataset | None, epochs: int, patience: int | None, kept: bool
) -> Position:
    """Return the position at the start of a call, at which all processes of the trainer's group are.

    If it is kept in a checkpoint, process 0 reads all data for their digest. No process reads all inputs to
    compare them.
    """
    group = group_of(trainer)
    if not isinstance(data, Dataset) and (kept or group.size > 1):
        kind = "with a checkpoint" if kept else "by several processes"
        raise TypeError(
            f"[Trainer.fit] A training {kind} has a Dataset, or arrays. Received batches, of class "
            f"{type(data).__name__}."
        )
    settings = {"network": repr(trainer.model), "batch_size": trainer.batch_size, "seed": trainer.seed}
    digest = of_first(lambda: fingerprint(data, validation), group) if kept else ""
    position = Position.start(settings, digest, epochs, patience, len(trainer.history))
    if group.size > 1:
        targets = [digest_of(part) for part in (data.y, data.sample_weight) if part is not None]
        facts = (position.settings, state_of(trainer), data.x.shape, data.x.dtype, data.classes, targets)
        check_equal(_ADDRESS.sub("", repr(facts)), group, "Trainer.fit")
    return position


def _run_epoch(
    trainer: Fitting,
    data: Any,
    validation: Dataset | None,
    position: Position,
    bar: Bar,
    checkpoint: Checkpoint | None,
) -> Epoch:
    trainer.check_settings()  # a callback may have changed them
    trainer._kept.prepare(trainer.free_start, data, trainer.model)
    last = None
    bar.label = f"epoch {position.epoch}/{position.epochs}"
    if not isinstance(data, Dataset):
        last = _take_steps(
            trainer, checked_parts(data), repeat(None), length_hint(data), position, bar, checkpoint
        )
    else:
        done = len(position.metrics)
        order = (trainer.batch_size, trainer.seed, len(trainer.history), trainer.model.dtype)
        own = None if trainer._sharded is None else trainer._sharded.own
        rest = ShuffledBatches(data, *order, first=done, own=own)
        count = done + len(rest)
        if takes_runs(trainer, data):
            _take_runs(trainer, rest, count, position, bar, checkpoint)
        else:
            numbers = rest.rows() if trainer._kept.states is not None else repeat(None)
            _take_steps(trainer, map(parts, rest), numbers, count, position, bar, checkpoint)
    _watch_phases(trainer, position)
    trainer.check_parameters()
    error = None if validation is None else trainer.evaluate(validation).error
    record = position.summary(error)
    trainer.history.append(record)
    trainer._health.keep(trainer.model, trainer.steps)
    if last is not None:
        trainer._health.probe = rows_of_batch(*last, trainer.model)
    position.stopped = position.best.should_stop(record, trainer.averaged_model)
    position.next_epoch()
    if not position.done:
        watch_epoch(trainer)
    after_epoch(trainer, record)
    position.stopped |= trainer._stopping
    return record


def _take_steps(
    trainer: Fitting,
    batches: Iterator[tuple[Any, Any, Any]],
    numbers: Iterable[Array | None],
    count: int,
    position: Position,
    bar: Bar,
    checkpoint: Checkpoint | None,
) -> tuple[Any, Any]:
    """Take the steps of an epoch of `count` steps one by one, and return inputs and targets of the last one.

    `numbers` are those of the samples of each batch, or None.
    """
    start = time.perf_counter() - position.seconds
    x: Any = None
    y: Any = None
    for (x, y, weights), rows in zip(batches, numbers, strict=False):
        y, weights = on_host(trainer.model, "Trainer.fit", y=y, sample_weight=weights)
        with trainer._kept.visit(rows):
            metrics = trainer.step(x, y, weights, progress=position.progress(count))
        samples = num_samples(y)
        total = samples if weights is None else float(as_sample_weight(weights, "Trainer.fit").sum())
        position.add(metrics, samples, total, time.perf_counter() - start)
        for function in step_functions(trainer):
            function(trainer, metrics)
        bar.advance()
        if checkpoint is not None:
            checkpoint.after_step(trainer)
        if trainer._stopping:
            break
    return x, y


def _take_runs(
    trainer: Fitting,
    rest: ShuffledBatches,
    count: int,
    position: Position,
    bar: Bar,
    checkpoint: Checkpoint | None,
) -> None:
    """Take the steps `rest` of an epoch of `count` steps on a device.

    A step that the device refuses is taken by itself, which says why.
    """
    left, epoch = list(rest.rows()), DeviceEpoch(trainer, rest, count)
    while left and not trainer._stopping:
        taken = epoch.take(left, position, checkpoint)
        bar.advance(taken)
        if taken and checkpoint is not None:
            checkpoint.after_step(trainer)
        if not taken:
            batch = map(parts, rest.batches(left[:1]))
            _take_steps(trainer, batch, repeat(None), count, position, bar, checkpoint)
            taken = 1
        del left[:taken]


def _watch_phases(trainer: Fitting, position: Position) -> None:
    """Count the samples of an epoch, and warn once in a run if many did not converge or are inaccurate."""
    health, counts = trainer._health, (position.unconverged, position.inaccurate, sum(position.sizes))
    health.count(*counts)
    advice = (sentence for m in position.metrics for sentence in m.advice)
    if "phases" not in health.said and warn_of_epoch(position.epoch, *counts, advice):
        health.said.append("phases")
