"""Early stopping: the epoch of lowest validation error, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from equiprop.arrays import Array
from equiprop.history import Epoch
from equiprop.model_interface import Model


@dataclass
class BestEpoch:
    """The epoch with the lowest validation error so far, and its parameters.

    Attributes
    ----------
    patience : int, optional
        Number of epochs without a lower error after which training stops; None turns early stopping off.
    error : float
        Lowest validation error.
    epoch : int
        Number of that epoch, from 1; 0 before the first one.
    parameters : (parameters,) array, optional
        Copy of the parameters after that epoch with which the error was measured.
    """

    patience: int | None
    error: float = float("inf")
    epoch: int = 0
    parameters: Array | None = None

    def should_stop(self, record: Epoch, model: Model) -> bool:
        """Record one more epoch, and return True if `patience` epochs have passed since the best one."""
        if self.patience is None or record.validation_error is None:
            return False
        if record.validation_error < self.error:
            self.error, self.epoch = record.validation_error, record.epoch
            self.parameters = model.parameters.copy()
        return record.epoch - self.epoch >= self.patience

    def restore(self, model: Model) -> bool:
        """Copy the parameters of the best epoch into the model; return False if there are none."""
        if self.parameters is None:
            return False
        model.parameters[:] = self.parameters
        return True
