"""Trainings by default: graphs with skips, couplings within layers and identities; regression; any size."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import Dense, Identity, Layer
from equiprop.activations import activation
from equiprop.defaults import start_values, unit_of
from networks import blobs

#: Couplings of graphs of layers 0 (the input) to n (the output), by name.
GRAPHS: dict[str, list[Any]] = {
    "skips": [Dense(0, 1), Dense(1, 2), Dense(2, 3), Dense(0, 2), Dense(0, 3), Dense(1, 3)],
    "all": [Dense(i, j) for i in range(5) for j in range(i + 1, 5)],
    "lateral": [Dense(0, 1), Dense(0, 2), Dense(1, 2), Dense(1, 3), Dense(2, 3)],
    "ring": [Dense(0, 1), Dense(1, 2), Dense(2, 3), Dense(3, 4), Dense(4, 1), Dense(4, 5)],
    "reversed": [Dense(1, 0), Dense(2, 1), Dense(3, 2), Dense(3, 1)],
    "within": [Dense(0, 1), Dense(1, 1), Dense(1, 2), Dense(2, 2), Dense(2, 3), Dense(3, 3)],
    "identity": [Dense(0, 1), Dense(1, 2), Dense(2, 3), Identity(1, 3, 0.5), Dense(3, 4)],
}
KINDS = [("hard_sigmoid", "legendre"), ("relu", "legendre"), ("tanh", "legendre"), ("sigmoid", "quadratic")]
PHASES = {
    "centered": eq.EquilibriumPropagation(),
    "one-sided": eq.EquilibriumPropagation(eq.one_sided(0.25)),
    "rbp": eq.RecurrentBackpropagation(),
}


def graph(name: str, activation: str, potential: str, units: int = 12) -> eq.HopfieldNetwork:
    couplings = GRAPHS[name]
    hidden = max(max(c.source, c.target) for c in couplings) - 1
    layers = [Layer(4), *[Layer(units, activation) for _ in range(hidden)], Layer(3, "linear")]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings, potential=potential, dtype="float64")


def error_after(trainer: eq.Trainer, data: eq.Dataset, epochs: int) -> float:
    """Return the training error of a training that gives no warning of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", eq.TrainingWarning)
        warnings.simplefilter("ignore", eq.ConvergenceWarning)  # single samples of a whole training
        trainer.fit(data, epochs=epochs)
    return trainer.evaluate(data).error


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("kind", "potential"), KINDS)
def test_the_start_of_any_graph_has_a_convex_energy(name: str, kind: str, potential: str) -> None:
    """The couplings, relative to slopes, have a norm of at most 1; it is below 1 without identities."""
    net = graph(name, kind, potential)
    net.parameters[:] = start_values(net, np.random.default_rng(0).uniform(0, 1, (50, 4)), 1)
    slopes = [unit_of(activation(layer.activation), potential).slope for layer in net.layers]
    places = [slice(0), *net.layer_slices.values()]
    whole = np.zeros((net.num_units, net.num_units))
    for i, c in enumerate(net.couplings, start=1):
        if c.source > 0:
            scale = math.sqrt(slopes[c.source] * slopes[c.target]) / (2 if c.source == c.target else 1)
            w = c.gain * np.eye(12) if isinstance(c, Identity) else net.blocks[f"W{i}"]
            whole[places[c.source], places[c.target]] += w * scale
    assert np.linalg.norm(whole + whole.T, 2) < 1


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("kind", "potential"), KINDS)
def test_units_of_any_graph_rest_in_mid_slope(name: str, kind: str, potential: str) -> None:
    """If the input is its mean and biases are not moved, the resting state is the fixed point."""
    net, x = graph(name, kind, potential), np.random.default_rng(0).uniform(0, 1, (50, 4))
    net.parameters[:] = start_values(net, x, 1)
    units = [unit_of(activation(layer.activation), potential) for layer in net.layers[1:]]
    state = np.concatenate([np.full(n.units, u.state) for n, u in zip(net.layers[1:], units, strict=True)])
    force = net.clamp(x.mean(axis=0, keepdims=True)).gradient(state[None])[0]
    rho = [activation(layer.activation) for layer in net.layers[1:]]
    for k, (part, unit) in enumerate(zip(net.layer_slices.values(), units, strict=True)):
        touched = any({c.source, c.target} == {0, k + 1} for c in net.couplings) and k < len(units) - 1
        first = rho[k].derivative([unit.state])[0] if potential == "quadratic" else 1.0
        moved = np.abs(force[part] / first)
        assert (moved <= (unit.half_width if touched else 0) + 1e-12).all(), k
        assert not touched or moved.max() > 0.5 * unit.half_width


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
@pytest.mark.parametrize(("kind", "potential"), KINDS)
@pytest.mark.parametrize("name", GRAPHS)
def test_any_graph_learns_by_default(name: str, kind: str, potential: str, cost: Any, phase: str) -> None:
    trainer = eq.Trainer(graph(name, kind, potential), PHASES[phase], cost=cost, batch_size=20)
    assert error_after(trainer, blobs(), 10) < 0.08


@pytest.mark.parametrize("batch_size", [1, 10, 400, 4096])
@pytest.mark.parametrize("hidden", [[16], [16, 16, 16]], ids=["1", "3"])
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
def test_batches_of_any_size_learn_by_default(batch_size: int, hidden: list[int], cost: Any) -> None:
    data = blobs(400)
    trainer = eq.Trainer(eq.HopfieldNetwork([4, *hidden, 3]), cost=cost, batch_size=batch_size)
    steps = -(-len(data) // batch_size)
    assert error_after(trainer, data, max(100 // steps, 1)) < 0.08


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        *itertools.product(["hard_sigmoid", "relu", "tanh", "softplus"], [[2], [8], [8, 8, 8], [8, 1024]]),
        ("hard_sigmoid", [1024, 8]),
        ("hard_sigmoid", [4096]),
    ],
    ids=str,
)
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
def test_layers_of_any_width_learn_by_default(hidden: list[int], name: str, cost: Any) -> None:
    """Median error of three starts: a single one varies by several points."""
    data, errors = blobs(), []
    for seed in range(3):
        net = eq.HopfieldNetwork([4, *hidden, 3], activation=name, seed=seed)
        trainer = eq.Trainer(net, cost=cost, batch_size=20)
        errors.append(error_after(trainer, data, 10 if min(hidden) > 2 else 30))
    assert np.median(errors) < 0.08


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("hidden", [[64], [64, 64, 64]], ids=["1", "3"])
@pytest.mark.parametrize("name", ["hard_sigmoid", "relu", "tanh", "sigmoid", "softplus"])
def test_a_regression_learns_by_default(name: str, hidden: list[int], phase: str) -> None:
    """R2 of the diabetes data: a linear fit has 0.5 on all patients; more is fitted noise."""
    x, y = pytest.importorskip("sklearn.datasets").load_diabetes(return_X_y=True)
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), ((y - y.mean()) / y.std())[:, None]
    rows = np.random.default_rng(0).permutation(len(y))
    train, test = (eq.Dataset(x[part], y[part]) for part in (rows[:353], rows[353:]))
    trainer = eq.Trainer(eq.HopfieldNetwork([10, *hidden, 1], activation=name), PHASES[phase])
    error_after(trainer, train, 10)
    r2 = [1 - trainer.evaluate(data).error ** 2 / float(data.y.var()) for data in (train, test)]
    assert r2[0] > 0.4
    assert r2[1] > 0.1
