"""Every claim on ten random architectures: one to four hidden layers, some with lateral couplings, both
conventions of the energy, smooth and clipping activations. Limits are those of the mathematics, in
`equiprop.verify`; the limits here are tighter if only rounding errors remain.
"""

from __future__ import annotations

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dense, Layer, verify
from equiprop.verify.suite import examine

SMOOTH = ["tanh", "sigmoid", "softplus", "steep_sigmoid"]
CLIPPED = ["hard_sigmoid", "half_hard_sigmoid", "relu"]


def is_lateral(seed: int) -> bool:
    """Return True if two hidden layers of equal depth are coupled; then no coupling skips a depth."""
    return seed % 3 == 1 and seed % 4 > 0


def architecture(seed: int, activation: str, potential: str) -> eq.HopfieldNetwork:
    """Return a network with 1 + seed % 4 hidden layers, some of them with two coupled layers side by side."""
    random = np.random.default_rng(seed)
    sizes = [int(n) for n in random.integers(3, 9, size=3 + seed % 4)]
    layers = [Layer(n, activation) for n in sizes[:-1]] + [
        Layer(sizes[-1], activation if seed % 2 else "linear")
    ]
    couplings = [Dense(k, k + 1) for k in range(len(sizes) - 1)]
    if is_lateral(seed):  # layers 1 and 2 have equal depth: both are coupled to the input and to layer 3
        couplings += [Dense(0, 2), Dense(1, 3)]
    gain = 0.25 if activation == "steep_sigmoid" else 0.4
    net = eq.HopfieldNetwork(
        layers=layers, couplings=couplings, potential=potential, dtype="float64", seed=seed, gain=gain
    )
    for name, block in net.blocks.items():
        if name.startswith("b"):
            block[:] = random.uniform(-0.3, 0.6, block.shape)
    return net


@pytest.mark.parametrize("potential", ["quadratic", "legendre"])
@pytest.mark.parametrize("seed", range(10))
def test_every_claim_holds(seed: int, potential: str) -> None:
    activation = (SMOOTH + CLIPPED)[seed % 7]
    net = architecture(seed, activation, potential)
    random = np.random.default_rng(100 + seed)
    x, y = random.uniform(size=(2, net.num_inputs)), random.integers(net.num_outputs, size=2)
    cost = eq.CrossEntropy() if seed % 5 == 3 else eq.SquaredError()
    problem = verify.prepare("test", net, x, y, cost, None)
    assert problem.free.converged
    case = examine(problem)
    assert case.passed, str(case)
    made = {report.name: report for report in case.reports}
    assert made["equality"]["states, largest over all steps"] <= 1e-13
    assert made["equality"]["parameters, largest over all steps"] <= 1e-13
    assert made["limit"]["gradient by dual numbers"] <= 2e-12
    if net.holomorphic:
        assert not {"bounded"} & set(made)
        assert made["runge-kutta"]["states, largest over all steps"] <= 1e-13
        assert made["discrete-time"]["energy-based: parameters"] <= 1e-13
        assert made["limit"]["gradient by complex step"] <= 2e-12
        assert len(made["orders"].slopes) >= 4
    else:
        assert "orders" in case.skipped


def test_the_ten_networks_cover_what_they_are_meant_to() -> None:
    nets = [architecture(seed, (SMOOTH + CLIPPED)[seed % 7], "quadratic") for seed in range(10)]
    assert {len(net.layers) - 2 for net in nets} == {1, 2, 3, 4}
    assert sum(is_lateral(seed) for seed in range(10)) == 2
    assert all((len(net.couplings) == len(net.layers) + 1) == is_lateral(k) for k, net in enumerate(nets))
    assert {net.holomorphic for net in nets} == {True, False}
    held = []
    for net in nets:
        free = verify.prepare("test", net, np.full((2, net.num_inputs), 0.5), [0, 1], eq.SquaredError(), None)
        held.append(int((~free.free_units).sum()))
    assert max(held) > 0
