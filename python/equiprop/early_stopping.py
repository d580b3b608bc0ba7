"""Early stopping: the epoch of lowest validation error, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from equiprop.arrays import Array
from equiprop.history import Epoch
from equiprop.models import Model


@dataclass
class BestEpoch:
    """The epoch of lowest validation error so far; without `patience` it keeps nothing."""

    patience: int | None
    error: float = float("inf")
    epoch: int = 0
    parameters: Array | None = None

    def should_stop(self, record: Epoch, model: Model) -> bool:
        """Return whether `patience` epochs have passed since the best one, after looking at one more."""
        if self.patience is None or record.validation_error is None:
            return False
        if record.validation_error < self.error:
            self.error, self.epoch = record.validation_error, record.epoch
            self.parameters = model.parameters.copy()
        return record.epoch - self.epoch >= self.patience

    def restore(self, model: Model) -> None:
        """Give the model the parameters of the best epoch."""
        if self.parameters is not None:
            model.parameters[:] = self.parameters
