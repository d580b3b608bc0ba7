"""Training steps whose batches are divided into shards, which one process or several compute.

The gradient of a batch is the sum of those of its shards in a fixed binary tree, so it has the same bits
however the shards are divided among processes; see docs/scaling.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_codes_or_targets
from equiprop.black_box import BlackBox
from equiprop.checks import require
from equiprop.clipping import norm_of
from equiprop.costs import core_weights
from equiprop.cuda import DeviceNetwork
from equiprop.history import Metrics
from equiprop.model_interface import Model
from equiprop.processes import Alone, Communicator, Totals, check_group, check_shards, gathered
from equiprop.results import Status, outcome_of, ran_away
from equiprop.second_phase import judged
from equiprop.stepping import Part, PhaseDivergence, Settings, Stepper, phase_cures

_WHERE = "Trainer.step"
_FIXED_STEPS, _DIVERGED = int(Status.FIXED_STEPS), int(Status.DIVERGED)


class _Sums(NamedTuple):
    """Sums over the samples of a batch, in the order of `Totals.sums`."""

    objective: float  # of w_i C_i
    error: float  # of w_i e_i, with the mean squared errors e_i of targets
    free_iterations: float
    second_iterations: float
    failed: float
    square: float  # of the squared error estimates of the second phase
    inaccurate: float
    diverged: float


class _Maxima(NamedTuple):
    """Maxima over shards and processes, in the order of `Totals.maxima`."""

    residual: float
    place: float
    minus_place: float
    request: float


class ShardedStepper:
    """Takes training steps together with the other processes of a group.

    Parameters
    ----------
    shards : int
        Number of shards of a batch, a power of two. Shard k of a batch of n samples has those from
        n k / shards to n (k + 1) / shards.

    Attributes
    ----------
    group : Communicator
        The processes, at most as many as shards. Process p computes the p-th of equal parts of the shards.
    request : int
        A number that this process tells the others in the next step.
    agreed : int
        The largest request of all processes in the last step.
    """

    def __init__(self, shards: int) -> None:
        self.shards: int = shards
        self.group: Communicator = Alone()
        self.request: int = 0
        self.agreed: int = 0
        self._steppers: dict[int, Stepper] = {}

    def __reduce__(self) -> tuple[type[ShardedStepper], tuple[int]]:
        return ShardedStepper, (self.shards,)

    def own(self, samples: int) -> slice:
        """Return the places of the samples of this process in a batch."""
        share = self._own_shards
        return slice(self._begin(share.start, samples), self._begin(share.stop, samples))

    @property
    def _own_shards(self) -> range:
        share = self.shards // self.group.size
        return range(self.group.rank * share, (self.group.rank + 1) * share)

    def _begin(self, shard: int, samples: int) -> int:
        return samples * shard // self.shards

    def take(self, settings: Settings, x: Any, y: Any, sample_weight: Any = None) -> Metrics:
        """Take a step; raise PhaseDivergence if a sample of any process diverged.

        Parameters
        ----------
        settings : Settings
        x : array
            Inputs of all samples of the batch, or of those of this process.
        y, sample_weight : array
            Those of all samples of the batch.
        """
        s, model = settings, settings.model
        y = as_codes_or_targets(y, model.num_outputs, model.dtype, _WHERE)
        weights = core_weights(sample_weight, model, len(y), _WHERE)
        batch = _Batch(s, self._own_inputs(s, x, len(y)), y, weights, self.own(len(y)))
        total = self._sum(batch, self._own_shards)
        maxima, sums = self._add_others(total, s.number), _Sums(*map(float, total.sums))
        self.agreed = int(maxima.request)
        norm = norm_of(total.gradient)
        overflow = not (sums.diverged or math.isfinite(norm))
        failed = sums.failed or sums.diverged or overflow
        advice = self._advice(batch, bool(sums.diverged), overflow) if failed else ()
        cut = s.clipping.cut(total.gradient, norm)
        s.optimizer.step(model.parameters, cut, model.block_slices, s.factor)
        s.clipping.record(norm)
        return _metrics(
            sums, maxima.residual, batch, math.nan if s.clipping.factor == math.inf else norm, advice
        )

    def _add_others(self, total: Totals, place: float) -> _Maxima:
        """Add the totals of all processes, which are at the same place; return the maxima."""
        total.maxima[1:] = place, -place, self.request
        total.add_others(self.group)
        maxima = _Maxima(*map(float, total.maxima))
        _check_place(maxima, place)
        return maxima

    def leave(self, model: Model) -> None:
        """Tell the other processes that this one takes no more steps; raise RuntimeError if they do."""
        self._add_others(_totals(model), math.inf)

    def _own_inputs(self, s: Settings, x: Any, samples: int) -> Array:
        """Return the inputs of the samples of this process; x may be those of all samples."""
        own = self.own(samples)
        count = own.stop - own.start
        if count == 0 and len(x) == 0:
            return np.zeros((0, 0), s.model.dtype)
        inputs: Array = np.asarray(s.model.as_input(x, _WHERE))
        if len(inputs) == samples:
            inputs = inputs[own]
        rule = "`y` has one target for each sample"
        require(len(inputs) == count, _WHERE, rule, f"{samples} for {len(inputs)} samples")
        return inputs

    def _sum(self, batch: _Batch, shards: range) -> Totals:
        """Return the totals of consecutive shards, whose number is a power of two, added in a binary tree."""
        if len(shards) == 1:
            return self._shard(batch, shards.start)
        half = len(shards) // 2
        total = self._sum(batch, shards[:half])
        total.add(self._sum(batch, shards[half:]))
        return total

    def _shard(self, batch: _Batch, shard: int) -> Totals:
        """Return the totals of one shard."""
        samples = len(batch.y)
        rows = slice(self._begin(shard, samples), self._begin(shard + 1, samples))
        model, count = batch.settings.model, rows.stop - rows.start
        total = _totals(model)
        if count:
            stepper = self._steppers.setdefault(count, Stepper())  # each keeps memory for its batch size
            part = batch.take(stepper, rows)
            total.sums[:] = _sums_of(part, batch, rows)
            total.maxima[0] = math.nan if part.free is None else part.free[2].max()
            if part.gradient is not None:
                np.multiply(part.gradient, model.dtype.type(count / samples), out=total.gradient)
        return total

    def _advice(self, batch: _Batch, diverged: bool, overflow: bool) -> tuple[str, ...]:
        """Return advice for the samples of all processes.

        Raise PhaseDivergence if one diverged, or if the norm of the gradient has an overflow.
        """
        rows = gathered(batch.reports, batch.own, len(batch.y), self.group)
        if overflow:
            rows[5] = ran_away(rows[5])
        s = batch.settings
        of_free, of_second = phase_cures(s.model, s.solver, s.second_phase)
        second = rows[5:, ~np.isnan(rows[5])]
        outcomes = (
            ("free phase", outcome_of(rows[:5, ~np.isnan(rows[0])], of_free)),
            ("second phase", outcome_of(second, judged(tuple(second), of_second))),
        )
        for name, outcome in outcomes:
            if (diverged or overflow) and outcome.status.max(initial=0) == _DIVERGED:
                raise PhaseDivergence(name, outcome)
        return tuple(dict.fromkeys(sentence for _, outcome in outcomes for sentence in outcome.advice))


class _Batch:
    """A batch, of which this process has the inputs of its own samples.

    Attributes
    ----------
    reports : (10, own samples) array
        Numbers of the free phase, and below them of the second phase; NaN for a phase that is not known.
    """

    def __init__(self, settings: Settings, x: Array, y: Array, weights: Array | None, own: slice) -> None:
        self.settings: Settings = settings
        self.x: Array = x
        self.y: Array = y
        self.weights: Array | None = weights
        self.own: slice = own
        self.reports: NDArray[np.float64] = np.full((10, own.stop - own.start), np.nan)

    def take(self, stepper: Stepper, rows: slice) -> Part:
        """Return the part of a step that the samples at some places give."""
        own = slice(rows.start - self.own.start, rows.stop - self.own.start)
        weights = None if self.weights is None else self.weights[rows]
        part = stepper.part(self.settings, self.x[own], self.y[rows], weights)
        for begin, report in ((0, part.free), (5, part.second)):
            if report is not None and len(report[0]):
                self.reports[begin : begin + 5, own] = report
        return part

    def weight(self, rows: slice) -> float:
        """Return the sum of the weights of the samples at some places."""
        if self.weights is None:
            return float(len(self.y[rows]))
        return float(self.weights[rows].sum(dtype=np.float64))

    @property
    def is_classification(self) -> bool:
        return self.y.ndim == 1


def _sums_of(part: Part, batch: _Batch, rows: slice) -> _Sums:
    """Return the sums of a shard."""
    count, weight = rows.stop - rows.start, batch.weight(rows)
    if part.gradient is None or part.free is None or part.second is None:
        return _Sums(0, 0, 0, 0, 0, 0, 0, diverged=1)
    free, second = part.free, part.second
    return _Sums(
        part.objective * count,
        (part.error if batch.is_classification else part.error**2) * weight,
        float(free[1].sum()),
        float(second[1].sum()),
        float((np.maximum(free[0], second[0]) > _FIXED_STEPS).sum()),
        float(np.square(second[4]).sum()),
        float((second[0] == Status.INACCURATE).sum()),
        diverged=0,
    )


def _metrics(sums: _Sums, residual: float, batch: _Batch, norm: float, advice: tuple[str, ...]) -> Metrics:
    """Return the metrics of a batch."""
    samples, weight = len(batch.y), batch.weight(slice(None))
    error = sums.error / weight if weight else 0.0
    return Metrics(
        sums.objective / samples,
        error if batch.is_classification else math.sqrt(error),
        sums.free_iterations / samples,
        sums.second_iterations / samples,
        residual,
        int(sums.failed),
        norm,
        math.sqrt(sums.square / samples),
        int(sums.inaccurate),
        advice,
    )


def _totals(model: Model) -> Totals:
    return Totals(len(_Sums._fields), len(_Maxima._fields), model.parameters.size, model.dtype)


def _check_place(maxima: _Maxima, place: float) -> None:
    """Raise RuntimeError if the processes are not at the same step."""
    first, last = -maxima.minus_place, maxima.place
    if first != last:
        names = ["the end" if n == math.inf else f"step {int(n)}" for n in (place, first, last)]
        raise RuntimeError(
            f"[{_WHERE}] All processes take the same steps. Received {names[0]} in this process, and "
            f"{names[1]} to {names[2]} in all; a callback that ends a training or takes a step does so in "
            "every process."
        )


class Divided(Protocol):
    """The part of a `Trainer` whose batches are divided."""

    model: Model
    shards: int | None
    free_start: str
    _sharded: ShardedStepper | None

    def check_settings(self) -> None: ...  # noqa: D102


def sharded(trainer: Divided) -> ShardedStepper | None:
    """Return the stepper of a trainer with shards, which is kept while their number does not change.

    Raises
    ------
    TypeError, ValueError
        If `shards` is no power of two, or another setting does not allow any.
    """
    present, model = trainer._sharded, trainer.model
    group = Alone() if present is None else present.group
    if trainer.shards is None:
        if group.size > 1:
            check_group(group, None, "Trainer")
        return None
    trainer.shards = check_shards(trainer.shards, "Trainer")
    own = isinstance(model, BlackBox)
    require(not own, "Trainer", "The shards of a batch need a model that can be copied: shards=None", model)
    on_device = isinstance(model, DeviceNetwork)
    require(not on_device, "Trainer", "Shards are computed on the CPU: shards=None", "a model on a device")
    rule = "Kept free states belong to whole batches: free_start is 'rest' with shards"
    require(trainer.free_start == "rest", "Trainer", rule, trainer.free_start)
    if present is not None and present.shards == trainer.shards:
        return present
    check_group(group, trainer.shards, "Trainer")
    new = ShardedStepper(trainer.shards)
    new.group = group
    return new


@contextmanager
def together(trainer: Divided, group: Communicator | None) -> Iterator[None]:
    """Let a trainer take its steps together with the processes of a group, or alone if it is None.

    Raises
    ------
    TypeError, ValueError
        If `group` is no group, or its number of processes does not fit the shards.
    RuntimeError
        If another process is at another step when this one leaves.
    """
    if group is None:
        yield
        return
    trainer.check_settings()
    check_group(group, trainer.shards, "Trainer.fit")
    assert trainer._sharded is not None
    trainer._sharded.group = group
    try:
        yield
        trainer._sharded.leave(trainer.model)
    finally:
        trainer._sharded.group = Alone()
        trainer._sharded.request = trainer._sharded.agreed = 0


def agreed(trainer: Any, request: int | None) -> int | None:
    """Pass a request to the other processes in the next step; return the largest of the last step, or None.

    Parameters
    ----------
    trainer : Trainer
        It has shards.
    request : int, optional
        A positive number.
    """
    stepper: ShardedStepper = trainer._sharded
    stepper.request = request or 0
    return stepper.agreed or None
