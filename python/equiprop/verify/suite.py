"""The checks `equiprop verify` runs: random networks of growing depth, or one of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.activations import activation as find_activation
from equiprop.checks import whole
from equiprop.costs import Cost
from equiprop.models import HopfieldNetwork
from equiprop.verify.equivalence import EquivalenceReport, equivalence
from equiprop.verify.gradients import GradientsReport, gradients
from equiprop.verify.orders import OrdersReport, orders

_LAYERS = ([4, 6, 3], [4, 6, 5, 3], [4, 6, 5, 4, 3])
_ACTIVATIONS = ("tanh", "sigmoid", "hard_sigmoid")


@dataclass(frozen=True)
class Case:
    """One network's reports; `orders` is None where no expansion in beta exists."""

    name: str
    equivalence: EquivalenceReport
    orders: OrdersReport | None
    gradients: GradientsReport

    @property
    def passed(self) -> bool:
        """Whether every check of this network passed."""
        reports = (self.equivalence, self.orders, self.gradients)
        return all(report.passed for report in reports if report is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a machine."""
        return {
            "network": self.name,
            "passed": self.passed,
            "max_relative_error": self.equivalence.max_relative_error,
            "slopes": None if self.orders is None else self.orders.slopes,
            "gradients": {row.name: row.relative_error for row in self.gradients.rows},
        }

    def __str__(self) -> str:
        parts = [f"{'PASS' if self.passed else 'FAIL'}  {self.name}", str(self.equivalence)]
        if self.orders is not None:
            slopes = self.orders.slopes
            parts.append(
                f"error falls as beta^{slopes['one_sided']:.2f} (one-sided), "
                f"beta^{slopes['centered']:.2f} (centered)"
            )
        parts.append(str(self.gradients))
        return "\n    ".join("\n".join(parts).splitlines()) + "\n"


def run_suite(
    *,
    model: HopfieldNetwork | None,
    layers: Sequence[int] | None,
    activation: str | None,
    potential: str,
    cost: Cost,
    steps: int,
    step_size: float | None,
    samples: int,
    seed: int,
) -> Iterator[Case]:
    """Yield the case of `model`, or of random networks: the given sizes and activation, or all defaults."""
    samples, seed = whole(samples, "verify", "samples", 1), whole(seed, "verify", "seed", 0, 2**64 - 1)
    if model is not None:
        networks = [model]
    else:
        networks = [
            random_network(sizes, name, potential, seed)
            for sizes in ([list(layers)] if layers else _LAYERS)
            for name in ([activation] if activation else _ACTIVATIONS)
        ]
    for net in networks:
        x, y = random_samples(net, samples, seed)
        smooth = all(find_activation(layer.activation).holomorphic for layer in net.layers[1:])
        yield Case(
            repr(net),
            equivalence(net, x, y, steps=steps, step_size=step_size, cost=cost),
            orders(net, x, y, steps=steps, step_size=step_size, cost=cost) if smooth else None,
            gradients(net, x, y, cost=cost),
        )


def random_network(sizes: Sequence[int], activation: str, potential: str, seed: int) -> HopfieldNetwork:
    """Return a network with random weights and biases, every layer of the same activation."""
    net = HopfieldNetwork(
        sizes,
        activation=activation,
        output_activation=activation,
        potential=potential,
        dtype="float64",
        seed=seed,
    )
    for k, name in enumerate(name for name in net.blocks if name.startswith("b")):
        net.blocks[name][:] = _core.uniform(net.blocks[name].size, seed, 100 + k) - 0.3
    return net


def random_samples(net: HopfieldNetwork, samples: int, seed: int) -> tuple[Any, Any]:
    """Return uniform inputs in [0, 1) and class labels."""
    x = _core.uniform(samples * net.num_inputs, seed, 200).reshape(samples, net.num_inputs)
    labels = (_core.uniform(samples, seed, 201) * net.num_outputs).astype(np.int64)
    return x, labels
