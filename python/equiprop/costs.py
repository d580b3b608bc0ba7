"""Costs C(o, y) of the outputs o of a network and targets y."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_codes_or_targets, as_targets, refuse_not_finite
from equiprop.checks import real, require
from equiprop.model_interface import Model
from equiprop.weights import as_sample_weight


@runtime_checkable
class Cost(Protocol):
    """A cost that can be bound to the targets of a batch."""

    def bind(self, model: Model, y: Any, where: str) -> _core.Cost:
        """Return the core's cost of a batch with targets y; `where` names the caller in errors."""
        ...


@dataclass(frozen=True)
class SquaredError:
    r"""C = 1/2 |o - y|^2, summed over outputs.

    Targets y are (batch, outputs), or integer class labels (batch,), which are encoded as one-hot.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 2])
    >>> gradient = eq.equilibrium_propagation(net, eq.free_phase(net, [[0, 1]]), [1], cost=eq.SquaredError())
    >>> gradient.objective > 0
    True
    """

    def bind(self, model: Model, y: Any, where: str) -> _core.Cost:
        """Return the core's cost of a batch with targets y; `where` names the caller in errors."""
        return model.core.bind_cost(_SQUARED_ERROR, as_targets(y, model.num_outputs, model.dtype, where))


@dataclass(frozen=True)
class CrossEntropy:
    r"""C = -sum_i y_i log softmax(a o)_i with a logit scale a.

    Targets y are probabilities (batch, outputs), each row of which sums to one, or integer class labels
    (batch,), which are encoded as one-hot. The outputs times a are logits: use a linear output activation.

    Parameters
    ----------
    logit_scale : float, positive, optional
        Inverse temperature a. By default 1, and 4 in a `Trainer`: large logits then need no large couplings,
        which would take away the stability of the fixed point (docs/training.md).

    Raises
    ------
    ValueError
        If `logit_scale` is not positive and finite.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 2], output_activation="linear")
    >>> gradient = eq.equilibrium_propagation(net, eq.free_phase(net, [[0, 1]]), [1], cost=eq.CrossEntropy())
    >>> gradient.objective > 0
    True
    """

    logit_scale: float | None = None

    def __post_init__(self) -> None:
        if self.logit_scale is not None:
            scale = real(self.logit_scale, "CrossEntropy", "logit_scale")
            require(0 < scale < math.inf, "CrossEntropy", "logit_scale is positive and finite", scale)

    @property
    def scale(self) -> float:
        """The logit scale, 1 if none was given."""
        return 1.0 if self.logit_scale is None else float(self.logit_scale)

    def bind(self, model: Model, y: Any, where: str) -> _core.Cost:
        """Return the core's cost of a batch with targets y; `where` names the caller in errors."""
        targets = as_targets(y, model.num_outputs, model.dtype, where)
        _check_probabilities(targets, where)
        return model.core.bind_cost(_cross_entropy(self.scale), targets)


def bind_cost(cost: Cost, model: Model, y: Any, samples: int, where: str, sample_weight: Any = None) -> Any:
    """Return the core's cost of a batch of `samples` samples with targets y, and with weights if given.

    Raises
    ------
    TypeError, ValueError
        If `cost` is not a cost, y does not have one target for each sample, or there is not one finite weight
        for each sample, at least 0.
    """
    known = isinstance(cost, SquaredError | CrossEntropy)  # faster than isinstance with a protocol
    if not known and (isinstance(cost, type) or not isinstance(cost, Cost)):
        raise TypeError(f"[{where}] A cost is a SquaredError() or CrossEntropy(). Received {cost!r}.")
    bound = cost.bind(model, y, where)
    if bound.batch != samples:
        raise ValueError(
            f"[{where}] `y` has one target for each sample. Received {bound.batch} for {samples} samples."
        )
    weights = core_weights(sample_weight, model, samples, where)
    return bound if weights is None else bound.weighted(weights)


def core_weights(sample_weight: Any, model: Model, samples: int, where: str) -> Array | None:
    """Return checked weights of the samples of a batch in the precision of a model, or None for None."""
    if sample_weight is None:
        return None
    with np.errstate(over="ignore"):
        weights = as_sample_weight(sample_weight, where, samples).astype(model.dtype, copy=False)
    refuse_not_finite(weights, where, "sample_weight")
    return weights


_SQUARED_ERROR = _core.CostKind(0.0)


@lru_cache(maxsize=64)
def _cross_entropy(scale: float) -> _core.CostKind:
    return _core.CostKind(scale)


def _kind(cost: Cost) -> _core.CostKind | None:
    """Return the core's kind of a cost that the core itself can bind to targets, or None."""
    bind = getattr(type(cost), "bind", None)
    if bind is SquaredError.bind:
        return _SQUARED_ERROR
    return _cross_entropy(cost.scale) if bind is CrossEntropy.bind else None  # type: ignore[attr-defined]


def core_cost(cost: Cost, model: Model, y: Any, samples: int, where: str) -> tuple[Array, Any]:
    """Return targets and cost for the core's training step.

    Returns
    -------
    targets : array
        Class codes (batch,) of int64, or checked targets (batch, outputs).
    cost : CostKind or core cost
        A cost that the core can bind to targets itself, otherwise a bound one.
    """
    targets = as_codes_or_targets(y, model.num_outputs, model.dtype, where)
    kind = _kind(cost)
    if kind is None:
        return targets, bind_cost(cost, model, y, samples, where)
    if targets.ndim == 2 and isinstance(cost, CrossEntropy):
        _check_probabilities(targets, where)
    return targets, kind


def _check_probabilities(targets: Array, where: str) -> None:
    sums = targets.sum(axis=1, dtype=np.float64)
    if targets.size and (targets.min() < 0 or np.abs(sums - 1).max() > 1e-4):
        raise ValueError(
            f"[{where}] Targets of CrossEntropy are probabilities: at least 0, each row summing to 1. "
            f"Received values from {targets.min():.3g}, row sums {sums.min():.3g} to {sums.max():.3g}."
        )
