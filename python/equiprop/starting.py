"""Start values and learning rates of a training, and the growth of its parameters since then."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.dataset import Dataset
from equiprop.defaults import start
from equiprop.explaining import Explainer
from equiprop.history import Metrics
from equiprop.overflow import growth_advice, largest_size, overflow_error, runaway_error
from equiprop.overlap import updating
from equiprop.scaling import Scaling
from equiprop.training_data import as_dataset, chosen_scaling
from equiprop.weights import mean_weight

#: Stream of random numbers for the samples from which start values are computed, and their largest number.
_START_STREAM, _START_SAMPLES = 2**40 + 1, 500
#: Parameters that are so many times larger than at the start have diverged.
_MOST_GROWTH = 1e6
#: Automatic rates fall as 1 / sqrt(1 + steps / 200).
_DECAY_STEPS = 200


class Starter(Explainer):
    """The part of a `Trainer` that sets start values and rates, and compares the parameters with them."""

    seed: int
    schedule: Callable[[float], float] | None
    _largest_at_start: float
    _started: bool

    def prepare(self, data: Any, y: Any = None, *, scaling: Scaling | float | str | None = None) -> None:
        """Set start values and learning rates that fit a Dataset, or arrays x and y, as `fit` does first.

        A network keeps parameters that were changed after its construction, or that have a gain of their own.
        Only the learning rate "auto" is replaced. Later calls have no effect. `scaling` is that of `fit`.
        """
        where = "Trainer.prepare"
        with updating(self.model, where, self):
            self.check_settings()
            data = as_dataset(data, y, self.model, self.classes, where)
            self._prepare(data.with_scale(chosen_scaling(data, scaling, self.model, where)), where)

    def _prepare(self, data: Dataset, where: str) -> None:
        if not self._started:
            rows = _core.permutation(len(data), self.seed, _START_STREAM)[:_START_SAMPLES]
            self._start(self.model.as_input(data.batch(np.sort(rows), self.model.dtype)[0], where))

    def _start(self, x: Array) -> None:
        """Set start values and rates that fit inputs x (samples, inputs); see `defaults.start`."""
        self._health.fitted = getattr(self.model, "fresh_seed", None) is not None
        self._automatic = start(self.model, self.optimizer, self.cost, np.asarray(x))
        self._largest_at_start = largest_size(self.model.parameters)
        self._started = True

    def rate_factor(self, progress: float, ahead: int = 0) -> float:
        """Return the factor of the learning rate in the step that follows `ahead` others."""
        if self.schedule is not None:
            return self.schedule(progress)
        return 1 / math.sqrt(1 + (self.steps + ahead) / _DECAY_STEPS) if self._automatic else 1.0

    def judge(self, metrics: Metrics, y: Any, sample_weight: Any) -> None:
        """Raise ConvergenceError if the objective of a step has run away."""
        mean_cost = metrics.objective / mean_weight(sample_weight, "Trainer.step")
        if self._health.has_run_away(mean_cost, self.steps, self.cost, self.model, y):
            raise runaway_error(mean_cost, self._health.start, self.growth_advice())

    def check_parameters(self) -> None:
        """Raise ConvergenceError if a parameter is not finite, or a million times as large as before."""
        largest = largest_size(self.model.parameters)
        if not largest <= _MOST_GROWTH * max(self._largest_at_start, 1.0):
            raise overflow_error(self.growth_advice())

    def growth_advice(self) -> tuple[str, ...]:
        """Return advice to lower the learning rate, if the largest parameter grew much; otherwise nothing."""
        rate = getattr(self.optimizer, "learning_rate", None)
        return growth_advice(self._largest_at_start, largest_size(self.model.parameters), self.steps, rate)
