"""Health of a training: an objective that runs away, and an error that stays at chance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.arrays import Array, as_codes_or_targets
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.dataset import Dataset
from equiprop.history import Epoch
from equiprop.models import Model
from equiprop.results import TrainingWarning
from equiprop.solvers import FreeSolver, free_phase

#: An objective beyond this multiple of its start has run away.
_RUNAWAY = 10.0
#: Objective of one output that is wrong by 1. Outputs are of size 1, so a smaller start counts as this large.
_SMALL = 0.5
#: Number of samples on which the response of units is measured.
_PROBED = 100
#: No warning of chance before this many steps.
_EARLY = 50
#: Parameters are kept every so many steps.
_INTERVAL = 100


@dataclass
class Health:
    """Watches the objective of each step, and keeps parameters to go back to.

    Attributes
    ----------
    start : float
        Objective of the first step, or that of outputs that are 0 if this is larger, at least 1/2.
    kept : (parameters,) array, optional
        Parameters after step `step`, at which the objective had not run away.
    """

    start: float = math.nan
    step: int = 0
    kept: Array | None = field(default=None, repr=False, compare=False)

    def begin(self, model: Model, cost: Cost, y: Any) -> None:
        """Keep the parameters before the first step, and the objective of outputs that are 0."""
        targets = as_codes_or_targets(y, model.num_outputs, model.dtype, "Trainer.step")
        self.start = objective_of_zero(cost, model.num_outputs, targets)
        self.keep(model, 0)

    def has_run_away(self, objective: float, step: int, cost: Cost, model: Model, y: Any) -> bool:
        """Return True if the objective of a step is beyond ten times its start, or not finite.

        Larger targets y than those of the first step raise the start.
        """
        if step == 0 and math.isfinite(objective):
            self.start = max(self.start, objective, _SMALL)
        if objective <= _RUNAWAY * self.start:
            return False
        targets = as_codes_or_targets(y, model.num_outputs, model.dtype, "Trainer.step")
        self.start = max(self.start, objective_of_zero(cost, model.num_outputs, targets))
        return not objective <= _RUNAWAY * self.start

    def keep(self, model: Model, step: int, *, interval: int = _INTERVAL) -> None:
        """Copy the parameters after `step` steps if it is a multiple of `interval`."""
        if step % interval == 0:
            self.kept, self.step = model.parameters.copy(), step

    def restore(self, model: Model) -> None:
        """Copy the kept parameters into the model."""
        if self.kept is not None:
            model.parameters[:] = self.kept


def objective_of_zero(cost: Cost, outputs: int, y: Array) -> float:
    """Return the mean cost of outputs that are 0 for targets or labels y; 0 for a cost that is not known."""
    if isinstance(cost, CrossEntropy):
        return math.log(outputs)
    if isinstance(cost, SquaredError):
        return 0.5 if y.ndim == 1 else 0.5 * float(np.square(y, dtype=np.float64).sum(axis=1).mean())
    return 0.0


def warn_if_at_chance(
    model: Model,
    solver: FreeSolver,
    data: Dataset,
    steps: int,
    epochs: Sequence[Epoch],
    growth: Sequence[str],
) -> None:
    """Emit a TrainingWarning if a classifier is no better than guessing the most frequent class.

    The warning names the cause that is measured: parameters that grew until units stopped to respond to the
    input, hidden units that do not respond, or an objective that hardly changed. Otherwise it says what to
    check.

    Parameters
    ----------
    model, solver : Model, FreeSolver
    data : Dataset
        Training data.
    steps : int
        Number of steps of the training; no warning before the 50th.
    epochs : sequence of Epoch
        Records of the training.
    growth : sequence of str
        Advice to lower the learning rate, if the parameters grew much.
    """
    if steps < _EARLY or not data.is_classification:
        return
    shares = np.bincount(data.y, data.sample_weight)
    error, guessing = epochs[-1].train_error, 1 - float(shares.max() / shares.sum())
    if not guessing > 0.1 or error < 0.95 * guessing:
        return
    warnings.warn(
        f"[Trainer.fit] After {steps} steps the training error, {error:.1%}, is no better than that of "
        f"guessing the most frequent class, {guessing:.1%}. "
        + _cause_of_chance(model, solver, data, epochs, growth),
        TrainingWarning,
        stacklevel=4,
    )


def _cause_of_chance(
    model: Model, solver: FreeSolver, data: Dataset, epochs: Sequence[Epoch], growth: Sequence[str]
) -> str:
    hidden, outputs = _silent_units(model, solver, data)
    if growth and max(hidden, outputs) > 0.5:
        return " ".join(growth)
    if hidden > 0.5:
        return (
            f"{hidden:.0%} of the hidden units do not respond to the input. Scale the features to a standard "
            "deviation of about 1, and construct the network without `gain`, to get other start values."
        )
    if len(epochs) > 1 and abs(epochs[-1].objective - epochs[0].objective) < 0.01 * epochs[0].objective:
        return "The objective hardly changed: raise the learning rate, or use the default, Adam('auto')."
    return (
        "No cause was found in the network: check that the labels belong to the samples, and that the "
        "defaults of optimizer, second phase and schedule do no better."
    )


def _silent_units(model: Model, solver: FreeSolver, data: Dataset) -> tuple[float, float]:
    """Return the shares of hidden units and of outputs that differ by less than 1e-3 between samples."""
    rows = np.unique(np.linspace(0, len(data) - 1, _PROBED).astype(np.int64))
    x, _ = data.batch(rows, model.dtype)
    state = free_phase(model, x, solver=solver, on_failure="ignore").state
    silent = np.ptp(state, axis=0) < 1e-3
    hidden, outputs = silent[: -model.num_outputs], silent[-model.num_outputs :]
    return float(hidden.mean()) if len(hidden) else 0.0, float(outputs.mean())
