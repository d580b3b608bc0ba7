"""Settings of networks and trainers under which the estimators learn small, noisy and unscaled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.activations import Activation, activation
from equiprop.arrays import Array
from equiprop.checks import require
from equiprop.costs import CrossEntropy, SquaredError
from equiprop.data import Dataset
from equiprop.linear_solvers import ConjugateGradient
from equiprop.models import HopfieldNetwork
from equiprop.nudging import centered
from equiprop.optimizers import Adam, Blocks, Rate, cosine
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import BlockUpdate
from equiprop.training import Trainer

#: Gain of the outputs under the cross-entropy: at equal stability, logits are larger by its square root.
_LOGIT_GAIN = 16.0
#: Largest singular value of a step of Adam, in units of the slopes, for one hidden layer.
_STEP = 0.2


@dataclass
class _DecayedAdam(Adam):
    """Adam with a decay for each block: after a step, ``block *= exp(-factor * decay)``.

    Parameters
    ----------
    decays : mapping from block name to float
        Decay at factor 1 of the schedule; blocks without an entry do not decay.
    """

    decays: Mapping[str, float] = field(default_factory=dict)
    _decayed: list[tuple[Array, float]] = field(default_factory=list, init=False, repr=False, compare=False)

    def sink(self, parameters: Array, blocks: Blocks, factor: float = 1.0) -> _core.OptimizerSink:
        """Return the optimizer step that the core takes; see `Adam.sink`."""
        self._decayed = [
            (parameters[blocks[name]], float(np.exp(-factor * decay))) for name, decay in self.decays.items()
        ]
        return super().sink(parameters, blocks, factor)

    def finish(self) -> None:
        """Apply the decay after a step that the core took."""
        for block, kept in self._decayed:
            block *= kept
        super().finish()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decayed": []}  # `sink` makes it again from the network's parameters


def make_trainer(
    data: Dataset,
    *,
    hidden: Sequence[int],
    activation: str | Activation,
    second_phase: str,
    learning_rate: Rate | None,
    alpha: float,
    batch_size: int,
    seed: int,
) -> Trainer:
    """Return the trainer of a new chain for `data`.

    Parameters
    ----------
    data : Dataset
        Class labels are trained with the cross-entropy, targets with the squared error.
    hidden : sequence of int
        Number of units of each hidden layer.
    activation : str or Activation
        Activation of the hidden layers.
    second_phase : {"eqprop", "rbp"}
    learning_rate : float or mapping, optional
        By default a rate for each block.
    alpha : float, not negative
        Weight decay; see `_adam`.
    batch_size, seed : int
        See `Trainer`.
    """
    gain = _LOGIT_GAIN if data.is_classification else 1.0
    phase = _second_phase(second_phase, gain)
    network = HopfieldNetwork(
        [data.num_features, *hidden, data.num_outputs],
        activation=activation,
        output_activation=Activation("clip", gain=gain),
        seed=seed,
    )
    _initialize(network, data.x, seed)
    return Trainer(
        network,
        phase,
        _adam(_entry_sizes(network, data.x), len(hidden), learning_rate, alpha),
        CrossEntropy() if data.is_classification else SquaredError(),
        _solver(len(hidden)),
        schedule=cosine(),
        batch_size=batch_size,
        seed=seed,
    )


def _solver(depth: int) -> BlockUpdate:
    """Return a solver whose error is small beside the response to a nudge, which falls with the depth."""
    tolerance = 1e-3 if depth <= 2 else 1e-4
    anderson = 1 if depth > 1 else 0  # with one hidden layer, a sweep takes less time than its acceleration
    return BlockUpdate(tolerance=tolerance, max_iterations=500, anderson=anderson)


def _second_phase(name: str, gain: float) -> SecondPhase:
    """Return a second phase by its name; `gain` is that of the outputs, which scales the nudging factor."""
    if name == "eqprop":
        return EquilibriumPropagation(centered(0.25 / gain))
    require(name == "rbp", "estimator", "second_phase is 'eqprop' or 'rbp'", repr(name))
    return RecurrentBackpropagation(ConjugateGradient(tolerance=1e-3, max_iterations=200))


def _useful_drive(rho: Activation) -> tuple[float, float]:
    """Return middle and half width of the drives where an activation has a slope."""
    if rho.kind == "tanh":
        return 0.0, 1.0
    if rho.kind == "logistic":
        return rho.shift, 2 / rho.gain
    if rho.kind == "softplus":
        return 1 / rho.gain, 2 / rho.gain
    if np.isfinite(rho.upper):
        return (rho.lower + rho.upper) / 2 / rho.gain, (rho.upper - rho.lower) / 2 / rho.gain
    return (0.5 / rho.gain if np.isfinite(rho.lower) else 0.0), 1 / rho.gain


def _largest_slope(rho: Activation) -> float:
    return {"tanh": 1.0, "logistic": rho.gain / 4}.get(rho.kind, rho.gain)


def _activations(network: HopfieldNetwork) -> list[Activation]:
    """Return the activations of all layers but the input."""
    return [activation(layer.activation) for layer in network.layers[1:]]


def _orthogonal(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Return a matrix whose singular values are 1, with the distribution that rotations do not change."""
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def _initialize(network: HopfieldNetwork, x: Array, seed: int) -> None:
    """Write initial weights and biases of a chain, from inputs x (samples, inputs).

    Couplings between free layers are orthogonal, with singular values 1/2 in units of the slopes. The drive
    by the input has the standard deviation of the useful drive's half width. Biases hold each unit in the
    middle of its slope; those of the first hidden layer differ by a uniform draw, so that its units bend at
    different inputs.
    """
    random, blocks, activations = np.random.default_rng(seed), network.blocks, _activations(network)
    middle, width = np.array([_useful_drive(rho) for rho in activations]).T
    weights = random.standard_normal(blocks["W1"].shape)
    drive = x @ weights
    spread = max(drive.std(axis=0).mean(), 1e-3 * np.abs(drive).mean())  # samples may be equal, or zero
    blocks["W1"][...] = weights * width[0] / (spread or 1.0)
    rest = [np.full(len(blocks[f"b{k + 1}"]), middle[k]) for k in range(len(activations))]
    state = [
        np.full(len(drive), rho.value(drive[:1])[0]) for rho, drive in zip(activations, rest, strict=True)
    ]
    rest[0] += width[0] * random.uniform(-1, 1, len(rest[0])) - x.mean(axis=0) @ blocks["W1"]
    for k in range(1, len(activations)):
        slopes = _largest_slope(activations[k - 1]) * _largest_slope(activations[k])
        coupling = 0.5 / np.sqrt(slopes) * _orthogonal(random, len(rest[k - 1]), len(rest[k]))
        blocks[f"W{k + 1}"][...] = coupling
        rest[k - 1] -= coupling @ state[k]
        rest[k] -= state[k - 1] @ coupling
    for k, bias in enumerate(rest):
        blocks[f"b{k + 1}"][...] = bias


def _entry_sizes(network: HopfieldNetwork, x: Array) -> dict[str, float]:
    """Return the size of an entry of each block of a chain that matters for inputs x (samples, inputs).

    If all entries of a coupling have this size and one sign, its singular value is 1 in units of the slopes;
    such input weights move a drive by the half width of its useful range.
    """
    activations = _activations(network)
    inputs = float(np.abs(x).sum(axis=1).mean()) or 1.0
    sizes = {"W1": _useful_drive(activations[0])[1] / inputs}
    for k, rho in enumerate(activations):
        sizes[f"b{k + 1}"] = _useful_drive(rho)[1] / 40
        if k > 0:
            slopes = _largest_slope(activations[k - 1]) * _largest_slope(rho)
            sizes[f"W{k + 1}"] = 1 / np.sqrt(network.blocks[f"W{k + 1}"].size * slopes)
    return {name: float(size) for name, size in sizes.items()}


def _adam(sizes: Mapping[str, float], depth: int, learning_rate: Rate | None, alpha: float) -> Adam:
    """Return Adam with a rate and a decay for each block.

    Adam moves each entry by about the learning rate. By default this is the fraction 0.2 / depth of the
    entry's size. Weights then decay by the factor 1 - alpha * (rate / size); biases do not decay, because
    they hold the units in the middle of their slope.

    Parameters
    ----------
    sizes : mapping from block name to float
        Result of `_entry_sizes`.
    depth : int
        Number of hidden layers.
    learning_rate, alpha
        See `make_trainer`.
    """
    if learning_rate is None:
        learning_rate = {name: size * _STEP / max(1, depth) for name, size in sizes.items()}
    rates = learning_rate if isinstance(learning_rate, Mapping) else dict.fromkeys(sizes, learning_rate)
    weights = [name for name in sizes if name.startswith("W")]
    decays = {name: alpha * rates.get(name, 0.0) / sizes[name] for name in weights}
    return _DecayedAdam(learning_rate, decays=decays)
