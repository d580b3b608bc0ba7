"""Costs C(o, y) of the outputs o of a network and targets y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_codes_or_targets, as_targets
from equiprop.models import Model


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
        return model.core.squared_error(as_targets(y, model.num_outputs, model.dtype, where))


@dataclass(frozen=True)
class CrossEntropy:
    r"""C = -sum_i y_i log softmax(o)_i.

    Targets y are probabilities (batch, outputs), each row of which sums to one, or integer class labels
    (batch,), which are encoded as one-hot. The outputs are logits: use a linear output activation.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 2], output_activation="linear")
    >>> gradient = eq.equilibrium_propagation(net, eq.free_phase(net, [[0, 1]]), [1], cost=eq.CrossEntropy())
    >>> gradient.objective > 0
    True
    """

    def bind(self, model: Model, y: Any, where: str) -> _core.Cost:
        """Return the core's cost of a batch with targets y; `where` names the caller in errors."""
        targets = as_targets(y, model.num_outputs, model.dtype, where)
        _check_probabilities(targets, where)
        return model.core.cross_entropy(targets)


def bind_cost(cost: Cost, model: Model, y: Any, samples: int, where: str) -> Any:
    """Return the core's cost of a batch of `samples` samples with targets y.

    Raises
    ------
    TypeError, ValueError
        If `cost` is not a cost, or y does not have one target for each sample.
    """
    known = isinstance(cost, SquaredError | CrossEntropy)  # faster than isinstance with a protocol
    if not known and (isinstance(cost, type) or not isinstance(cost, Cost)):
        raise TypeError(f"[{where}] A cost is a SquaredError() or CrossEntropy(). Received {cost!r}.")
    bound = cost.bind(model, y, where)
    if bound.batch != samples:
        raise ValueError(
            f"[{where}] `y` has one target for each sample. Received {bound.batch} for {samples} samples."
        )
    return bound


#: The core's number of each cost that the core itself can bind to targets.
_KINDS = {SquaredError.bind: _core.CostKind.SQUARED_ERROR, CrossEntropy.bind: _core.CostKind.CROSS_ENTROPY}


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
    kind = _KINDS.get(getattr(type(cost), "bind", None))  # type: ignore[arg-type]
    if kind is None:
        return targets, bind_cost(cost, model, y, samples, where)
    if kind is _core.CostKind.CROSS_ENTROPY and targets.ndim == 2:
        _check_probabilities(targets, where)
    return targets, kind


def _check_probabilities(targets: Array, where: str) -> None:
    sums = targets.sum(axis=1, dtype=np.float64)
    if targets.size and (targets.min() < 0 or np.abs(sums - 1).max() > 1e-4):
        raise ValueError(
            f"[{where}] Targets of CrossEntropy are probabilities: at least 0, each row summing to 1. "
            f"Received values from {targets.min():.3g}, row sums {sums.min():.3g} to {sums.max():.3g}."
        )
