"""Faults of a training, found from what was measured: the cause with its figure, and a cure.

The thresholds were measured on trainings by default on the digits, with hidden layers of 64 units: all
activations, 1, 3 and 5 hidden layers, both costs. No training by default reaches one (docs/training.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from equiprop.activations import activation, is_unbounded
from equiprop.coupling_guard import norm_of_each
from equiprop.health import Health
from equiprop.health_probe import LayerFigures, Probe
from equiprop.history import Epoch
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.optimizers import Rate
from equiprop.overflow import lower

#: Trainings by default have at most 5 % of silent units in a hidden layer.
_SILENT = 0.5
#: Trainings by default have at most 80 % of held states in a hidden layer of 64 units. All of a few units may
#: be held without harm, so the objective must be behind, too.
_HELD = 0.95
#: Outputs of trainings by default vary at least half as much as their targets after the first epoch.
_CONSTANT = 0.01
#: A step by default is at most 0.03 / (number of hidden layers) after the first epoch; from 0.15 / number on,
#: trainings with a single rate stall.
_LARGE_STEP = 0.15
#: Steps that sum to less than this part of the parameters cannot have trained a network.
_SHORT_WAY = 0.1
#: The objective of a training that fell by less than this part has hardly changed.
_FALL = 0.1
#: Smallest margin of a tenth of the samples. Trainings by default of networks of 1 / 3 / 5 hidden layers stay
#: above 0.13 / 0.07 / 0.04.
_MARGIN = 0.02
#: Norm of all couplings, in units of the slopes, that a cure asks for: margins are then at least 0.1.
_SAFE_NORM = 0.9
#: Fewer samples do not tell whether units respond.
_FEWEST = 20
#: Features of this root mean square are not scaled.
_LARGE_FEATURE = 6.0
_SCALE = (
    "Scale the features to a standard deviation of about 1, and construct the network without `gain`, to get "
    "other start values."
)
#: No fault of outputs and steps before this many steps.
EARLY = 50


class Fault(NamedTuple):
    """A fault of a training.

    Attributes
    ----------
    kind : str
        Name of its rule; a fault of each kind is reported once in a run.
    cause, cure : str
        Sentences.
    """

    kind: str
    cause: str
    cure: str

    def __str__(self) -> str:
        return f"{self.cause} {self.cure}"


@dataclass(frozen=True)
class Run:
    """What is known of a training.

    Attributes
    ----------
    model : Model
    steps : int
        Number of steps of the trainer.
    rate : float, mapping or "auto", optional
        Learning rate of the optimizer, if it has one.
    automatic : bool
        True if the rates are computed by default.
    history : sequence of Epoch
        Records of the trainer.
    health : Health
    growth : tuple of str
        Advice to lower the learning rate, if the parameters grew much.
    probe : Probe, optional
        Figures of the present network; None if no samples are known.
    at_chance : bool
        True if the error is no better than that of guessing the most frequent class.
    """

    model: Model
    steps: int
    rate: Rate | None
    automatic: bool
    history: Sequence[Epoch]
    health: Health
    growth: tuple[str, ...]
    probe: Probe | None
    at_chance: bool

    @property
    def is_behind(self) -> bool:
        """True if the objective of the last epoch is above half its start."""
        return not self.history or self.history[-1].objective > 0.5 * self.health.start


def faults(run: Run) -> list[Fault]:
    """Return the faults of a training; one of the units stands alone, because it causes the others."""
    units = _of_units(run)
    if units is not None:
        return [units]
    return [fault for rule in _RULES for fault in [rule(run)] if fault is not None]


def _of_units(run: Run) -> Fault | None:
    """Return the fault of hidden units that are held or silent, otherwise that of outputs.

    None if the samples cannot tell.
    """
    probe = run.probe
    if probe is None or not _is_told_apart(probe):
        return None
    if isinstance(run.model, HopfieldNetwork):
        for layer in sorted(probe.layers[:-1], key=lambda layer: -max(layer.silent, layer.held)):
            if layer.silent > _SILENT:
                share = f"{layer.silent:.0%} of the units of {layer.name} do not respond to the input."
                return Fault("units", share, _cure_of_units(run, layer))
            if layer.held > _HELD and run.is_behind:
                share = f"{layer.held:.2%} of the states of {layer.name} are held at a bound or saturated, "
                return Fault("units", share + "so that no gradient passes.", _cure_of_units(run, layer))
    if run.steps >= EARLY and probe.outputs < _CONSTANT:
        cause = (
            "The outputs ignore the input: their standard deviation over the samples is "
            f"{probe.outputs:.1g} of that of the targets."
        )
        return Fault("outputs", cause, _cure_of_units(run, probe.layers[-1]))
    return None


def _is_told_apart(probe: Probe) -> bool:
    """Return True if there are enough samples, most of them converged, and inputs and targets differ."""
    many = probe.samples >= _FEWEST and 2 * probe.unconverged <= probe.samples
    return many and probe.features > 0 and not math.isnan(probe.outputs)


def _cure_of_units(run: Run, layer: LayerFigures) -> str:
    """Return the cure of units in a layer that updates drove to their bounds."""
    if run.growth and layer.held > 0.5:
        return " ".join(run.growth)
    if not run.health.fitted:
        return _SCALE
    return _lower_the_rate(run)


def _of_features(run: Run) -> Fault | None:
    """Return the fault of features that are large, from which only a training that fails suffers."""
    if not run.at_chance or run.probe is None or run.probe.features <= _LARGE_FEATURE:
        return None
    cause = (
        f"The largest root mean square of a feature is {run.probe.features:.3g}, that of scaled ones is 1."
    )
    return Fault("features", cause, _SCALE)


def _of_large_steps(run: Run) -> Fault | None:
    health, hidden = run.health, 1
    blocks: Mapping[str, float] = health.moves
    if isinstance(run.model, HopfieldNetwork):
        hidden = max(_hidden_layers(run.model), 1)
        blocks = {name: move for name, move in health.moves.items() if not name.startswith("b")}
    move, name = max(((m, n) for n, m in blocks.items() if not math.isnan(m)), default=(0.0, ""))
    if health.moved < EARLY or move <= _LARGE_STEP / hidden:
        return None
    cause = f"Step {health.moved} changed {name} by {100 * move:.2g}% of its size."
    return Fault("large steps", cause, _lower_the_rate(run))


def _of_small_steps(run: Run) -> Fault | None:
    health, history = run.health, run.history
    if run.steps < EARLY or len(history) < 2 or health.largest_move * run.steps > _SHORT_WAY:
        return None
    first, last = history[0].objective, history[-1].objective
    if not run.at_chance and (last < (1 - _FALL) * first or last < 0.25 * health.start):
        return None
    cause = (
        f"A step moves the parameters by at most {health.largest_move:.1g} of their size; the objective went "
        f"from {first:.3g} to {last:.3g}."
    )
    shown = f" ({run.rate:g})" if isinstance(run.rate, int | float) else ""
    return Fault("small steps", cause, f"Raise the learning rate{shown}{_or_default(run)}.")


def _hidden_layers(model: Model) -> int:
    return len(model.layers) - 2 if isinstance(model, HopfieldNetwork) else 1


def _lower_the_rate(run: Run) -> str:
    return f"{lower(run.rate).rstrip(',')}{_or_default(run)}."


def _or_default(run: Run) -> str:
    return "" if run.automatic else ", or use the default, Adam('auto')"


def _of_margin(run: Run) -> Fault | None:
    probe = run.probe
    if probe is None or not len(probe.margins) or not has_unbounded_units(run.model):
        return None
    margin = float(probe.margins[len(probe.margins) // 10])
    if margin > _MARGIN:
        return None
    cause = (
        f"The network is close to a loss of stability: a tenth of the samples have a stability margin below "
        f"{margin:.2g}, where small forces are amplified {1 / max(margin, 1e-3):.0f} times."
    )
    return Fault("margin", cause, f"Pass coupling_norm={_safe_norm(run.model):.2g} to the Trainer.")


def has_unbounded_units(model: Model) -> bool:
    """Return True if no bound limits the hidden units of a layer: relu, softplus or linear units."""
    return isinstance(model, HopfieldNetwork) and any(
        is_unbounded(activation(layer.activation)) for layer in model.layers[1:-1]
    )


def _safe_norm(model: Model) -> float:
    """Return a norm of each coupling at which the norm of all, in units of the slopes, is at most 0.9."""
    assert isinstance(model, HopfieldNetwork)
    return norm_of_each(model, _SAFE_NORM)


_RULES: Sequence[Callable[[Run], Fault | None]] = (
    _of_features,
    _of_margin,
    _of_large_steps,
    _of_small_steps,
)
