"""Default settings of the cost and of the nudging of a training; docs/training.md has their derivation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from equiprop.activations import activation, is_unbounded
from equiprop.costs import Cost, CrossEntropy, LayerCosts, logit_scale, terms_of
from equiprop.defaults import is_deep, unit_of
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.nudging import centered
from equiprop.second_phase import EquilibriumPropagation, SecondPhase

#: Logit scale of a cross-entropy in a Trainer, for outputs of slope 1.
LOGIT_SCALE = 4.0
#: Logit scale of deep networks under the quadratic potential, whose units bend at smaller drives.
DEEP_QUADRATIC_LOGIT_SCALE = 8.0
#: Nudging factor of outputs of slope 1 under a cost with second derivative 1.
BETA = 0.25


def layer_slope(model: Model, position: int) -> float:
    """Return the slope L of a layer of a network; 1 for another model."""
    if not isinstance(model, HopfieldNetwork):
        return 1.0
    return unit_of(activation(model.layers[position].activation), model.potential).slope


def training_cost(model: Model, cost: Cost) -> Cost:
    """Return a cost whose logit scale a is set for each cross-entropy, with units of slope L.

    a^2 L is 16, and 64 for five or more hidden layers under the quadratic potential.
    """
    if not isinstance(cost, LayerCosts):
        given: Cost = _with_logit_scale(model, cost, -1)
        return given
    terms_of(cost, model, "Trainer")  # refuses layers that the model does not have
    costs = {key: _with_logit_scale(model, given, key) for key, given in cost.costs.items()}
    return cost if costs == cost.costs else replace(cost, costs=costs)


def _with_logit_scale(model: Model, cost: Any, position: int) -> Any:
    """Return the cost of one layer with its logit scale set."""
    if not isinstance(cost, CrossEntropy) or cost.logit_scale is not None:
        return cost
    quadratic = isinstance(model, HopfieldNetwork) and model.potential == "quadratic"
    scale = DEEP_QUADRATIC_LOGIT_SCALE if quadratic and is_deep(model) else LOGIT_SCALE
    return replace(cost, logit_scale=scale / math.sqrt(layer_slope(model, position)))


def training_beta(model: Model, cost: Cost) -> float:
    """Return the nudging factor 1 / (4 a^2 L) for units of slope L and a logit scale a.

    With costs of several layers it is that of the largest product of a^2 L and the scale of the cost. Under
    the quadratic potential, L of unbounded units is at least 1, because their curvature is 1.
    """
    terms = terms_of(cost, model, "Trainer")
    curvatures = [t.scale * logit_scale(t.cost) ** 2 * _response(model, t.position) for t in terms]
    return BETA / max(curvatures, default=_response(model, -1))


def _response(model: Model, position: int) -> float:
    """Return the largest response of a unit of a layer to a force on it."""
    slope = layer_slope(model, position)
    if not isinstance(model, HopfieldNetwork) or model.potential != "quadratic":
        return slope
    return max(slope, 1.0) if is_unbounded(activation(model.layers[position].activation)) else slope


def training_phase(model: Model, cost: Cost, phase: SecondPhase) -> SecondPhase:
    """Return a second phase whose nudging is set: centered(1 / (4 a^2 L)) for Equilibrium Propagation."""
    if not isinstance(phase, EquilibriumPropagation) or phase.nudging is not None:
        return phase
    return replace(phase, nudging=centered(training_beta(model, cost)))
