"""Health of a training: an objective that runs away, and the last parameters that were well."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.arrays import Array, as_codes_or_targets
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.models import Model

#: An objective beyond this multiple of its start has run away.
_RUNAWAY = 10.0
#: Objective of one output that is wrong by 1. Outputs are of size 1, so a smaller start counts as this large.
_SMALL = 0.5
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
    kept: Array | None = field(default=None, repr=False)

    def begin(self, model: Model, cost: Cost, y: Any) -> None:
        """Keep the parameters before the first step, and the objective of outputs that are 0."""
        targets = as_codes_or_targets(y, model.num_outputs, model.dtype, "Trainer.step")
        self.start = objective_of_zero(cost, model.num_outputs, targets)
        self.keep(model, 0)

    def has_run_away(self, objective: float, step: int) -> bool:
        """Return True if the objective of a step is beyond ten times its start, or not finite."""
        if step == 0 and math.isfinite(objective):
            self.start = max(self.start, objective, _SMALL)
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
