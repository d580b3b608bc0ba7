"""Refuses combinations of network, cost, second phase and targets that cannot be trained, with the cure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from equiprop.activations import Activation, activation
from equiprop.arrays import Array
from equiprop.cost_defaults import layer_slope
from equiprop.costs import Cost, CrossEntropy, SquaredError, Term, logit_scale, terms_of
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.second_phase import EquilibriumPropagation, SecondPhase
from equiprop.watching import Callback


def check_parts(second_phase: Any, optimizer: Any, cost: Any, schedule: Any) -> None:
    """Raise TypeError if a part of a Trainer is a class, or does not have the method of its kind."""
    parts = (
        ("second_phase", second_phase, "gradient", "EquilibriumPropagation()"),
        ("optimizer", optimizer, "step", "Adam()"),
        ("cost", cost, "bind", "SquaredError()"),
    )
    for name, part, method, example in parts:
        if isinstance(part, type) or not callable(getattr(part, method, None)):
            raise TypeError(
                f"[Trainer] {name} is an object such as {example}, with the method {method}. "
                f"Received {part!r}."
            )
    if schedule is not None and not callable(schedule):
        raise TypeError(
            "[Trainer] schedule is a function of the progress, such as cosine(), or None. "
            f"Received {schedule!r}."
        )


def check_callbacks(callbacks: Any, step_callbacks: Any) -> None:
    """Raise TypeError if callbacks are not a sequence of functions, or those after epochs of `Callback`."""
    if not _is_list_of(callbacks, lambda one: isinstance(one, Callback) or _is_function(one)):
        raise TypeError(
            "[Trainer] callbacks is a list of functions and of objects of equiprop.callbacks. "
            f"Received {callbacks!r}."
        )
    if not _is_list_of(step_callbacks, _is_function):
        raise TypeError(f"[Trainer] step_callbacks is a list of functions. Received {step_callbacks!r}.")


def _is_list_of(given: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(given, Sequence) and all(map(fits, given))


def _is_function(callback: Any) -> bool:
    """Return True if `callback` can be called, and is not a class of `Callback` in place of an object."""
    return callable(callback) and not (isinstance(callback, type) and issubclass(callback, Callback))


def output_range(rho: Activation) -> tuple[float, float]:
    """Return the smallest and the largest value of an activation."""
    bounds = {"tanh": (-1.0, 1.0), "logistic": (0.0, 1.0), "softplus": (0.0, math.inf)}
    return bounds.get(rho.kind, (rho.lower, rho.upper))


def check_trainable(model: Model, cost: Cost, phase: SecondPhase, where: str = "Trainer") -> None:
    """Raise ValueError if no training of `model` with this cost and second phase can succeed.

    The cross-entropy needs logits that differ by log(classes - 1) + 3 for a probability of 95 %. A nudge by a
    negative beta needs -beta kappa < c, with kappa the second derivative of the cost and c the curvature of
    the energy in unbounded units: otherwise the nudged energy has no minimum.
    """
    if not isinstance(model, HopfieldNetwork):
        return
    limit = math.inf
    for term in terms_of(cost, model, where):
        low, high = output_range(activation(model.layers[term.position].activation))
        if isinstance(term.cost, CrossEntropy):
            _check_logits(term, high - low, _is_output(term, model))
        if math.isinf(high - low):
            bound = 0.5 * logit_scale(term.cost) ** 2 if isinstance(term.cost, CrossEntropy) else 1.0
            curvature = _least_curvature(model, term.position)
            if curvature > 0:  # without a minimum at beta = 0, the free phase says so
                limit = min(limit, curvature / (term.scale * bound))
    if isinstance(phase, EquilibriumPropagation):
        _check_negative_beta(limit, phase, where)


def _is_output(term: Term, model: HopfieldNetwork) -> bool:
    return term.position in (-1, len(model.layers) - 1)


def _check_logits(term: Term, width: float, is_output: bool) -> None:
    scale, classes = logit_scale(term.cost), term.units
    name = "outputs" if is_output else f"layer {term.position}"
    if classes < 2:
        unit = "output" if is_output else f"unit of layer {term.position}"
        raise ValueError(
            f"[Trainer] CrossEntropy needs one {unit} for each class, at least two. Received one {unit}."
        )
    needed = math.log(classes - 1) + 3 if classes > 2 else 3.0
    if scale * width < needed:
        linear = "output_activation='linear'" if is_output else "a linear activation"
        raise ValueError(
            f"[Trainer] CrossEntropy needs logits that differ by {needed:.3g}; use "
            f"{linear}, or CrossEntropy(logit_scale={needed / width:.3g}). Received "
            f"{name} in a range of {width:g} with the logit scale {scale:g}."
        )


def _check_negative_beta(limit: float, phase: EquilibriumPropagation, where: str) -> None:
    lowest = min((beta for rule in phase.rule.rules for beta, _ in rule), default=0.0)
    if -lowest >= limit:
        raise ValueError(
            f"[{where}] A nudge by -beta has a minimum only if beta < {limit:.3g} for this cost and these "
            f"outputs; use {phase.rule.name}({limit / 4:.3g}). Received {phase.rule!r}."
        )


def _least_curvature(net: HopfieldNetwork, position: int) -> float:
    """Return the least curvature of the energy in an unbounded layer, along any direction of linear units.

    Couplings within linear units lower it; those that a `Trainer` is about to replace do not count.
    """
    layer = range(len(net.layers))[position]
    within = [f"W{i}" for i, c in enumerate(net.couplings, start=1) if c.source == c.target == layer]
    linear = output_range(activation(net.layers[layer].activation)) == (-math.inf, math.inf)
    if not within or net.fresh_seed is not None or not linear:
        return 1.0 if net.potential == "quadratic" else 1 / layer_slope(net, layer)
    bare, part = net.astype("float64"), list(net.layer_slices.values())[layer - 1]
    bare.parameters[:] = 0
    for name in within:
        bare.blocks[name][...] = net.blocks[name]
    count = part.stop - part.start
    units = np.eye(count, net.num_units, part.start)
    hessian = bare.clamp(np.zeros((count, net.num_inputs))).hessian_vector_product(0 * units, units)
    return float(np.linalg.eigvals(hessian[:, part]).real.min())


def check_targets(model: Model, cost: Any, y: Array) -> None:
    """Raise ValueError if real targets of a squared error lie outside the range of their layer.

    Targets that a function of LayerCosts returns are not known before training, and not checked.
    """
    if not isinstance(model, HopfieldNetwork) or y.ndim == 1:
        return
    smallest, largest = float(y.min()), float(y.max())
    for term in terms_of(cost, model, "Trainer.fit"):
        low, high = output_range(activation(model.layers[term.position].activation))
        if term.function is not None or not isinstance(term.cost, SquaredError):
            continue
        if smallest < low or largest > high:
            output = _is_output(term, model)
            name = "the outputs" if output else f"layer {term.position}"
            linear = "output_activation='linear'" if output else "a linear activation"
            raise ValueError(
                f"[Trainer.fit] Targets lie in the range of {name}, {low:g} to {high:g}; use "
                f"{linear}, or scale the targets. Received {smallest:g} to {largest:g}."
            )
