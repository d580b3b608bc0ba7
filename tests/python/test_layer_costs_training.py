"""Training with costs of several layers: defaults, learning, metrics and files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import LayerCosts, SquaredError
from networks import blobs, chain, inputs

CE = eq.CrossEntropy


def spread(y: np.ndarray) -> np.ndarray:
    """Targets of six units for class codes, different in each class."""
    return np.array([[0, 1, 0, 1, 0.5, 0], [1, 0, 0, 0.3, 0, 1], [0.2, 0, 1, 0, 1, 0]])[y]


def further(y: np.ndarray) -> np.ndarray:
    """Class codes of five classes for those of three."""
    return y + 2


OUTER = LayerCosts({3: SquaredError(), 1: SquaredError()}, {1: 0.5}, {1: spread})


def readout_network(dtype: str = "float32") -> eq.HopfieldNetwork:
    """Two hidden layers, and a readout of the first one with one unit for each class."""
    layers = [eq.Layer(64), eq.Layer(48, "hard_sigmoid"), eq.Layer(10, "linear"), eq.Layer(48, "tanh")]
    couplings = [eq.Dense(0, 1), eq.Dense(1, 2), eq.Dense(1, 3), eq.Dense(3, 4)]
    return eq.HopfieldNetwork(layers=[*layers, eq.Layer(10, "linear")], couplings=couplings, dtype=dtype)


@pytest.mark.parametrize("kind", [SquaredError(), CE()], ids=["squared", "entropy"])
@pytest.mark.parametrize(
    "second_phase", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()], ids=["eqprop", "rbp"]
)
def test_a_training_with_an_auxiliary_readout_learns(kind: Any, second_phase: Any) -> None:
    train, test = eq.load_digits()
    trainer = eq.Trainer(readout_network(), second_phase, cost=LayerCosts({2: kind, -1: kind}, {2: 0.3}))
    trainer.fit(train, epochs=5)
    assert trainer.evaluate(test).error < 0.1
    x, _ = test.batch(np.arange(len(test)), np.dtype(np.float32))
    readout = eq.free_phase(trainer.model, x).state[:, trainer.model.layer_slices["hidden2"]]
    assert (readout.argmax(axis=1) != test.y).mean() < 0.2


def test_targets_of_a_hidden_layer_are_learned() -> None:
    train, test = eq.load_digits()
    codes = np.random.default_rng(0).integers(0, 2, (10, 32)).astype(float)
    net = eq.HopfieldNetwork([64, 64, 32, 10], seed=0)
    cost = LayerCosts({2: SquaredError(), -1: SquaredError()}, {2: 0.2}, {2: lambda y: codes[y]})
    trainer = eq.Trainer(net, cost=cost)
    trainer.fit(train, epochs=5)
    x, _ = test.batch(np.arange(len(test)), np.dtype(np.float32))
    hidden = eq.free_phase(net, x).state[:, net.layer_slices["hidden2"]]
    nearest = ((hidden[:, None] - codes) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest != test.y).mean() < 0.15
    assert trainer.evaluate(test).error < 0.15


def test_a_network_of_images_learns_with_an_auxiliary_readout() -> None:
    train, test = eq.load_digits()
    layers = [
        eq.Layer((1, 8, 8)),
        eq.Layer((8, 4, 4)),
        eq.Layer(10, "linear"),
        eq.Layer(32),
        eq.Layer(10, "linear"),
    ]
    couplings = [eq.Convolution(0, 1, 2, stride=2), eq.Dense(1, 2), eq.Dense(1, 3), eq.Dense(3, 4)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, seed=0)
    trainer = eq.Trainer(net, cost=LayerCosts({2: SquaredError(), -1: SquaredError()}, {2: 0.5}))
    trainer.fit(train, epochs=5)
    assert trainer.evaluate(test).error < 0.15


def test_without_a_cost_of_the_outputs_no_training_is_at_chance(recwarn: pytest.WarningsRecorder) -> None:
    data = blobs(400)
    cost = LayerCosts({1: SquaredError()}, {}, {1: spread})
    trainer = eq.Trainer(chain(4, 6, 5, 3, activation="hard_sigmoid"), cost=cost, batch_size=20)
    trainer.fit(data, epochs=5)
    assert trainer.history[-1].objective < 0.5 * trainer.history[0].objective
    assert not any("guessing" in str(w.message) for w in recwarn)


def test_metrics_read_the_outputs_and_the_objective_is_the_sum() -> None:
    net, cost, data = chain(4, 6, 5, 3), OUTER, blobs(40)
    trainer = eq.Trainer(net, cost=cost)
    result = trainer.evaluate(data)
    state = eq.free_phase(net, data.x, solver=trainer.solver).state
    assert result.objective == pytest.approx(trainer.cost.bind(net, data.y, "").value(state).mean(), rel=1e-6)
    assert result.error == pytest.approx((state[:, 11:].argmax(axis=1) != data.y).mean())
    metrics = trainer.step(data.x, data.y)
    assert metrics.error == pytest.approx(result.error)
    assert metrics.objective == pytest.approx(result.objective, rel=1e-6)


def test_default_scales_and_nudging_follow_the_steepest_layer() -> None:
    net = chain(4, 6, 5, 3, activation="sigmoid")  # slope 1/4
    cost = LayerCosts({1: SquaredError(), 2: CE(), -1: CE()}, {1: 8.0, 2: 0.25}, {1: spread, 2: further})
    trainer = eq.Trainer(net, cost=cost)
    assert trainer.cost.costs == {1: SquaredError(), 2: CE(8.0), -1: CE(4.0)}
    assert trainer.second_phase.nudging == eq.centered(1 / 64)
    steep = eq.Trainer(net, cost=LayerCosts({1: SquaredError()}, {1: 8.0}, {1: spread}))
    assert steep.second_phase.nudging == eq.centered(1 / 8)


def test_probabilities_are_those_of_the_outputs() -> None:
    net = chain(4, 3, 3)
    x = inputs(net)
    plain, layers = (eq.Trainer(net, cost=c) for c in (CE(2.0), LayerCosts({1: SquaredError(), -1: CE(2.0)})))
    np.testing.assert_array_equal(plain.predict_proba(x), layers.predict_proba(x))
    for cost in (LayerCosts({1: CE(5.0)}), LayerCosts({1: CE(5.0), -1: SquaredError()})):
        with pytest.raises(ValueError, match=r"\[Trainer.predict_proba\] Probabilities need"):
            eq.Trainer(net, cost=cost).predict_proba(x)


def test_a_trainer_is_saved_with_its_costs(tmp_path: Path) -> None:
    net, data = chain(4, 3, 3), blobs(40)
    trainer = eq.Trainer(net, cost=LayerCosts({1: SquaredError(), -1: CE()}, {1: 0.5}), batch_size=20)
    trainer.fit(data, epochs=1)
    eq.save(trainer, tmp_path / "trainer.safetensors")
    again = eq.load(tmp_path / "trainer.safetensors")
    assert again.cost == trainer.cost
    for one in (trainer, again):
        one.fit(data, epochs=1)
    assert (again.model.parameters == net.parameters).all()


def test_functions_of_targets_are_pickled_and_not_saved(tmp_path: Path) -> None:
    trainer = eq.Trainer(chain(4, 6, 3), cost=LayerCosts({1: SquaredError()}, {}, {1: spread}))
    with pytest.raises(TypeError, match=r"Received spread as cost.targets.1. Use LayerCosts without"):
        eq.save(trainer, tmp_path / "trainer.safetensors")
    assert pickle.loads(pickle.dumps(trainer)).cost == trainer.cost


def test_a_training_is_resumed_with_its_costs(tmp_path: Path) -> None:
    def make(*callbacks: Any) -> eq.Trainer:
        cost = LayerCosts({1: SquaredError(), -1: CE()}, {1: 0.5})
        net = chain(4, 3, 3, dtype="float32")
        return eq.Trainer(net, cost=cost, batch_size=20, step_callbacks=callbacks)

    def interrupt(trainer: eq.Trainer, metrics: Any) -> None:
        if trainer.steps == 13:
            raise KeyboardInterrupt

    data, path = blobs(200), tmp_path / "run.safetensors"
    whole = make()
    whole.fit(data, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        make(interrupt).fit(data, epochs=2, checkpoint=eq.Checkpoint(path, steps=5))
    again = eq.Trainer.resume(path)
    again.fit(data, epochs=2)
    assert (again.model.parameters == whole.model.parameters).all()
