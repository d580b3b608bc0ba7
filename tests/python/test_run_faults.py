"""Faults of a training: each is found with its figure, and its advice cures it; defaults have none."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import blobs

DATA = blobs()
NO_GAIN = "Scale the features to a standard deviation of about 1, and construct the network without `gain`"


def said(trainer: eq.Trainer, data: eq.Dataset = DATA, epochs: int = 10) -> list[str]:
    """Train, and return the messages of the faults that were reported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(data, epochs=epochs)
    texts = [str(w.message) for w in caught if issubclass(w.category, eq.TrainingWarning)]
    return [text for text in texts if "are not scaled" not in text]


def standard(data: eq.Dataset) -> eq.Dataset:
    return eq.Dataset((data.x - data.x.mean(axis=0)) / data.x.std(axis=0), data.y)


def scaled(factor: float) -> eq.Dataset:
    return eq.Dataset(factor * DATA.x, DATA.y)


WEAK = r"100% of the units of hidden\d do not respond to the input\."
HELD = r"9\d\.\d\d% of the states of hidden1 are held at a bound or saturated, so that no gradient passes\."
LARGE = r"The largest root mean square of a feature is 8\d\.\d, that of scaled ones is 1\."


@pytest.mark.parametrize(
    ("cause", "data", "activation", "gain", "hidden"),
    [
        *((WEAK, scaled(1e-5), name, 0.5, 1) for name in ("tanh", "hard_sigmoid", "relu", "sigmoid")),
        *((WEAK, scaled(1.0), name, 1e-4, 2) for name in ("tanh", "hard_sigmoid", "relu")),
        (HELD, scaled(100.0), "hard_sigmoid", 0.5, 1),
        (LARGE, scaled(100.0), "tanh", 0.5, 1),
        (LARGE, scaled(100.0), "sigmoid", 0.5, 1),
    ],
)
def test_units_without_use_are_named_and_scaled_features_and_start_values_cure(
    cause: str, data: eq.Dataset, activation: str, gain: float, hidden: int
) -> None:
    sizes = [4, *[12] * hidden, 3]
    net = eq.HopfieldNetwork(sizes, activation=activation, gain=gain)
    messages = said(eq.Trainer(net, optimizer=eq.SGD(1e-3)), data)
    assert any(re.search(cause, text) and NO_GAIN in text for text in messages), messages
    cured = eq.Trainer(eq.HopfieldNetwork(sizes, activation=activation), batch_size=20)
    assert said(cured, standard(data)) == []
    assert cured.evaluate(standard(data)).error < 0.08


RATES = r"Lower the learning rate \((\S+)\)"


@pytest.mark.parametrize(
    ("cause", "activation", "hidden", "rate"),
    [
        (r"Step \d+ changed W4 by [\d.]+% of its size\.", "tanh", 3, 0.1),
        (r"100% of the units of hidden3 do not respond", "tanh", 5, 0.2),
        (r"100% of the units of hidden3 do not respond", "hard_sigmoid", 3, 0.05),
        (r"100% of the units of hidden4 do not respond", "tanh", 5, 0.07),
        (r"Step \d+ changed W6 by \d\.\d% of its size\.", "tanh", 5, 0.05),
    ],
)
def test_a_learning_rate_that_is_too_large_is_named_and_both_cures_work(
    cause: str, activation: str, hidden: int, rate: float
) -> None:
    def trainer(optimizer: Any) -> eq.Trainer:
        return eq.Trainer(
            eq.HopfieldNetwork([4, *[12] * hidden, 3], activation=activation), optimizer=optimizer
        )

    messages = said(trainer(eq.Adam(rate)))
    assert any(re.search(cause, text) and re.search(RATES, text) for text in messages), messages
    for optimizer in (eq.Adam(rate / 10), eq.Adam("auto")):
        cured = trainer(optimizer)
        assert said(cured, epochs=40) == []
        assert cured.evaluate(DATA).error < 0.08


def test_rates_of_blocks_that_are_too_large_are_lowered_by_the_advised_schedule() -> None:
    def trainer(**options: Any) -> eq.Trainer:
        result = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], activation="tanh"), **options)
        result.prepare(DATA)
        rates = result.optimizer.learning_rate  # type: ignore[attr-defined]
        result.optimizer.learning_rate = {name: 20 * rate for name, rate in rates.items()}  # type: ignore[attr-defined]
        return result

    with pytest.raises(
        eq.ConvergenceError, match="Lower the learning rates, for example with sch"
    ) as failure:
        trainer().fit(DATA, epochs=10)
    found = re.search(r"schedule=(lambda progress: \S+), and start training again", str(failure.value))
    assert found is not None
    cured = trainer(schedule=eval(found.group(1)))
    assert said(cured) == []
    assert cured.evaluate(DATA).error < 0.08


def test_outputs_that_ignore_the_input_are_named_and_start_values_cure() -> None:
    net = eq.HopfieldNetwork([4, 12, 3], activation="tanh", gain=0.5)
    net.blocks["W2"][...] *= 1e-6
    (message,) = said(eq.Trainer(net, optimizer=eq.SGD(1e-4)), epochs=9)
    found = re.search(r"outputs ignore the input: .* is (\S+) of that of the targets\. (.*)$", message)
    assert found is not None
    assert float(found.group(1)) < 0.01
    assert found.group(2).startswith(NO_GAIN)
    cured = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], activation="tanh"))
    assert said(cured, standard(DATA)) == []
    assert cured.evaluate(standard(DATA)).error < 0.08


def test_steps_that_are_too_small_are_named_for_targets_and_both_cures_work() -> None:
    x = DATA.x
    y = np.stack([np.tanh(x[:, 0] - x[:, 1]), x[:, 2] ** 2], axis=1)
    data = eq.Dataset(x, y)

    def trainer(optimizer: Any) -> eq.Trainer:
        return eq.Trainer(eq.HopfieldNetwork([4, 12, 2], activation="tanh"), optimizer=optimizer)

    (message,) = said(trainer(eq.SGD(1e-6)), data)
    found = re.search(r"A step moves the parameters by at most (\S+) of their size; the objective", message)
    assert found is not None
    assert float(found.group(1)) < 1e-5
    assert "Raise the learning rate (1e-06), or use the default, Adam('auto')." in message
    for optimizer in (eq.SGD(0.1), eq.Adam("auto")):
        cured = trainer(optimizer)
        assert said(cured, data) == []
        assert cured.history[-1].objective < 0.5 * cured.history[0].objective


def near_the_edge(hidden: int, norm: float) -> eq.HopfieldNetwork:
    """Return a network of linear units whose couplings together have this norm."""
    net = eq.HopfieldNetwork([4, *[12] * hidden, 3], activation="linear", gain=0.5, dtype="float64")
    each = norm / (2 * math.cos(math.pi / (hidden + 2)))
    for k in range(2, hidden + 2):
        u, _, v = np.linalg.svd(net.blocks[f"W{k}"], full_matrices=False)
        net.blocks[f"W{k}"][...] = each * (u @ v)
    return net


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_a_margin_near_zero_is_named_and_a_bound_on_the_couplings_cures(hidden: int) -> None:
    net = near_the_edge(hidden, 0.99)
    solver = eq.BlockUpdate(tolerance=1e-7, max_iterations=20_000)
    phase = eq.RecurrentBackpropagation()
    messages = said(eq.Trainer(net, phase, eq.SGD(1e-7), solver=solver, coupling_norm=math.inf))
    pattern = r"stability margin below (\S+), where .* amplified (\d+) times\. Pass coupling_norm=(\S+) to"
    found = re.search(pattern, messages[0])
    assert found is not None
    assert 0.0099 < float(found.group(1)) < 0.02
    assert int(found.group(2)) == pytest.approx(1 / float(found.group(1)), rel=0.06)
    cured = eq.Trainer(near_the_edge(hidden, 0.99), phase, coupling_norm=float(found.group(3)))
    assert said(cured, epochs=200) == []
    assert cured.evaluate(DATA).error < 0.05


@pytest.mark.parametrize(
    "data",
    [
        blobs(40),
        eq.Dataset(np.ones((60, 4)), np.arange(60) % 3),
        eq.Dataset(1 + 1e-6 * np.random.default_rng(0).normal(size=(15, 4)), np.arange(15) % 3),
    ],
)
def test_few_or_equal_samples_are_no_fault(data: eq.Dataset) -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], gain=0.5), batch_size=5)
    assert [text for text in said(trainer, data, epochs=40) if "No cause was found" not in text] == []


def test_a_short_call_after_a_training_has_no_fault() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3]), batch_size=20)
    assert said(trainer, epochs=20) == []
    assert said(trainer, epochs=2) == []


def test_a_fault_is_reported_once_in_a_run_and_again_in_the_next() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], gain=0.5), optimizer=eq.SGD(1e-3))
    data = eq.Dataset(1e-5 * DATA.x, DATA.x[:, :3])
    for _ in range(2):
        messages = said(trainer, data, epochs=60)
        assert len(messages) == 1, messages
        assert "do not respond" in messages[0]


def test_a_resumed_run_does_not_repeat_what_it_said(tmp_path: Any) -> None:
    def stop(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        if epoch.epoch == 40:
            raise KeyboardInterrupt

    data, path = scaled(1e-5), tmp_path / "run.safetensors"
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], gain=0.5), optimizer=eq.SGD(1e-3), callbacks=[stop])
    with pytest.warns(eq.TrainingWarning, match="do not respond"), pytest.raises(KeyboardInterrupt):
        trainer.fit(data, epochs=60, checkpoint=eq.Checkpoint(path, steps=1))
    resumed = eq.Trainer.resume(path)
    assert resumed._health.said == ["units"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed.fit(data, epochs=60)
    assert [w for w in caught if "guessing" not in str(w.message)] == []


def test_the_warnings_name_the_line_that_called_fit() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], gain=0.5), optimizer=eq.SGD(1e-3))
    with pytest.warns(eq.TrainingWarning) as caught:
        trainer.fit(scaled(1e-5), epochs=20)
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()], ids=["squared", "entropy"])
@pytest.mark.parametrize("name", [name for name in eq.ACTIVATIONS if name != "linear"])
def test_trainings_by_default_on_digits_have_no_fault(name: str, cost: Any, depth: int) -> None:
    net = eq.HopfieldNetwork([64, *[64] * depth, 10], activation=name)
    assert said(eq.Trainer(net, cost=cost), eq.load_digits()[0]) == []
