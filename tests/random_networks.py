"""Small networks with random parameters, and random samples, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import equiprop as eq
import numpy as np
from numpy.typing import NDArray

SMOOTH = ("tanh", "sigmoid", "steep_sigmoid", "softplus")
BOUNDED = ("hard_sigmoid", "half_hard_sigmoid", "relu")


def random_network(
    sizes: Sequence[int],
    activation: str = "tanh",
    potential: str = "quadratic",
    *,
    seed: int = 0,
    output_activation: str | None = None,
    gain: float = 0.5,
) -> eq.HopfieldNetwork:
    """Return a chain in double precision with random weights and biases; by default with one activation."""
    net = eq.HopfieldNetwork(
        sizes,
        activation=activation,
        output_activation=output_activation or activation,
        potential=potential,
        dtype="float64",
        seed=seed,
        gain=gain,
    )
    generator = np.random.default_rng(seed)
    for name, block in net.blocks.items():
        if name.startswith("b"):
            block[:] = generator.uniform(-0.2, 0.5, block.shape)
    return net


def random_samples(
    net: eq.HopfieldNetwork, batch: int = 3, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return inputs in [0, 1) and class labels."""
    generator = np.random.default_rng(1000 + seed)
    return generator.uniform(size=(batch, net.num_inputs)), generator.integers(net.num_outputs, size=batch)


def random_architecture(seed: int, deepest: int = 3) -> list[int]:
    """Return the sizes of a chain with one to `deepest` hidden layers."""
    generator = np.random.default_rng(seed)
    return [int(n) for n in generator.integers(2, 8, size=2 + 1 + seed % deepest)]
