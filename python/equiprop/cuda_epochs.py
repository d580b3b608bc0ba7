"""Epochs of `Trainer.fit` on a device: runs of steps between which the host waits once.

A run ends where the host needs the parameters: after at most 100 steps, for the health of the training, and
where a checkpoint is due by its number of steps.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.batches import ShuffledBatches
from equiprop.checkpointing import Checkpoint
from equiprop.clipping import MEMORY
from equiprop.costs import core_cost, core_weights, kind_of
from equiprop.cuda import DeviceNetwork
from equiprop.cuda_fields import solver_fields
from equiprop.cuda_package import OutOfDeviceMemory, kernels
from equiprop.cuda_run import (
    DeviceSink,
    DeviceSinks,
    Limits,
    PhaseFields,
    Record,
    Run,
    RunState,
    Step,
    take_run,
)
from equiprop.dataset import Dataset
from equiprop.health import JUDGED, RUNAWAY, SMALL
from equiprop.history import Metrics
from equiprop.position import Position
from equiprop.results import advise
from equiprop.second_phase import CoreOptions
from equiprop.stepping import phase_cures
from equiprop.watching import step_functions
from equiprop.weights import mean_weight

#: Data are copied to the device as a whole if they take at most this part of its free memory, and at most so
#: many bytes; otherwise the samples of each run are.
_PART, _MOST_BYTES = 0.5, 2**32
#: Most bytes of the samples of a run that are copied for it.
_RUN_BYTES = 2**26
_WHERE = "Trainer.step"
#: Signals that a program may handle by an exception.
_SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def takes_runs(trainer: Any, data: Any) -> bool:
    """Return True if a device takes the steps of `Trainer.fit` in runs, which need the host at their ends."""
    return (
        isinstance(trainer.model, DeviceNetwork)
        and isinstance(data, Dataset)
        and not step_functions(trainer)
        and trainer.free_start == "rest"
        and not trainer._guard.acts
        and CoreOptions().of(trainer.second_phase, trainer.model, trainer.solver, 0) is not None
        and kind_of(trainer.cost) is not None
        and trainer.step.__module__ == "equiprop.training"  # a step of one's own is called
        and _sink(trainer) is not None
    )


def _sink(trainer: Any) -> DeviceSink | None:
    """Return the optimizer's steps for the factor 1 of the schedule, or None if the host takes them."""
    model = trainer.model
    return DeviceSinks().of(trainer.optimizer, model.parameters, model.block_slices, 1.0)


class DeviceEpoch:
    """The steps of one epoch on a device.

    Parameters
    ----------
    trainer : Trainer
    batches : ShuffledBatches
        The rest of the epoch.
    count : int
        Number of steps of the whole epoch.
    """

    def __init__(self, trainer: Any, batches: ShuffledBatches, count: int) -> None:
        self.trainer: Any = trainer
        self.batches: ShuffledBatches = batches
        self.count: int = count
        self._options = CoreOptions()
        self._made_of: Any = None
        self._fields: PhaseFields

    def take(self, rows: Sequence[Array], position: Position, checkpoint: Checkpoint | None) -> int:
        """Take the first of the steps on samples `rows`, and return their number.

        0: the first step is one that the device does not take. An interrupt waits until all is recorded.
        """
        trainer, start = self.trainer, time.perf_counter() - position.seconds
        model = trainer.model
        with model.residence.lock:
            batch = model.residence.batch(max(map(len, rows)))
            rows = rows[: self._most(checkpoint)]
            rows, samples = self._on_device(batch, rows)
            with _interrupts_wait():
                return self._run(batch, rows, samples, position, start)

    def _most(self, checkpoint: Checkpoint | None) -> int:
        """Return the number of steps after which the host needs the parameters."""
        steps = self.trainer.steps
        most: int = self.trainer._health.next_look(steps) - steps
        if checkpoint is not None and checkpoint.steps is not None:
            most = min(most, checkpoint.steps - steps % checkpoint.steps)
        return most

    def _on_device(self, batch: Any, rows: Sequence[Array]) -> tuple[Sequence[Array], Array]:
        """Put the data on the device, or the samples of as many steps as one copy holds.

        Return the samples of these steps, and their numbers in the data on the device.
        """
        data, residence = self.batches.data, self.trainer.model.residence
        if residence.held == (data, batch):
            return rows, np.concatenate(rows)
        size = self.trainer.model.num_inputs * self.trainer.model.dtype.itemsize
        fits = len(data) * size <= min(_PART * kernels().free_memory(), _MOST_BYTES)
        if fits and self.batches.draws is None:
            try:
                self._hold(batch, np.arange(len(data)))
                residence.held = (data, batch)
                return rows, np.concatenate(rows)
            except OutOfDeviceMemory:
                pass
        rows = rows[: max(1, _RUN_BYTES // (size * len(rows[0])))]
        self._hold(batch, np.concatenate(rows))
        return rows, np.arange(sum(map(len, rows)))

    def _hold(self, batch: Any, rows: Array) -> None:
        """Copy samples to the device."""
        trainer, data, model = self.trainer, self.batches.data, self.trainer.model
        model.residence.held = ()
        x, y = data.batch(rows, model.dtype, self.batches.draws)
        targets, _ = core_cost(trainer.cost, model, y, len(rows), _WHERE)
        weights = None if data.sample_weight is None else data.sample_weight[rows]
        weights = core_weights(weights, model, len(rows), _WHERE)
        classes = targets.ndim == 1
        if classes:  # labels are in range
            model.core.one_hot(np.array([targets.min(), targets.max()]), model.num_outputs, _WHERE)
        labels = np.ascontiguousarray(targets, np.int32) if classes else None
        batch.hold(model.as_input(x, _WHERE), labels, None if classes else targets, weights)

    def _run(
        self, batch: Any, rows: Sequence[Array], samples: Array, position: Position, start: float
    ) -> int:
        trainer = self.trainer
        health, clipping, average = trainer._health, trainer._clipping, trainer._average
        targets = [self.batches.data.y[row] for row in rows]
        if health.kept is None:
            health.begin(trainer.model, trainer.cost, targets[0])
        run = self._settings(targets[0])
        steps = self._steps(run, rows, position)
        mean = np.empty(0, trainer.model.dtype)
        if average.decay is not None:
            mean = trainer.model.parameters if average.mean is None else average.mean
        state = RunState(trainer.steps, clipping.mean, clipping.count, health.start, health.recent)
        result = take_run(trainer.model.residence, batch, run, steps, samples.astype(np.int32), state, mean)
        clipping.mean, clipping.count = result.state.mean_norm, int(result.state.clipped)
        if average.decay is not None and result.taken:
            average.set(result.mean)
        return self._record(result.records[: result.taken], rows, targets, position, start)

    def _settings(self, y: Array) -> Run:
        """Return the settings that all steps of a run share; y are targets of the first one."""
        trainer, model = self.trainer, self.trainer.model
        targets, kind = core_cost(trainer.cost, model, y, len(y), _WHERE)
        phases = self._phases(trainer.steps)
        sink = _sink(trainer)
        assert sink is not None
        limits = Limits(trainer._clipping.factor, MEMORY, RUNAWAY, SMALL, JUDGED)
        return Run(phases, kind.logit_scale, targets.ndim == 1, sink, limits)

    def _phases(self, step: int) -> PhaseFields:
        trainer = self.trainer
        options = self._options.of(trainer.second_phase, trainer.model, trainer.solver, step)
        assert options is not None
        if options is not self._made_of:  # one of the two rules of a random sign, or always the same
            self._made_of = options
            self._fields = PhaseFields.of(solver_fields(trainer.solver.core), options)
        return self._fields

    def _steps(self, run: Run, rows: Sequence[Array], position: Position) -> list[Step]:
        """Return what is different in each step."""
        trainer, steps, first = self.trainer, [], 0
        average, weights = trainer._average, self.batches.data.sample_weight
        for k, row in enumerate(rows):
            factor = trainer.rate_factor(position.progress(self.count, k), k)
            mean = 1.0 if weights is None else mean_weight(weights[row], _WHERE)
            averaging, share = average.next_change(k)
            nodes, rates = self._phases(trainer.steps + k).nodes, run.sink.rates_of(factor)
            corrections = run.sink.corrections(k)
            steps.append(Step(first, len(row), None, nodes, rates, corrections, mean, averaging, share))
            first += len(row)
        return steps

    def _record(
        self,
        records: Sequence[Record],
        rows: Sequence[Array],
        targets: Sequence[Array],
        position: Position,
        start: float,
    ) -> int:
        """Record the steps that were taken, as if each had been taken by itself; return their number."""
        trainer, weights = self.trainer, self.batches.data.sample_weight
        seconds = time.perf_counter() - start
        for record, row, y in zip(records, rows, targets, strict=False):
            metrics = Metrics(*record.metrics)
            if metrics.unconverged:
                metrics = metrics._replace(advice=self._advice(record))
            weight = None if weights is None else weights[row]
            trainer.judge(metrics, y, weight)
            trainer.steps += 1
            trainer._average.count()
            total = len(row) if weight is None else float(weight.sum())
            position.add(metrics, len(row), total, seconds)
        if records:
            trainer._health.after_step(trainer.model, trainer.steps)
        return len(records)

    def _advice(self, record: Record) -> tuple[str, ...]:
        """Return the advice for the samples of a step that failed."""
        trainer = self.trainer
        free, second = phase_cures(trainer.model, trainer.solver, trainer.second_phase)
        statuses, errors = record.statuses, np.array([record.largest_error])
        advice = advise(statuses[0], free), advise(statuses[1], lambda failure: second(failure, errors))
        return tuple(dict.fromkeys((*advice[0], *advice[1])))


def release(model: Any) -> None:
    """Free the memory that data take on the device of a model, if it is on one."""
    if isinstance(model, DeviceNetwork):
        model.residence.release()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let signals wait until the end of the context, so that a run is recorded as a whole or not taken."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[tuple[Any, ...]] = []
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        for number, frame in received[-1:]:
            caught[number](number, frame)
