"""Trainings on a CUDA device, which is emulated: steps of the optimizer there, and epochs without waits."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import (
    ON_EMULATED_DEVICE,
    PRECISIONS,
    ROUNDING,
    SWEEPS,
    X,
    Y,
    network,
)
from equiprop import cuda_epochs
from equiprop.augmentation import Augmentation
from equiprop.cuda import DeviceError
from equiprop.optimizers import FusedOptimizer

pytestmark = ON_EMULATED_DEVICE


BLOCKS = {"W1": 0.1, "W2": 0.2, "W3": 0.0, "b1": 0.1, "b2": 0.05, "b3": 0.1}
ON_DEVICE: list[Callable[[], Any]] = [
    lambda: eq.SGD(0.1),
    lambda: eq.SGD(BLOCKS, 0.9, 0.01),
    lambda: eq.Adam(0.01, weight_decay=0.1),
    lambda: eq.Adam(BLOCKS, epsilon=1e-3),
]


class Own:
    """An optimizer of the user's own."""

    def step(self, parameters: Any, gradient: Any, blocks: Any, factor: float = 1.0) -> None:
        parameters -= 0.1 * factor * gradient


ON_HOST: list[Callable[[], Any]] = [
    Own,
    lambda: eq.SGD(0.1, 0.9, nesterov=True),
    lambda: eq.SGD(0.1, weight_decay={"W1": 0.1}),
]


def steps_of(net: Any, optimizer: Any, count: int = 4, **options: Any) -> eq.Trainer:
    trainer = eq.Trainer(net, optimizer=optimizer, solver=SWEEPS, clip=0.4, **options)
    for k in range(count):
        trainer.step(X[k:], Y[k:], np.arange(12.0 - k) / 5)
    return trainer


@PRECISIONS
@pytest.mark.parametrize("optimizer", [*ON_DEVICE, *ON_HOST], ids=lambda o: str(o()).split(" at ")[0])
def test_steps_are_those_of_the_cpu(dtype: str, optimizer: Callable[[], Any]) -> None:
    host, device = (steps_of(n, optimizer()) for n in (network(dtype), network(dtype).to("cuda")))
    limits: dict[str, Any] = {"rtol": 0, "atol": 10 * ROUNDING[dtype]}
    np.testing.assert_allclose(device.model.parameters, host.model.parameters, **limits)
    assert device._clipping.count == host._clipping.count > 0
    assert device._clipping.mean == pytest.approx(host._clipping.mean, rel=100 * ROUNDING[dtype])
    if isinstance(host.optimizer, eq.SGD | eq.Adam):
        assert device.optimizer._steps == host.optimizer._steps == 4
        np.testing.assert_allclose(device.optimizer._buffers, host.optimizer._buffers, **limits)


@pytest.mark.parametrize("optimizer", ON_DEVICE, ids=lambda o: str(o()))
def test_no_gradient_is_copied_to_the_host(
    optimizer: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = eq.Trainer(network().to("cuda"), optimizer=optimizer(), solver=SWEEPS)
    monkeypatch.setattr(FusedOptimizer, "finish", None)
    monkeypatch.setattr("equiprop.cuda_step._run", None)
    trainer.step(X, Y)


@pytest.mark.parametrize("optimizer", ON_DEVICE, ids=lambda o: str(o()))
def test_averages_go_to_the_host_and_back(optimizer: Callable[[], Any]) -> None:
    """A step on the CPU, a copy, or another optimizer between steps finds the present averages."""
    whole = steps_of(network().to("cuda"), optimizer(), 4)
    part = steps_of(network().to("cuda"), optimizer(), 2)
    part = copy.deepcopy(part)
    other = eq.Trainer(part.model, optimizer=eq.SGD(0.0, 0.5), solver=SWEEPS)
    other.step(X, Y)
    for k in (2, 3):
        part.step(X[k:], Y[k:], np.arange(12.0 - k) / 5)
    np.testing.assert_array_equal(part.model.parameters, whole.model.parameters)
    np.testing.assert_array_equal(part.optimizer._buffers, whole.optimizer._buffers)


@pytest.mark.parametrize("second", [eq.EquilibriumPropagation(), eq.RecurrentBackpropagation()])
def test_metrics_of_a_step_are_those_of_the_cpu(second: Any) -> None:
    for targets in (Y, np.eye(3)[Y] * 0.7):
        metrics = []
        for net in (network(), network().to("cuda")):
            trainer = eq.Trainer(net, second, eq.SGD(0.1), solver=eq.BlockUpdate(tolerance=1e-12))
            metrics.append(trainer.step(X, targets))
        host, device = metrics
        for name in ("objective", "error", "gradient_norm"):
            assert getattr(device, name) == pytest.approx(getattr(host, name), rel=1e-9), name
        assert device[5] == host[5]
        assert device.advice == host.advice


def test_samples_that_fail_are_counted_and_advised_as_on_the_cpu() -> None:
    few = eq.BlockUpdate(tolerance=1e-13, max_iterations=4)
    metrics = [
        eq.Trainer(net, optimizer=eq.SGD(0.1), solver=few).step(X, Y)
        for net in (network(), network().to("cuda"))
    ]
    assert metrics[0].unconverged == metrics[1].unconverged == 12
    assert metrics[0].advice == metrics[1].advice


def test_a_step_whose_sample_diverges_changes_nothing() -> None:
    net = network("float32", activation="relu").to("cuda")
    trainer = eq.Trainer(net, optimizer=eq.Adam(0.1), coupling_norm=np.inf)
    trainer.step(X, Y)
    net.blocks["W2"][:] *= 100
    net.blocks["W3"][:] *= 100
    before, averages = net.parameters.copy(), trainer.optimizer._buffers.copy()
    for _ in range(2):
        with pytest.raises(eq.ConvergenceError, match="The free phase diverged") as failure:
            trainer.step(X, Y)
        assert (failure.value.outcome.status == eq.Status.DIVERGED).any()
    np.testing.assert_array_equal(net.parameters, before)
    np.testing.assert_array_equal(trainer.optimizer._buffers, averages)
    assert trainer.optimizer._steps == trainer.steps == 1


def test_a_gradient_that_overflows_changes_nothing() -> None:
    outcomes = []
    for net in (network("float32"), network("float32").to("cuda")):
        trainer = eq.Trainer(net, optimizer=eq.Adam(0.1), solver=SWEEPS, clip=np.inf)
        before = net.parameters.copy()
        x = np.zeros((3, 5), np.float32)
        x[1] = 3e38
        net.blocks["W1"][:] = 0
        before = net.parameters.copy()
        with pytest.raises(eq.ConvergenceError) as failure:
            trainer.step(x, [[0, 0, 3e38]] * 3)
        outcomes.append(
            (str(failure.value).split("; largest residual")[0], failure.value.outcome.status.tolist())
        )
        np.testing.assert_array_equal(net.parameters, before)
    assert outcomes[1] == outcomes[0]


@pytest.mark.filterwarnings("ignore::equiprop.TrainingWarning")
@pytest.mark.parametrize("clip", [2.0, np.inf])
def test_a_gradient_whose_norm_overflows_in_double_precision_ends_a_run(clip: float) -> None:
    """No number is infinite, but the sum of their squares is."""
    ends = []
    for net in (network("float64"), network("float64").to("cuda")):
        trainer = eq.Trainer(net, optimizer=eq.SGD(0.1), solver=SWEEPS, clip=clip, batch_size=4)
        before = net.parameters.copy()
        with pytest.raises(eq.ConvergenceError, match="second phase diverged") as failure:
            trainer.fit(eq.Dataset(X, np.eye(3)[Y] * 1e160), epochs=2)
        np.testing.assert_array_equal(net.parameters, before)
        ends.append((str(failure.value).split("; largest residual")[0], trainer.steps))
    assert ends[1] == ends[0]


@pytest.mark.parametrize("number", [0, 3, 8])
def test_a_launch_that_fails_keeps_the_last_parameters(number: int, device: Any) -> None:
    trainer = steps_of(network().to("cuda"), eq.Adam(0.01), 2)
    before, averages = trainer.model.parameters.copy(), trainer.optimizer._buffers.copy()
    device.emulated_fail_launch(number)
    for _ in range(2):
        with pytest.raises(DeviceError, match="The device is lost to this process"):
            trainer.step(X, Y)
    np.testing.assert_array_equal(trainer.model.parameters, before)
    np.testing.assert_array_equal(trainer.optimizer._buffers, averages)
    assert trainer.steps == trainer.optimizer._steps == 2
    device.emulated_fail_launch(-1)
    whole = steps_of(network().to("cuda"), eq.Adam(0.01), 2)
    whole.step(X, Y)
    trainer.step(X, Y)  # a device that works again continues there
    np.testing.assert_array_equal(trainer.model.parameters, whole.model.parameters)


def trainer_of(net: Any, **options: Any) -> eq.Trainer:
    given: dict[str, Any] = {"optimizer": eq.Adam(0.02), "solver": SWEEPS, "batch_size": 5, "clip": 0.8}
    return eq.Trainer(net, **{**given, **options})


def one_by_one(*_: Any) -> None:
    """Do nothing after a step: as a step callback, it lets `fit` take the steps one by one."""


def same_training(ours: eq.Trainer, theirs: eq.Trainer) -> None:
    np.testing.assert_array_equal(ours.model.parameters, theirs.model.parameters)
    np.testing.assert_array_equal(ours.averaged_model.parameters, theirs.averaged_model.parameters)
    np.testing.assert_array_equal(ours.optimizer._buffers, theirs.optimizer._buffers)
    assert ours.steps == theirs.steps == ours.optimizer._steps
    assert str(ours._clipping) == str(theirs._clipping)
    assert ours._average.steps == theirs._average.steps
    assert ours._health.recent == theirs._health.recent
    assert ours._health.start == theirs._health.start
    assert ours._health.moves == theirs._health.moves
    np.testing.assert_array_equal(ours._health.kept, theirs._health.kept)
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert {**one.as_dict(), "seconds": 0} == {**other.as_dict(), "seconds": 0}


TARGETS = np.random.default_rng(5).random((12, 3))
WEIGHTS = np.arange(1, 13) / 6.5
EPOCHS: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    ({}, {}, Y),
    ({"averaging": 0.9, "schedule": eq.optimizers.cosine()}, {"validation": (X, Y)}, Y),
    ({"optimizer": eq.SGD(BLOCKS, 0.9, 0.01), "clip": np.inf}, {"sample_weight": WEIGHTS}, Y),
    ({"second_phase": eq.EquilibriumPropagation(eq.random_sign(0.2)), "averaging": 0.0}, {}, TARGETS),
    ({"second_phase": eq.RecurrentBackpropagation(), "batch_size": 1}, {"patience": 1, "validation": 0.3}, Y),
    ({"cost": eq.CrossEntropy(3.0), "optimizer": eq.Adam("auto"), "schedule": None}, {}, Y),
]


@PRECISIONS
@pytest.mark.parametrize("case", range(len(EPOCHS)))
def test_epochs_are_those_of_steps_one_by_one(case: int, dtype: str) -> None:
    options, given, y = EPOCHS[case]
    trainers = []
    for callbacks in ([], [one_by_one]):
        trainer = trainer_of(network(dtype).to("cuda"), **copy.deepcopy(options))
        trainer.step_callbacks = callbacks
        trainer.fit(X, y, epochs=3, **given)
        trainers.append(trainer)
    same_training(*trainers)


def test_an_epoch_of_separate_feedback_is_that_of_the_cpu() -> None:
    nets = network(feedback="separate"), network(feedback="separate").to("cuda")
    for net in nets:
        trainer_of(net).fit(X, Y, epochs=2)
    np.testing.assert_allclose(nets[1].parameters, nets[0].parameters, rtol=0, atol=1e-11)


def test_an_augmented_epoch_is_that_of_the_cpu() -> None:
    images = np.random.default_rng(1).random((12, 4))
    data = eq.Dataset(images, Y).augmented(Augmentation((1, 2, 2), flip=True))
    nets = [eq.HopfieldNetwork([4, 5, 3], dtype="float64", gain=0.5) for _ in range(2)]
    nets[1] = nets[1].to("cuda")
    for net in nets:
        trainer_of(net).fit(data, epochs=2)
    np.testing.assert_allclose(nets[1].parameters, nets[0].parameters, rtol=0, atol=1e-11)


def waits_of_an_epoch(device: Any, samples: int) -> int:
    rng = np.random.default_rng(0)
    x, y = rng.random((samples, 5)), rng.integers(0, 3, samples)
    trainer = trainer_of(network("float32").to("cuda"), batch_size=1, averaging=0.9)
    trainer.fit(x, y, epochs=1)
    before = device.emulated_waits()
    trainer.fit(x, y, epochs=1)
    waits: int = device.emulated_waits() - before
    return waits


def test_the_host_waits_a_fixed_number_of_times_in_an_epoch(device: Any) -> None:
    assert waits_of_an_epoch(device, 5) == waits_of_an_epoch(device, 20) <= 5


def test_data_that_do_not_fit_are_copied_run_by_run(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer_of(network().to("cuda"))
    whole.fit(X, Y, epochs=2, sample_weight=WEIGHTS)
    held: list[int] = []
    monkeypatch.setattr("equiprop.cuda_epochs._RUN_BYTES", 2 * 5 * 5 * 8)  # two mini-batches
    for cause in ("free memory", "allocation"):
        part = trainer_of(network().to("cuda"))
        part.prepare(X, Y)
        part.evaluate(X, Y)
        original = type(part.model.residence.batch(12)).hold

        def hold(self: Any, x: Any, *rest: Any, how: str = cause, original: Any = original) -> None:
            held.append(len(x))
            if how == "allocation" and len(x) == 12:
                device.emulated_fail_allocation(0)
            original(self, x, *rest)

        monkeypatch.setattr(type(part.model.residence.batch(12)), "hold", hold)
        device.emulated_free_memory(2 * 11 * 5 * 8 if cause == "free memory" else 0)
        part.fit(X, Y, epochs=2, sample_weight=WEIGHTS)
        device.emulated_free_memory(0)
        monkeypatch.setattr(type(part.model.residence.batch(12)), "hold", original)
        same_training(part, whole)
    assert [n for n in held if n < 12]
    assert max(n for n in held if n < 12) <= 10


def test_a_sample_that_diverges_ends_the_run_with_the_parameters_before() -> None:
    """A step by itself names the sample; `fit` then restores the parameters that were kept."""
    x = X.astype(np.float32)
    texts = []
    for callbacks in ([], [one_by_one]):
        trainer = trainer_of(network("float32", activation="relu").to("cuda"), coupling_norm=np.inf)
        trainer.step_callbacks = callbacks
        trainer.optimizer = eq.SGD(3.0)
        kept = trainer.model.parameters.copy()
        with pytest.raises(eq.ConvergenceError) as failure:
            trainer.fit(x, Y, epochs=40)
        texts.append(str(failure.value))
        assert trainer._health.step == 0 or not np.array_equal(trainer.model.parameters, kept)
        texts.append(trainer.model.parameters.tobytes().hex())
        texts.append(str((trainer.steps, trainer.optimizer._steps, trainer._clipping)))
    assert texts[:3] == texts[3:]


def test_an_objective_that_runs_away_ends_the_run_as_it_ends_steps() -> None:
    texts = []
    for callbacks in ([], [one_by_one]):
        trainer = trainer_of(network().to("cuda"), optimizer=eq.SGD(2.0), clip=np.inf)
        trainer.step_callbacks = callbacks
        with pytest.raises(eq.ConvergenceError, match="the objective grew") as failure:
            trainer.fit(X, Y, epochs=60)
        texts.append(str(failure.value))
        texts.append(trainer.model.parameters.tobytes().hex())
    assert texts[:2] == texts[2:]


def test_a_launch_that_fails_in_an_epoch_keeps_the_parameters_of_the_last_run(device: Any) -> None:
    trainer = trainer_of(network().to("cuda"))
    trainer.fit(X, Y, epochs=1)
    before = copy.deepcopy(trainer)
    device.emulated_fail_launch(40)
    with pytest.raises(DeviceError, match="The device is lost to this process"):
        trainer.fit(X, Y, epochs=5)
    device.emulated_fail_launch(-1)
    assert trainer.steps == trainer.optimizer._steps >= before.steps
    again = trainer_of(network().to("cuda"))
    again.fit(X, Y, epochs=1)
    again.step_callbacks = [lambda t, _: t.stop() if t.steps == trainer.steps else None]
    if trainer.steps > again.steps:
        again.fit(X, Y, epochs=1)
    np.testing.assert_array_equal(trainer.model.parameters, again.model.parameters)
    np.testing.assert_array_equal(trainer.optimizer._buffers, again.optimizer._buffers)


@pytest.mark.parametrize("moment", ["take_run", "judge"])
def test_an_interrupt_waits_for_the_end_of_a_run(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    trainer, sent = trainer_of(network().to("cuda"), averaging=0.9), []

    def interrupt(original: Any) -> Any:
        def interrupted(*arguments: Any) -> Any:
            if not sent:
                sent.append(signal.raise_signal(signal.SIGINT))
            return original(*arguments)

        return interrupted

    where = {"take_run": "equiprop.cuda_epochs.take_run", "judge": "equiprop.training.Trainer.judge"}[moment]
    original = cuda_epochs.take_run if moment == "take_run" else eq.Trainer.judge
    monkeypatch.setattr(where, interrupt(original))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=2)
    signal.signal(signal.SIGINT, kept)
    assert trainer.steps == trainer.optimizer._steps == trainer._average.steps == 1
    whole = trainer_of(network().to("cuda"), averaging=0.9)
    whole.step_callbacks = [lambda t, _: t.stop()]
    whole.fit(X, Y, epochs=1)
    np.testing.assert_array_equal(trainer.model.parameters, whole.model.parameters)
    np.testing.assert_array_equal(trainer.averaged_model.parameters, whole.averaged_model.parameters)


def test_a_checkpoint_within_an_epoch_continues_with_the_same_bits(tmp_path: Path) -> None:
    def trainer() -> eq.Trainer:
        return trainer_of(network("float32").to("cuda"), batch_size=2, averaging=0.9)

    whole = trainer()
    whole.fit(X, Y, epochs=2)
    path, written = tmp_path / "run.safetensors", []

    class Recorded(eq.Checkpoint):
        def write(self, trainer: Any) -> None:
            super().write(trainer)
            written.append(trainer.steps)
            if trainer.steps == 9:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer().fit(X, Y, epochs=2, checkpoint=Recorded(path, steps=3, seconds=None))
    assert written == [3, 6, 9]
    resumed = eq.Trainer.resume(path)
    resumed.fit(X, Y, epochs=2)
    same_training(resumed, whole)


def test_trainings_that_need_the_host_after_each_step_take_no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_epochs, "take_run", None)
    choices: list[dict[str, Any]] = [
        {"step_callbacks": [one_by_one]},
        {"free_start": "last"},
        {"optimizer": Own()},
        {"optimizer": eq.SGD(0.1, 0.9, nesterov=True)},
        {"coupling_norm": 0.5},
    ]
    for choice in choices:
        trainer_of(network().to("cuda"), **choice).fit(X, Y, epochs=1)
    trainer_of(network().to("cuda")).fit([(X, Y)], epochs=1)

    class Stepping(eq.Trainer):
        def step(self, *arguments: Any, **options: Any) -> Any:
            return super().step(*arguments, **options)

    Stepping(network().to("cuda")).fit(X, Y, epochs=1)
    with pytest.raises(TypeError, match="NoneType"):
        trainer_of(network().to("cuda")).fit(X, Y, epochs=1)
