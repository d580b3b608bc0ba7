"""Runs of training steps on a device: phases, gradients and steps of the optimizer without a wait between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.core_sinks import is_fused
from equiprop.cuda_fields import SolverFields, nudged_fields, side_fields
from equiprop.optimizers import SGD, Adam, Blocks, FusedOptimizer, Optimizer
from equiprop.results import Status

#: Largest number of learning rates of a kernel.
_MOST_RATES = 64

Nodes = list[tuple[float, float]]


class Stop(IntEnum):
    """Why a run took no further steps; see cuda::Stop."""

    NONE = 0
    FREE_PHASE = 1
    SECOND_PHASE = 2
    GRADIENT = 3
    OBJECTIVE = 4


class DeviceSink(NamedTuple):
    """The steps of an optimizer that a device takes: its numbers, and its rates for the factor 1."""

    optimizer: SGD | Adam
    rates: tuple[tuple[int, float], ...]
    factor: float

    @property
    def numbers(self) -> list[float]:
        """Numbers of SGD (momentum, decay) or Adam (beta1, beta2, epsilon, decay)."""
        return [float(number) for number in self.optimizer._numbers()[:4]]

    def corrections(self, ahead: int) -> tuple[float, float]:
        """Return the corrections of the step that follows `ahead` others."""
        optimizer = self.optimizer
        if isinstance(optimizer, Adam):
            return optimizer.corrections(optimizer._steps + 1 + ahead)
        return 1.0, 1.0

    def rates_of(self, factor: float) -> list[tuple[int, float]]:
        """Return the rates of a step with a factor of the schedule."""
        return [(begin, rate * factor) for begin, rate in self.rates]

    @property
    def averages(self) -> Array:
        """The averages in the memory of the host that the step changes."""
        buffers: Array | None = self.optimizer._buffers
        assert buffers is not None
        if isinstance(self.optimizer, SGD) and self.optimizer.momentum == 0:
            buffers.fill(0)
            return buffers[:0]
        return buffers


def _acts_around_steps(optimizer: FusedOptimizer) -> bool:
    """Return True if a subclass computes before or after a step, with the parameters in host memory."""
    kind = type(optimizer)
    return kind._prepare is not FusedOptimizer._prepare or kind.finish is not FusedOptimizer.finish


class DeviceSinks:
    """Steps of optimizers for a device, with the interface of `CoreSinks`."""

    def of(self, optimizer: Optimizer, parameters: Array, blocks: Blocks, factor: float) -> DeviceSink | None:
        """Return the optimizer's step for the device, or None if Python must call its `step`."""
        if not is_fused(optimizer) or _acts_around_steps(optimizer):
            return None
        rates = optimizer.rates(parameters, blocks)
        return DeviceSink(optimizer, rates, factor) if len(rates) <= _MOST_RATES else None

    def finish(self, optimizer: Optimizer) -> None:
        """Do nothing: `take_run` counts the steps."""


class PhaseFields(NamedTuple):
    """Solvers and second phase of a step as plain data."""

    free: SolverFields
    nudged: SolverFields
    side: tuple[float | None, int] | None
    nodes: Nodes

    @classmethod
    def of(cls, free: SolverFields, second: _core.NudgedPhases | _core.SideNetwork) -> PhaseFields:
        """Return the fields of a free phase and of the options of a second phase."""
        if isinstance(second, _core.SideNetwork):
            return cls(free, free, side_fields(second.solver), [])
        nodes, nudged = nudged_fields(second)
        return cls(free, nudged, None, nodes)


class Limits(NamedTuple):
    """Limits of norms and objectives; see cuda::RunSettings."""

    clip: float = math.inf
    memory: float = 0.0
    growth: float = math.inf
    least: float = 0.0
    judged: int = 1


class RunState(NamedTuple):
    """Numbers that a run changes with each step; see cuda::RunState."""

    steps: int = 0
    mean_norm: float = math.nan
    clipped: float = 0.0
    start: float = 1.0
    recent: float = 0.0


class Step(NamedTuple):
    """One step of a run; see cuda::RunStep."""

    first: int | None
    samples: int
    start: int | None
    nodes: Nodes
    rates: list[tuple[int, float]]
    corrections: tuple[float, float]
    mean_weight: float = 1.0
    averaging: int = 0
    averaging_weight: float = 0.0


class Run(NamedTuple):
    """Settings of all steps of a run."""

    phases: PhaseFields
    logit_scale: float
    classes: bool
    sink: DeviceSink
    limits: Limits


class RunResult(NamedTuple):
    """Records of the steps that were taken, or refused, and what the run changed besides the optimizer."""

    records: list[Record]
    taken: int
    stop: Stop
    state: RunState
    mean: Array


class Record(NamedTuple):
    """Metrics of a step, and numbers of samples by status; see cuda::StepRecord."""

    numbers: NDArray[np.float64]

    @property
    def metrics(self) -> tuple[float, float, float, float, float, int, float, float, int]:
        """The fields of `Metrics` but the advice."""
        objective, error, free, second, residual, failed, norm, inexact = self.numbers[:8].tolist()
        inaccurate = int(self.numbers[14 + Status.INACCURATE])
        return objective, error, free, second, residual, int(failed), norm, inexact, inaccurate

    @property
    def statuses(self) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Statuses of the free and of the second phase, each as often as there are samples with it."""
        values = np.arange(6, dtype=np.int8)
        free, second = (self.numbers[i : i + 6].astype(np.int64) for i in (8, 14))
        return np.repeat(values, free), np.repeat(values, second)

    @property
    def largest_error(self) -> float:
        """Largest estimated error of a sample whose gradient is inaccurate."""
        return float(self.numbers[20])


def take_run(
    residence: Any, batch: Any, run: Run, steps: Sequence[Step], samples: Array, state: RunState, mean: Array
) -> RunResult:
    """Take steps, and store parameters and averages of the optimizer in the memory of the host.

    If the device fails, those of the host are as they were.

    Parameters
    ----------
    residence : Residence
    batch : DeviceBatch
        The batch of the residence.
    run : Run
    steps : sequence of Step
    samples : (numbers,) int32 array
        Numbers of the samples of the steps in the data that are held.
    state : RunState
    mean : (parameters,) array
        Average of the parameters; empty for none.
    """
    optimizer, averages = run.sink.optimizer, run.sink.averages
    there, count = residence.averages
    if len(averages) and not (there is optimizer._buffers and count == optimizer._steps):
        batch.write_averages(averages)
    residence.forget()
    phases = run.phases
    options = (phases.free, phases.nudged, phases.side, run.logit_scale, run.classes)
    rows, after, stop, theta, *changed, mean = batch.run(
        *options, run.sink.numbers, run.limits, list(steps), samples, state, mean
    )
    records = [Record(row) for row in rows if row[-1] >= 0]
    taken = sum(record.numbers[-1] in (Stop.NONE, Stop.OBJECTIVE) for record in records)
    residence.keep(theta)
    for average, new in zip(averages, changed, strict=False):
        average[:] = new
    optimizer._steps += taken
    residence.averages = (optimizer._buffers, optimizer._steps)
    return RunResult(records, taken, Stop(stop), RunState(*after), mean)
