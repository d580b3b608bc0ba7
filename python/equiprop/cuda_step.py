"""Training steps on a device, with the interface of the core's `TrainingStep`."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.clipping import norm_of
from equiprop.cuda_fields import (
    FREE_SLOT,
    NUDGED_SLOT,
    DeviceCost,
    clamp,
    nudged_fields,
    relax_free,
    side_fields,
    solver_fields,
)
from equiprop.cuda_run import (
    DeviceSink,
    DeviceSinks,
    Limits,
    PhaseFields,
    Run,
    RunState,
    Step,
    Stop,
    take_run,
)
from equiprop.evaluation import mean_error, sample_errors
from equiprop.results import Outcome, Status, judged_together, ran_away

_FIXED_STEPS, _DIVERGED = int(Status.FIXED_STEPS), int(Status.DIVERGED)
_Report = tuple[Any, ...]


class DeviceStep:
    """Training steps on the device.

    The device takes the step of the optimizer, too, if it can; otherwise it returns the gradient.

    Attributes
    ----------
    sinks : DeviceSinks
    """

    def __init__(self, host: _core.Precision, model: Any, network: object) -> None:  # noqa: ARG002
        self._host, self._model = host, model
        self.sinks: DeviceSinks = DeviceSinks()
        self._reports: tuple[_Report, _Report] | None = (((),), ((),))
        self._free_state: Array | None = np.empty((0, 0), model.dtype)

    @property
    def free(self) -> _Report:
        """Report of the free phase of the last step."""
        return self._both[0]

    @property
    def second(self) -> _Report:
        """Report of the second phase of the last step; empty if the free phase diverged."""
        return self._both[1]

    @property
    def free_state(self) -> Array:
        """Free states (batch, units) of the last step, until the device is used for something else."""
        states = self._free_state
        if states is None:
            states = self._free_state = cast(Array, self._model.residence.batch(1).read(FREE_SLOT))
        return states

    @property
    def _both(self) -> tuple[_Report, _Report]:
        if self._reports is None:
            free, second = self._model.residence.batch(1).reports()
            self._reports = free, _together(second)
        return self._reports

    def take(
        self,
        x: Array,
        y: Array,
        cost: _core.CostKind | DeviceCost,
        solver: Any,
        second_phase: _core.NudgedPhases | _core.SideNetwork,
        sink: DeviceSink | None,
        largest_norm: float,
        sample_weight: Array | None = None,
        start: Array | None = None,
    ) -> tuple[float, float, float, float, float, int, float, float, int, Array | None] | None:
        """Take a step, or return its gradient if `sink` is None; return None if a sample diverged.

        The free phase begins at the states `start` (batch, units), or at rest. The results are the metrics of
        the step and the gradient, or None.
        """
        model = self._model
        targets = y if y.ndim == 2 else self._host.one_hot(y, model.num_outputs, "Trainer.step")
        if isinstance(cost, DeviceCost):
            sample_weight = cost.host.sample_weight
        with model.residence.lock:
            batch = model.residence.batch(len(x))
            clamp(batch, x, targets, cost.logit_scale)
            batch.set_sample_weights(sample_weight)
            if sink is None:
                return self._gradient(batch, y, solver, second_phase, largest_norm, sample_weight, start)
            return self._step(batch, y, cost.logit_scale, solver, second_phase, sink, largest_norm, start)

    def _step(
        self,
        batch: Any,
        y: Array,
        logit_scale: float,
        solver: Any,
        second_phase: _core.NudgedPhases | _core.SideNetwork,
        sink: DeviceSink,
        largest_norm: float,
        start: Array | None,
    ) -> tuple[Any, ...] | None:
        """Take a step on the batch that is clamped."""
        phases = PhaseFields.of(solver_fields(solver), second_phase)
        cuts, model = not math.isnan(largest_norm), self._model
        if start is not None:
            batch.write(NUDGED_SLOT, np.ascontiguousarray(start))
        run = Run(phases, logit_scale, y.ndim == 1, sink, Limits(clip=1.0 if cuts else math.inf))
        rates, corrections = sink.rates_of(sink.factor), sink.corrections(0)
        step = Step(None, len(y), None if start is None else NUDGED_SLOT, phases.nodes, rates, corrections)
        state = RunState(mean_norm=largest_norm if math.isfinite(largest_norm) else math.nan)
        rows = np.empty(0, np.int32), np.empty(0, model.dtype)
        result = take_run(model.residence, batch, run, [step], rows[0], state, rows[1])
        self._reports = self._free_state = None
        if result.taken:
            return *result.records[0].metrics, None
        if result.stop == Stop.FREE_PHASE:
            self._reports = self._both[0], ((),)
        elif result.stop == Stop.GRADIENT:  # another computation tells the samples that cause it
            second = _run(batch, second_phase)[3]
            self._reports = self._both[0], second if _diverged(second) else (ran_away(second[0]), *second[1:])
        return None

    def _gradient(
        self,
        batch: Any,
        y: Array,
        solver: Any,
        second_phase: _core.NudgedPhases | _core.SideNetwork,
        largest_norm: float,
        sample_weight: Array | None,
        start: Array | None,
    ) -> tuple[Any, ...] | None:
        """Return metrics and gradient of the batch that is clamped."""
        free, second = relax_free(batch, solver_fields(solver), start), ((),)
        self._reports, self._free_state = (free, second), batch.read(FREE_SLOT)
        if _diverged(free):
            return None
        gradient, _, objective, second = _run(batch, second_phase)
        self._reports = free, second
        if _diverged(second):
            return None
        norm = math.nan if math.isnan(largest_norm) else norm_of(gradient)
        if norm > largest_norm:
            gradient *= gradient.dtype.type(largest_norm / norm)
        outputs = self.free_state[:, -self._model.num_outputs :]
        return self._metrics(outputs, y, sample_weight, objective, norm, gradient)

    def _metrics(
        self, outputs: Array, y: Array, weights: Array | None, objective: float, norm: float, gradient: Array
    ) -> tuple[float, float, float, float, float, int, float, float, int, Array]:
        free, (inexact, status) = Outcome(*self.free), judged_together(Outcome(*self.second))
        self._reports = self.free, (status, *self.second[1:])
        classes = y.ndim == 1
        weights = None if weights is None else weights.astype(np.float64)
        return (
            objective,
            mean_error(sample_errors(outputs, y, classes), classes, weights),
            float(free.iterations.mean()),
            float(self.second[1].mean()),
            float(free.residual.max()),
            int((np.maximum(free.status, status) > _FIXED_STEPS).sum()),
            norm,
            inexact,
            int((status == Status.INACCURATE).sum()),
            gradient,
        )


def _together(report: _Report) -> _Report:
    """Return the report of a second phase with the statuses of its samples in their batch."""
    return (judged_together(Outcome(*report))[1], *report[1:])


def _run(batch: Any, second_phase: _core.NudgedPhases | _core.SideNetwork) -> Any:
    """Return gradient, derivative by the input, objective and report of a second phase."""
    if isinstance(second_phase, _core.SideNetwork):
        return batch.recurrent_backpropagation(*side_fields(second_phase.solver))
    return batch.equilibrium_propagation(*nudged_fields(second_phase))


def _diverged(report: _Report) -> bool:
    return int(report[0].max()) == _DIVERGED
