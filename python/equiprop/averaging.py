"""Exponential moving average of the parameters over the steps of a training."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import real, require
from equiprop.model_interface import Model

#: Number of parameters that are averaged at a time, so that they stay in the cache.
_PIECE = 1 << 14


@dataclass
class Average:
    r"""Moving average of the parameters, in their own precision.

    .. math:: \bar\theta_1 = \theta_1, \qquad \bar\theta_{t+1} = d_t \bar\theta_t + (1 - d_t)\,\theta_{t+1},
       \qquad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    after step t + 1. The decay :math:`d_t` grows, so that a short training forgets its start (as in the
    ExponentialMovingAverage of TensorFlow).

    Parameters
    ----------
    decay : float in [0, 1), optional
        Largest decay d; None for no average.

    Attributes
    ----------
    mean : (parameters,) array, optional
        The average; None before the first step.
    steps : int
        Number t of steps that it contains.
    """

    decay: float | None
    mean: Array | None = field(default=None, init=False, repr=False, compare=False)
    steps: int = field(default=0, init=False)
    _model: Model | None = field(
        default=None, init=False, repr=False, compare=False, metadata={"saved": False}
    )

    def __post_init__(self) -> None:
        if self.decay is not None:
            self.decay = real(self.decay, "Trainer", "averaging")
            require(0 <= self.decay < 1, "Trainer", "averaging, if given, lies in [0, 1)", self.decay)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which makes a model of its own."""
        return {**self.__dict__, "_model": None}

    def with_decay(self, decay: float | None) -> Average:
        """Return this average with another decay; a new one without any if the decay is None."""
        new = Average(decay)
        if new.decay is None:
            return new
        self.decay = new.decay
        return self

    def after_step(self, parameters: Array) -> None:
        """Add the parameters after a step."""
        if self.decay is None:
            return
        if self.mean is None:
            self.mean = parameters.copy()
        else:
            _move(self.mean, parameters, self.next_change(0)[1])
        self.count()

    def next_change(self, ahead: int) -> tuple[int, float]:
        """Return what the step after `ahead` others does, 0 nothing, 1 a copy or 2 a move, and its weight."""
        if self.decay is None:
            return 0, 0.0
        steps = self.steps + ahead
        if self.mean is None and ahead == 0:
            return 1, 1.0
        return 2, 1 - min(self.decay, (1 + steps) / (10 + steps))

    def count(self) -> None:
        """Count a step after which the parameters were added."""
        if self.decay is not None:
            self.steps += 1

    def set(self, mean: Array) -> None:
        """Replace the average by one that was computed elsewhere."""
        if self.mean is None:
            self.mean = mean
        else:
            self.mean[:] = mean

    def model_of(self, model: Model) -> Model:
        """Return a copy of a model that has the averaged parameters, and scaling and classes of `model`.

        Its parameters are the memory of `mean`. Without an average it is `model` itself.
        """
        if self.mean is None:
            return model
        if self._model is None:
            self._model = copy.deepcopy(model)
            self._model.parameters[:] = self.mean
            self.mean = self._model.parameters
        self._model.scaling, self._model.classes = model.scaling, model.classes
        return self._model

    def restart(self, parameters: Array) -> None:
        """Set the average to parameters that replace those of the training."""
        if self.mean is not None:
            self.mean[:] = parameters

    def fits(self, parameters: Array) -> bool:
        """Return True if the average is finite and has the shape and the precision of the parameters."""
        mean = self.mean
        if mean is None:
            return True
        same = (mean.shape, mean.dtype) == (parameters.shape, parameters.dtype)
        return same and bool(np.isfinite(mean).all())


def _move(mean: Array, parameters: Array, weight: float) -> None:
    """Move `mean` towards the parameters by `weight` of the difference, in place."""
    rest, factor = np.empty(min(_PIECE, mean.size), mean.dtype), mean.dtype.type(weight)
    for begin in range(0, mean.size, _PIECE):
        piece = mean[begin : begin + _PIECE]
        difference = rest[: piece.size]
        np.subtract(parameters[begin : begin + _PIECE], piece, out=difference)
        difference *= factor
        piece += difference
