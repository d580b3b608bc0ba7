"""Networks and trainers of the estimators: the defaults of a Trainer, and a decay of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equiprop.activations import Activation
from equiprop.arrays import Array
from equiprop.checks import check_choice
from equiprop.costs import Cost, CrossEntropy, SquaredError
from equiprop.dataset import Dataset
from equiprop.defaults import RATE, block_rates
from equiprop.devices import DEVICES
from equiprop.evaluation import dataset_batches
from equiprop.models import HopfieldNetwork
from equiprop.optimizer_arguments import Piece
from equiprop.optimizers import Adam, Blocks, Rate, cosine
from equiprop.second_phase import EquilibriumPropagation, RecurrentBackpropagation, SecondPhase
from equiprop.training import Trainer


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

    def _prepare(
        self, where: str, parameters: Array, blocks: Blocks, factor: float, *, has_cover: bool = True
    ) -> list[Piece]:
        """Prepare steps with a factor of the schedule; see `Adam._prepare`."""
        pieces = super()._prepare(where, parameters, blocks, factor, has_cover=has_cover)
        self._decayed = [
            (parameters[blocks[name]], float(np.exp(-factor * decay))) for name, decay in self.decays.items()
        ]
        return pieces

    def finish(self) -> None:
        """Apply the decay after a step."""
        for block, kept in self._decayed:
            block *= kept
        super().finish()

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "_decayed": [],
        }  # `_prepare` makes it again


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
    device: str,
) -> Trainer:
    """Return the trainer of a new chain for `data`, with their scaling and classes.

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
        Weight decay; see `_decays`.
    batch_size, seed : int
        See `Trainer`.
    device : {"cpu", "cuda"}
        See `HopfieldNetwork.to`.
    """
    check_choice(device, "estimator", "device", "cpu", *DEVICES)
    network = HopfieldNetwork(
        [data.num_features, *hidden, data.num_outputs], activation=activation, seed=seed
    ).to(device)
    network.scaling, network.classes = data.scale, data.classes
    rate: Any = "auto" if learning_rate is None else learning_rate
    adam = _DecayedAdam(rate) if alpha else Adam(rate)
    trainer = Trainer(
        network,
        _second_phase(second_phase),
        adam,
        CrossEntropy() if data.is_classification else SquaredError(),
        schedule=cosine(),
        batch_size=batch_size,
        seed=seed,
    )
    trainer.prepare(data)
    if isinstance(adam, _DecayedAdam):
        adam.decays = _decays(network, _mean_size(data), trainer.cost, adam.learning_rate, alpha)
    return trainer


def _second_phase(name: str) -> SecondPhase:
    check_choice(name, "estimator", "second_phase", "eqprop", "rbp")
    return EquilibriumPropagation() if name == "eqprop" else RecurrentBackpropagation()


def _mean_size(data: Dataset) -> Array:
    """Return the mean of ``|x|`` over the samples as one sample, (1, features)."""
    sums = np.zeros(data.num_features)
    for x, _ in dataset_batches(data, np.dtype(np.float64)):
        sums += np.abs(x).sum(axis=0)
    mean: Array = sums[None] / len(data)
    return mean


def _decays(network: HopfieldNetwork, x: Array, cost: Cost, rate: Any, alpha: float) -> dict[str, float]:
    """Return the decay of each block of weights: alpha times a step of Adam relative to the size of an entry.

    With automatic rates this is alpha * 0.2 / (number of hidden layers). Biases do not decay, because they
    hold the units in the middle of their slope.
    """
    usual = block_rates(network, x, cost)
    rates: Mapping[str, float] = rate if isinstance(rate, Mapping) else dict.fromkeys(usual, float(rate))
    step = alpha * RATE / max(len(network.layers) - 2, 1)
    return {name: step * rates.get(name, 0.0) / usual[name] for name in usual if name.startswith("W")}
