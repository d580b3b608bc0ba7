"""Costs C(o, y) of the outputs o of a network and targets y, and sums of costs of several layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_codes_or_targets, as_targets, one_hot, refuse_not_finite
from equiprop.checks import check_type, real, require
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
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


@dataclass(frozen=True)
class LayerCosts:
    r"""C = sum_k scale_k C_k(s_k, y_k): costs of several layers, for example local or auxiliary losses.

    Each C_k acts on the states s_k of layer k. The objective is the sum; metrics and predictions read the
    outputs. If the last layer has no cost, it is not nudged. Layers belong to a HopfieldNetwork.

    Parameters
    ----------
    costs : mapping from int to SquaredError or CrossEntropy
        Cost of each layer by its position, as in couplings: -1 is the last layer; 0, the input, has no cost.
    scales : mapping from int to float, positive, optional
        Factors of the costs, by default 1; the keys are keys of `costs`.
    targets : mapping from int to function, optional
        For each layer a function of y, an array of class codes (batch,) or targets (batch, outputs), that
        returns the targets (batch, units) of the layer, or class codes (batch,). By default y itself, for
        layers that have as many units as the last one. The keys are keys of `costs`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or a key or a scale is out of range.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 6, 3, 3], seed=0)
    >>> cost = eq.LayerCosts(
    ...     {1: eq.SquaredError(), -1: eq.SquaredError()}, {1: 0.1}, {1: lambda y: np.eye(6)[y]}
    ... )
    >>> gradient = eq.equilibrium_propagation(net, eq.free_phase(net, [[0, 1]]), [1], cost=cost)
    >>> gradient.objective > 0
    True
    """

    costs: Mapping[int, SquaredError | CrossEntropy]
    scales: Mapping[int, float] = field(default_factory=dict)
    targets: Mapping[int, Callable[[Array], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = "LayerCosts"
        for name in ("costs", "scales", "targets"):
            given = getattr(self, name)
            check_type(given, Mapping, where, f"{name} maps positions of layers")
            for key in given:
                if isinstance(key, bool) or not isinstance(key, int | np.integer):
                    raise TypeError(f"[{where}] A position is a whole number. Received {key!r}.")
                require(key != 0, where, "Layer 0 is the input, which has no cost", f"{name} of layer 0")
                require(key in self.costs, where, f"{name} has keys of costs", key)
            object.__setattr__(self, name, {int(key): value for key, value in given.items()})
        require(len(self.costs) > 0, where, "At least one layer has a cost", "none")
        for cost in self.costs.values():
            if kind_of(cost) is None:
                rule = "The cost of a layer is a SquaredError() or CrossEntropy()"
                raise TypeError(f"[{where}] {rule}. Received {cost!r}.")
        for scale in self.scales.values():
            positive = 0 < real(scale, where, "A scale") < math.inf
            require(positive, where, "A scale is positive and finite", scale)
        for function in self.targets.values():
            if not callable(function):
                raise TypeError(f"[{where}] targets are functions of y. Received {function!r}.")

    def bind(self, model: Model, y: Any, where: str) -> _core.Cost:
        """Return the core's cost of a batch with targets y; `where` names the caller in errors."""
        terms = terms_of(self, model, where)
        starts = [0] if not isinstance(model, HopfieldNetwork) else _starts(model)
        y, first = as_codes_or_targets(y, model.num_outputs, model.dtype, where), starts[terms[0].position]
        layers = []
        for term in terms:
            targets = term.full_targets(model, y, where)
            if isinstance(term.cost, CrossEntropy):
                _check_probabilities(targets, where)
            kind = kind_of(term.cost)
            assert kind is not None
            layers.append((kind, targets, starts[term.position] - first, term.scale))
        return model.core.bind_layer_costs(model.num_units - first, layers)


class Term(NamedTuple):
    """The cost of one layer in a sum."""

    position: int  # of the layer, as in couplings; -1 for a cost that is given without its layer
    cost: SquaredError | CrossEntropy
    scale: float
    units: int
    function: Callable[[Array], Any] | None

    def targets(self, model: Model, y: Array, where: str) -> Array:
        """Return class codes (batch,) or targets (batch, units) for codes or targets y of the outputs."""
        if self.function is not None:
            where = f"{where}, targets of layer {self.position}"
            return as_codes_or_targets(self.function(y), self.units, model.dtype, where)
        if self.units == model.num_outputs:
            return y
        raise ValueError(
            f"[{where}] y is the target of layers with as many units as the last one; another layer needs "
            f"LayerCosts(targets={{{self.position}: function of y}}). Received layer {self.position} of "
            f"{self.units} units, and {model.num_outputs} outputs."
        )

    def full_targets(self, model: Model, y: Array, where: str) -> Array:
        """Return targets (batch, units); class codes are encoded as one-hot."""
        targets = self.targets(model, y, where)
        require(len(targets) == len(y), where, "A layer has one target for each sample", len(targets))
        return one_hot(targets, self.units, model.dtype, where) if targets.ndim == 1 else targets


def _starts(net: HopfieldNetwork) -> list[int]:
    """Return the first unit of each layer in a state; 0 for the input, which is in none."""
    return [0, *(where.start for where in net.layer_slices.values())]


def terms_of(cost: Cost, model: Model, where: str) -> tuple[Term, ...]:
    """Return the costs of layers in a cost, in the order of the layers; none for a cost of the user's own.

    Raises
    ------
    TypeError, ValueError
        If `cost` is a LayerCosts, and `model` is no HopfieldNetwork with these layers.
    """
    if not isinstance(cost, LayerCosts):
        known = isinstance(cost, SquaredError | CrossEntropy)
        return (Term(-1, cost, 1.0, model.num_outputs, None),) if known else ()  # type: ignore[arg-type]
    if not isinstance(model, HopfieldNetwork):
        raise TypeError(
            f"[{where}] LayerCosts needs the layers of a HopfieldNetwork. Received {type(model).__name__}."
        )
    count, terms = len(model.layers), {}
    for key, given in cost.costs.items():
        rule = f"LayerCosts names layers 1 to {count - 1}, or -{count - 1} to -1"
        require(0 < key < count or -count < key < 0, where, rule, key)
        position = key % count
        require(position not in terms, where, "A layer has one cost", f"two for layer {position}")
        units = model.layers[position].units
        terms[position] = Term(position, given, float(cost.scales.get(key, 1)), units, cost.targets.get(key))
    return tuple(terms[position] for position in sorted(terms))


def cost_of_outputs(cost: Cost, model: Model, where: str) -> Cost | None:
    """Return the cost of the last layer in a LayerCosts, None if it has none; any other cost itself."""
    if not isinstance(cost, LayerCosts):
        return cost
    last = terms_of(cost, model, where)[-1]
    return last.cost if last.position == len(model.layers) - 1 else None  # type: ignore[attr-defined]


def logit_scale(cost: Any) -> float:
    """Return the factor of the outputs in a cost: that of a cross-entropy, otherwise 1."""
    return cost.scale if isinstance(cost, CrossEntropy) else 1.0


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
        raise TypeError(
            f"[{where}] A cost is a SquaredError(), CrossEntropy() or LayerCosts(...). Received {cost!r}."
        )
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


def kind_of(cost: Cost) -> _core.CostKind | None:
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
    kind = kind_of(cost)
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
