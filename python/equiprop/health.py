"""Health of a training: an objective that runs away, and what is kept of the steps to judge a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.arrays import Array, as_codes_or_targets
from equiprop.costs import Cost, CrossEntropy, terms_of
from equiprop.model_interface import Model

#: An objective beyond this multiple of its start has run away.
RUNAWAY = 10.0
#: Number of samples whose mean objective tells whether it has run away.
JUDGED = 20
#: Objective of one output that is wrong by 1. Outputs are of size 1, so a smaller start counts as this large.
SMALL = 0.5
#: Parameters are kept every so many steps.
_INTERVAL = 100
#: The update of a step is measured again after so many times the steps of the last time.
_AGAIN = 1.2


@dataclass
class Health:
    """Watches the objective of each step, keeps parameters to go back to, and counts samples of a run.

    Attributes
    ----------
    start : float
        Objective of the first step, or that of outputs that are 0 if this is larger, at least 1/2.
    recent : float
        Objective of the last step, or of about the last 20 samples if a step has fewer.
    step : int
        Number of the step after which `kept` was copied.
    kept : (parameters,) array, optional
        Parameters after step `step`, at which the objective had not run away; or those before the first step.
    copied : int
        Number of the step after which parameters were copied last.
    candidate : (parameters,) array, optional
        Parameters after step `copied`, at which the objective is not known yet.
    fitted : bool
        True if the network began with start values that fit its first data.
    moves : dict of str to float
        Size of the update of one step, relative to that of the block, for each block of the parameters; NaN
        for a block that was 0.
    moved : int
        Number of that step, the first one after parameters were kept.
    largest_move : float
        Largest relative size of an update of all parameters, among those that were measured.
    samples, unconverged, inaccurate : int
        Numbers of samples in the epochs of this run: all, those that did not converge, and those that
        converged to an inaccurate gradient. A run is a call of `Trainer.fit`, and those that resume it.
    probed : int
        Number of the step after which the units were examined last.
    said : list of str
        Kinds of faults that were reported in this run.
    probe : tuple of arrays (x, y), optional
        Samples of the last call of `Trainer.fit`, on which `Trainer.explain` examines the units.
    """

    start: float = math.nan
    recent: float = 0.0
    step: int = 0
    kept: Array | None = field(default=None, repr=False, compare=False)
    copied: int = field(default=0, compare=False)
    candidate: Array | None = field(default=None, repr=False, compare=False)
    fitted: bool = field(default=False, compare=False)
    moves: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    moved: int = field(default=0, compare=False)
    largest_move: float = field(default=0.0, compare=False)
    samples: int = field(default=0, compare=False)
    unconverged: int = field(default=0, compare=False)
    inaccurate: int = field(default=0, compare=False)
    probed: int = field(default=0, compare=False)
    said: list[str] = field(default_factory=list, compare=False)
    probe: tuple[Array, Array] | None = field(
        default=None, repr=False, compare=False, metadata={"saved": False}
    )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for `pickle` and `copy`, which does not contain samples of the data."""
        return {**vars(self), "probe": None}

    def begin(self, model: Model, cost: Cost, y: Any) -> None:
        """Keep the parameters before the first step, and the objective of outputs that are 0."""
        targets = as_codes_or_targets(y, model.num_outputs, model.dtype, "Trainer.step")
        self.start = objective_of_zero(cost, model, targets)
        self.kept, self.step, self.copied = model.parameters.copy(), 0, 0

    def begin_run(self) -> None:
        """Forget what was counted and said in an earlier run."""
        self.samples = self.unconverged = self.inaccurate = 0
        self.said = []

    def count(self, unconverged: int, inaccurate: int, samples: int) -> None:
        """Add the numbers of samples of an epoch."""
        self.samples += samples
        self.unconverged += unconverged
        self.inaccurate += inaccurate

    def has_run_away(self, objective: float, step: int, cost: Cost, model: Model, y: Any) -> bool:
        """Return True if the objective of a step is beyond ten times its start, or not finite.

        Single samples may cost as much without harm, so of fewer than 20 samples the running mean over about
        20 counts. Larger targets y than those of the first step raise the start. The objective is that of the
        parameters before the step: if it has not run away, those that were copied last become the kept ones.
        """
        candidate, self.candidate = self.candidate, None
        if self._is_beyond(objective, step, cost, model, y):
            return True
        if candidate is not None:
            self.kept, self.step = candidate, self.copied
        return False

    def _is_beyond(self, objective: float, step: int, cost: Cost, model: Model, y: Any) -> bool:
        """Return True if the objective is beyond its limit, which the first step or larger targets raise."""
        if step == 0 and math.isfinite(objective):
            self.start = max(self.start, objective, SMALL)
        whole = step == 0 or len(y) >= JUDGED or not math.isfinite(objective)
        self.recent = objective if whole else self.recent + (objective - self.recent) * len(y) / JUDGED
        if self.recent <= RUNAWAY * self.start:
            return False
        targets = as_codes_or_targets(y, model.num_outputs, model.dtype, "Trainer.step")
        self.start = max(self.start, objective_of_zero(cost, model, targets))
        if self.recent <= RUNAWAY * self.start:
            return False
        self.recent = self.start  # the parameters may be restored
        return True

    def after_step(self, model: Model, step: int) -> None:
        """Copy the parameters after every 100th step, and measure the update of the step after that."""
        if step == self.step + 1 and step >= _AGAIN * self.moved:
            self._measure(model, step)
        if step % _INTERVAL == 0:
            self.keep(model, step)

    def next_look(self, step: int) -> int:
        """Return the number of the step after `step` at which `after_step` does something."""
        if step == self.copied and step + 1 >= _AGAIN * self.moved:
            return step + 1
        return step - step % _INTERVAL + _INTERVAL

    def keep(self, model: Model, step: int) -> None:
        """Copy the parameters after `step` steps, which are kept once the next objective has not run away."""
        self.candidate, self.copied = model.parameters.copy(), step

    def _measure(self, model: Model, step: int) -> None:
        """Measure the update of step `step`, before which the parameters were kept."""
        kept = self.kept
        assert kept is not None
        update, self.moved = model.parameters - kept, step
        with np.errstate(all="ignore"):
            for name, where in model.block_slices.items():
                self.moves[name] = _ratio(update[where], kept[where])
            self.largest_move = max(self.largest_move, _ratio(update, kept))

    def restore(self, model: Model) -> None:
        """Copy the kept parameters into the model, and forget those whose objective is not known."""
        self.candidate = None
        if self.kept is not None:
            model.parameters[:] = self.kept


def _ratio(update: Array, parameters: Array) -> float:
    """Return the length of an update relative to that of the parameters; NaN if these are 0."""
    size, change = float(parameters @ parameters), float(update @ update)
    return math.sqrt(change / size) if 0 < size < math.inf else math.nan


def objective_of_zero(cost: Cost, model: Model, y: Array) -> float:
    """Return the mean cost of states that are 0 for targets or labels y; 0 for a cost that is not known."""
    total = 0.0
    for term in terms_of(cost, model, "Trainer.step"):
        targets = term.targets(model, y, "Trainer.step")
        if isinstance(term.cost, CrossEntropy):
            total += term.scale * math.log(term.units)
        elif targets.ndim == 1:
            total += term.scale * 0.5
        else:
            with np.errstate(over="ignore"):
                square = float(np.square(targets, dtype=np.float64).sum(axis=1).mean())
            total += term.scale * 0.5 * square
    return total
