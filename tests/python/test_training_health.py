"""What a training says and refuses: divergence, chance, inaccurate gradients, parts of a wrong kind."""

from __future__ import annotations

import copy
import math
import re
import warnings
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from networks import blobs, chain
from sklearn.datasets import load_breast_cancer, load_iris


def test_an_objective_that_runs_away_ends_the_training_with_the_last_good_parameters() -> None:
    net = chain(4, 6, 3)
    start = net.parameters.copy()
    trainer = eq.Trainer(net, optimizer=eq.SGD(50.0), clip=math.inf)
    with pytest.raises(eq.ConvergenceError, match="diverged") as failure:
        trainer.fit(blobs(), epochs=3)
    assert "Lower the learning rate (50.0)" in str(failure.value)
    assert "parameters after step 0 again" in str(failure.value)
    np.testing.assert_array_equal(net.parameters, start)
    cured = eq.Trainer(net, optimizer=eq.SGD(0.05), clip=math.inf)
    assert cured.fit(blobs(), epochs=3)[-1].objective < 0.5


def test_the_parameters_after_a_divergence_are_the_last_ones_whose_objective_was_measured() -> None:
    """An epoch of one step ends with parameters whose objective only the next step measures."""
    data, net = blobs(), chain(4, 6, 3)
    start = net.parameters.copy()
    with pytest.raises(eq.ConvergenceError, match="parameters after step 0 again"):
        eq.Trainer(net, optimizer=eq.Adam(1000.0), batch_size=len(data)).fit(data, epochs=3)
    np.testing.assert_array_equal(net.parameters, start)
    trainer = eq.Trainer(net, optimizer=eq.Adam(0.02), batch_size=len(data))
    first = trainer.fit(data, epochs=3)[0]
    good = net.parameters.copy()
    trainer.optimizer.learning_rate = 1000.0  # type: ignore[attr-defined]
    with pytest.raises(eq.ConvergenceError, match="parameters after step 3 again"):
        trainer.fit(data, epochs=3)
    np.testing.assert_array_equal(net.parameters, good)
    assert trainer.evaluate(data).objective < first.objective


def test_a_resumed_training_that_diverges_gets_the_same_parameters(tmp_path: Path) -> None:
    """The checkpoint after step 100 has parameters whose objective step 101 measures."""

    def spoil(trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == 102:
            trainer.model.parameters[:] *= 1e6

    def interrupt(trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == 101:
            raise KeyboardInterrupt

    data, ends = blobs(), []
    for callback in (spoil, interrupt):
        trainer = eq.Trainer(chain(4, 6, 3), optimizer=eq.Adam(0.02), batch_size=1, step_callbacks=[callback])
        checkpoint = eq.Checkpoint(tmp_path / "run.safetensors", steps=100)
        with pytest.raises((KeyboardInterrupt, eq.ConvergenceError)):
            trainer.fit(data, epochs=1, checkpoint=checkpoint)
        if callback is interrupt:
            trainer = eq.Trainer.resume(checkpoint.path)
            trainer.step_callbacks = [spoil]
            with pytest.raises(eq.ConvergenceError, match="parameters after step 100 again"):
                trainer.fit(data, epochs=1)
        ends.append(trainer.model.parameters)
    np.testing.assert_array_equal(*ends)


class OwnPhase(eq.EquilibriumPropagation):
    """A second phase with its own `gradient`."""

    def gradient(self, free: Any) -> Any:
        return super().gradient(free)


@pytest.mark.parametrize("clip", [3.0, math.inf])
@pytest.mark.parametrize("phase", [eq.EquilibriumPropagation, OwnPhase])
@pytest.mark.parametrize("optimizer", [eq.SGD(0.1), eq.SGD(0.1, momentum=0.5, nesterov=True), eq.Adam(0.01)])
@pytest.mark.parametrize("shards", [None, 1, 2])
def test_a_gradient_whose_norm_overflows_changes_neither_the_parameters_nor_the_optimizer(
    shards: int | None, optimizer: Any, phase: Any, clip: float
) -> None:
    """The nudged phase runs away to numbers of 1e300 that are finite; their norm is infinite."""
    data = eq.Dataset(np.random.default_rng(0).uniform(size=(12, 4)), np.arange(12) % 3)
    good, bad = eq.centered(0.01), eq.one_sided(-0.1)
    net, optimizer = chain(4, 6, 3), copy.deepcopy(optimizer)
    options: dict[str, Any] = {"cost": eq.CrossEntropy(4.0), "clip": clip, "shards": shards}
    trainer = eq.Trainer(net, phase(good), optimizer=optimizer, **options)
    trainer.step(data.x, data.y)
    parameters, averages = net.parameters.copy(), optimizer._buffers.copy()
    trainer.second_phase = phase(bad)
    with pytest.raises(
        eq.ConvergenceError, match="second phase diverged; the parameters were not"
    ) as failure:
        trainer.step(data.x, data.y)
    assert (failure.value.outcome.status == eq.Status.DIVERGED).any()
    assert "ower |beta| (0.1)" in str(failure.value)
    np.testing.assert_array_equal(net.parameters, parameters)
    np.testing.assert_array_equal(optimizer._buffers, averages)
    assert (trainer.steps, optimizer._steps) == (1, 1)


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")
@pytest.mark.parametrize("shards", [None, 1, 4])
def test_targets_that_overflow_the_gradient_are_a_divergence_with_and_without_shards(
    shards: int | None,
) -> None:
    data = blobs(40)
    net = chain(4, 6, 3, activation="softplus")
    start = net.parameters.copy()
    huge = eq.Dataset(data.x, np.eye(3)[data.y] * 1e160)
    trainer = eq.Trainer(net, optimizer=eq.SGD(0.1), batch_size=10, shards=shards)
    with pytest.raises(eq.ConvergenceError, match=r"second phase diverged(?s:.)*Lower \|beta\|"):
        trainer.fit(huge, epochs=3)
    np.testing.assert_array_equal(net.parameters, start)


def refused_output(output: str, cost: Any) -> eq.Trainer:
    return eq.Trainer(eq.HopfieldNetwork([4, 6, 10], output_activation=output), cost=cost)


def test_bounded_outputs_are_refused_for_the_cross_entropy_and_both_cures_work() -> None:
    with pytest.raises(ValueError, match=r"\[Trainer\] CrossEntropy needs logits that differ") as failure:
        refused_output("hard_sigmoid", eq.CrossEntropy())
    assert "output_activation='linear'" in str(failure.value)
    (scale,) = re.findall(r"logit_scale=([\d.]+)", str(failure.value))
    refused_output("linear", eq.CrossEntropy())
    refused_output("hard_sigmoid", eq.CrossEntropy(float(scale)))
    with pytest.raises(ValueError, match="at least two"):
        eq.Trainer(eq.HopfieldNetwork([4, 6, 1]), cost=eq.CrossEntropy())


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy(), eq.CrossEntropy(1.0)])
@pytest.mark.parametrize("make", [eq.centered, lambda b: eq.one_sided(-b), lambda b: eq.random_sign(b, 0)])
def test_a_negative_beta_without_a_minimum_is_refused_and_the_cure_works(make: Any, cost: Any) -> None:
    net = eq.HopfieldNetwork([4, 6, 3])
    with pytest.raises(ValueError, match=r"\[Trainer\] A nudge by -beta has a minimum only if") as failure:
        eq.Trainer(net, eq.EquilibriumPropagation(make(2.0)), cost=cost)
    (beta,) = re.findall(r"use \w+\(([\d.e-]+)\)", str(failure.value))
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(float(beta))), cost=cost)
    assert trainer.step(blobs().x[:20], blobs().y[:20]).unconverged == 0
    eq.Trainer(net, eq.EquilibriumPropagation(eq.one_sided(2.0)), cost=cost)


@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_couplings_within_linear_outputs_lower_the_beta_that_has_a_minimum(
    potential: str, gain: float
) -> None:
    """The limit is c (1 - lambda L): curvature c, largest eigenvalue lambda of the coupling."""
    outputs = eq.Layer(3, eq.Activation("clip", gain=gain))
    couplings = [eq.Dense(0, 1), eq.Dense(1, 2), eq.Dense(2, 2)]
    net = eq.HopfieldNetwork(
        layers=[eq.Layer(4), eq.Layer(6), outputs], couplings=couplings, potential=potential
    )
    slope = gain if potential == "legendre" else gain**2
    net.blocks["W3"][...] = 0.3 / slope * (np.ones((3, 3)) - np.eye(3))  # lambda L is 0.6
    limit = 0.4 / gain if potential == "legendre" else 0.4
    with pytest.raises(ValueError, match=r"\[Trainer\] A nudge by -beta has a minimum only if") as failure:
        eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(1.01 * limit)), cost=eq.SquaredError())
    assert f"beta < {limit:.3g} " in str(failure.value)
    eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(0.99 * limit)), cost=eq.SquaredError())
    (beta,) = re.findall(r"use \w+\(([\d.e-]+)\)", str(failure.value))
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(float(beta))), cost=eq.SquaredError())
    assert trainer.step(blobs().x[:20], blobs().y[:20]).unconverged == 0


@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy()])
@pytest.mark.parametrize("kind", ["linear", "relu"])
@pytest.mark.parametrize("potential", ["legendre", "quadratic"])
@pytest.mark.parametrize("gain", [0.25, 0.5, 2.0])
def test_the_default_nudging_has_a_minimum_for_unbounded_outputs_of_every_gain(
    cost: Any, kind: str, potential: str, gain: float
) -> None:
    lower = 0.0 if kind == "relu" else -math.inf
    layers = [eq.Layer(4), eq.Layer(6), eq.Layer(3, eq.Activation("clip", gain=gain, lower=lower))]
    net = eq.HopfieldNetwork(layers=layers, couplings=[eq.Dense(0, 1), eq.Dense(1, 2)], potential=potential)
    trainer = eq.Trainer(net, cost=cost)
    assert trainer.step(blobs().x[:20], blobs().y[:20]).unconverged == 0


def test_weights_that_a_training_replaces_do_not_lower_the_beta_that_has_a_minimum() -> None:
    couplings = [eq.Dense(0, 1), eq.Dense(1, 2), eq.Dense(2, 2)]
    layers = [eq.Layer(4), eq.Layer(6), eq.Layer(3, "linear")]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings)
    trainer = eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(0.7)), cost=eq.SquaredError())
    assert trainer.step(blobs().x[:20], blobs().y[:20]).unconverged == 0
    net.blocks["W3"][...] = 0.3 * (np.ones((3, 3)) - np.eye(3))
    with pytest.raises(ValueError, match=r"beta < 0\.4 "):
        eq.Trainer(net, eq.EquilibriumPropagation(eq.centered(0.7)), cost=eq.SquaredError())


@pytest.mark.parametrize("output", ["relu", "softplus", "hard_sigmoid", "tanh"])
def test_targets_out_of_the_reach_of_the_outputs_are_refused_and_both_cures_work(output: str) -> None:
    x = blobs().x
    y = np.stack([x[:, 0] - 2, 3 * x[:, 1]], axis=1)
    y[0] = (-3, 2)
    net = eq.HopfieldNetwork([4, 6, 2], output_activation=output)
    with pytest.raises(
        ValueError, match=r"\[Trainer.fit\] Targets lie in the range of the outputs"
    ) as failure:
        eq.Trainer(net).fit(x, y, epochs=1)
    assert "output_activation='linear'" in str(failure.value)
    eq.Trainer(eq.HopfieldNetwork([4, 6, 2])).fit(x, y, epochs=1)
    eq.Trainer(net).fit(x, (y - y.min()) / (y.max() - y.min()), epochs=1)


def warnings_of(trainer: eq.Trainer, data: eq.Dataset) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(data, epochs=10)
    return [str(w.message) for w in caught if "guessing" in str(w.message)]


def test_units_that_do_not_respond_are_named_and_the_cure_works() -> None:
    data = blobs()
    raw = eq.Dataset(1e4 * (20 + data.x), data.y)
    options: Any = {"activation": "hard_sigmoid", "seed": 0}
    held = eq.HopfieldNetwork([4, 12, 3], gain=0.5, **options)
    (said,) = warnings_of(eq.Trainer(held, optimizer=eq.SGD(1e-3)), raw)
    assert "of the units of hidden1 do not respond to the input" in said
    assert "construct the network without `gain`" in said
    x = (raw.x - raw.x.mean(axis=0)) / raw.x.std(axis=0)
    cured = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], **options), batch_size=20)
    assert warnings_of(cured, eq.Dataset(x, data.y)) == []
    assert cured.evaluate(eq.Dataset(x, data.y)).error < 0.1


def test_a_learning_rate_that_is_too_small_is_named_and_the_cure_works() -> None:
    data = blobs()
    (said,) = warnings_of(eq.Trainer(chain(4, 6, 3), optimizer=eq.SGD(1e-9)), data)
    assert "Raise the learning rate (1e-09), or use the default, Adam('auto')." in said
    assert warnings_of(eq.Trainer(chain(4, 6, 3), optimizer=eq.SGD(0.05)), data) == []
    assert warnings_of(eq.Trainer(chain(4, 6, 3), optimizer=eq.Adam("auto")), data) == []


def test_labels_that_do_not_belong_to_the_samples_are_suspected_and_the_cure_works() -> None:
    data = blobs()
    wrong = eq.Dataset(data.x, np.random.default_rng(0).permutation(data.y))
    (said,) = warnings_of(eq.Trainer(eq.HopfieldNetwork([4, 2, 3])), wrong)
    assert "check that the labels belong to the samples" in said
    assert warnings_of(eq.Trainer(eq.HopfieldNetwork([4, 2, 3])), data) == []


@pytest.mark.parametrize("rate", [1.0, 10.0, 1e4])
def test_outputs_that_a_large_rate_has_silenced_are_named_and_the_cure_works(rate: float) -> None:
    data = blobs()
    options: Any = {"output_activation": "hard_sigmoid", "seed": 0}
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], **options), optimizer=eq.Adam(rate))
    (said,) = warnings_of(trainer, data)
    assert f"Lower the learning rate ({rate})" in said
    cured = eq.Trainer(eq.HopfieldNetwork([4, 12, 3], **options))
    assert warnings_of(cured, data) == []
    assert cured.evaluate(data).error < 0.1


def test_an_update_in_the_last_step_that_ruins_the_model_is_noticed() -> None:
    data = blobs()
    for rate in (1e20, 1e38):
        net = eq.HopfieldNetwork([4, 6, 3])
        trainer = eq.Trainer(net, optimizer=eq.SGD(rate), batch_size=len(data))
        with pytest.raises(eq.ConvergenceError, match="Lower the learning rate"):
            trainer.fit(data, epochs=1)
        assert np.isfinite(net.parameters).all()
        assert np.abs(net.parameters).max() < 10


@pytest.mark.filterwarnings("ignore::equiprop.ConvergenceWarning")
@pytest.mark.parametrize(("activation", "load"), [("relu", load_iris), ("tanh", load_breast_cancer)])
def test_a_single_sample_of_a_high_cost_is_no_divergence(activation: str, load: Any) -> None:
    x, y = load(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    net = eq.HopfieldNetwork([x.shape[1], 2, y.max() + 1], activation=activation)
    trainer = eq.Trainer(net, cost=eq.CrossEntropy(), batch_size=1)
    trainer.fit(x, y, epochs=10)
    assert trainer.evaluate(x, y).error < 0.2


def test_single_samples_that_run_away_end_the_training() -> None:
    net = chain(4, 6, 3)
    trainer = eq.Trainer(net, optimizer=eq.SGD(50.0), clip=math.inf, batch_size=1)
    with pytest.raises(eq.ConvergenceError, match="the objective grew from"):
        trainer.fit(blobs(), epochs=1)
    assert trainer.steps < 20
    np.testing.assert_array_equal(net.parameters, chain(4, 6, 3).parameters)
    trainer.optimizer = eq.SGD(0.01)
    assert trainer.fit(blobs(), epochs=3)[-1].objective < 0.5


def test_larger_targets_are_no_divergence() -> None:
    x = blobs().x
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 1]))
    trainer.step(x, 0.1 * x[:, :1])
    assert trainer.step(x, 5 * x[:, :1]).objective > 5


def test_raw_arrays_get_the_scale_of_the_training_data() -> None:
    data = blobs()
    x = np.clip(40 * (data.x + 2), 0, 255).astype(np.uint8)
    trainer = eq.Trainer(eq.HopfieldNetwork([4, 12, 3]), batch_size=20)
    last = trainer.fit(eq.Dataset(x, data.y, scale=1 / 255), epochs=20, validation=(x, data.y))[-1]
    wrong = (trainer.predict_classes(x) != data.y).mean()
    assert trainer.evaluate(x, data.y).error == pytest.approx(wrong)
    assert last.validation_error == pytest.approx(wrong)
    assert trainer.evaluate(x.astype(float), data.y).error == pytest.approx(wrong)
    assert trainer.evaluate(eq.Dataset(x / 255.0, data.y, scale=1)).error == pytest.approx(wrong)


def test_a_gradient_that_no_precision_resolves_is_said_and_the_cure_works() -> None:
    data = blobs()
    with pytest.warns(eq.ConvergenceWarning, match=r"samples are inaccurate\. Raise \|beta\|"):
        eq.Trainer(chain(4, 6, 3, dtype="float32"), eq.EquilibriumPropagation(eq.centered(1e-8))).fit(
            data, epochs=1
        )
    assert eq.Trainer(chain(4, 6, 3, dtype="float32")).fit(data, epochs=1)[0].unconverged == 0


class Mine(eq.CrossEntropy):
    """A subclass without changes."""


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("optimizer", "adam"),
        ("optimizer", eq.Adam),
        ("second_phase", "rbp"),
        ("cost", "mse"),
        ("schedule", 0.5),
        ("callbacks", print),
        ("callbacks", [3]),
        ("step_callbacks", print),
        ("step_callbacks", [3]),
    ],
)
def test_a_part_of_a_wrong_kind_is_refused_by_name(part: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"\[Trainer\] {part} is "):
        eq.Trainer(chain(4, 6, 3), **{part: value})


def test_a_subclass_of_the_cost_is_kept() -> None:
    cost = eq.Trainer(chain(4, 6, 3), cost=Mine()).cost
    assert (type(cost), cost.logit_scale) == (Mine, 4.0)  # type: ignore[attr-defined]
