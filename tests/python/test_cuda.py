"""Networks on a CUDA device, which is emulated: the CPU is the oracle of states, gradients and trainings."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import (
    ON_EMULATED_DEVICE,
    PRECISIONS,
    ROUNDING,
    SMOOTH,
    SWEEPS,
    X,
    Y,
    close,
    network,
)
from equiprop.cuda import DeviceNetwork
from equiprop.optimizers import cosine

pytestmark = ON_EMULATED_DEVICE


OPTIONS = [{}, SMOOTH, {"feedback": "separate"}, {"activation": "relu", "output_activation": "sigmoid"}]
SOLVERS = [
    SWEEPS,
    eq.FixedPointIteration(tolerance=0, max_iterations=12, damping=0.3),
    eq.Euler(tolerance=0, max_iterations=12, step_size=0.2),
]


@PRECISIONS
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_free_phases_are_those_of_the_cpu(dtype: str, options: dict[str, Any], solver: Any) -> None:
    net = network(dtype, **options)
    host, device = (eq.free_phase(n, X, solver=solver) for n in (net, net.to("cuda")))
    close(device.state, host.state, dtype)
    np.testing.assert_array_equal(device.status, host.status)
    np.testing.assert_array_equal(device.iterations, host.iterations)


@PRECISIONS
@pytest.mark.parametrize("nudging", [eq.one_sided(0.1), eq.centered(0.2), eq.random_sign(0.1)], ids=str)
@pytest.mark.parametrize("options", [{}, {"feedback": "separate"}], ids=str)
@pytest.mark.parametrize("cost", [eq.SquaredError(), eq.CrossEntropy(2.0)], ids=str)
def test_gradients_of_eqprop_are_those_of_the_cpu(
    dtype: str, nudging: Any, options: dict[str, Any], cost: Any
) -> None:
    net, weights = network(dtype, **options), np.random.default_rng(1).random(len(X))
    gradients = []
    for n in (net, net.to("cuda")):
        free = eq.free_phase(n, X, solver=SWEEPS)
        names: dict[str, Any] = {"cost": cost, "nudging": nudging, "step": 3, "sample_weight": weights}
        gradients.append(eq.equilibrium_propagation(n, free, Y, **names, on_failure="ignore"))
    host, device = gradients
    amplified = ROUNDING[dtype] / abs(nudging.beta)  # of states of size 1
    np.testing.assert_allclose(device.parameters, host.parameters, rtol=0, atol=amplified)
    np.testing.assert_allclose(device.inputs, host.inputs, rtol=0, atol=amplified / len(X))
    assert device.objective == pytest.approx(host.objective, rel=10 * ROUNDING[dtype])
    np.testing.assert_array_equal(device.iterations, host.iterations)


@PRECISIONS
@pytest.mark.parametrize("options", [{}, SMOOTH], ids=str)
def test_gradients_of_rbp_are_those_of_the_cpu(dtype: str, options: dict[str, Any]) -> None:
    net = network(dtype, **options)
    linear = eq.ConjugateGradient(tolerance={"float64": 1e-14, "float32": 1e-6}[dtype])
    steps = eq.BlockUpdate(tolerance=0, max_iterations=60)
    free, of_device = (eq.free_phase(n, X, solver=steps) for n in (net, net.to("cuda")))
    host = eq.recurrent_backpropagation(net, free, Y, linear_solver=linear, on_failure="ignore")
    device = eq.recurrent_backpropagation(
        net.to("cuda"), of_device, Y, linear_solver=linear, on_failure="ignore"
    )
    close(device.parameters / 10, host.parameters / 10, dtype)
    close(device.inputs / 10, host.inputs / 10, dtype)


def test_exact_and_complex_nudges_run_on_the_cpu() -> None:
    net = network(**SMOOTH)
    for nudging in (eq.exact_limit(), eq.holomorphic(0.1, 4)):
        gradients = []
        for n in (net, net.to("cuda")):
            free = eq.free_phase(n, X, solver=eq.BlockUpdate(tolerance=1e-14))
            gradients.append(eq.equilibrium_propagation(n, free, Y, nudging=nudging, on_failure="ignore"))
        np.testing.assert_allclose(gradients[1].parameters, gradients[0].parameters, rtol=0, atol=1e-11)


OPTIMIZERS: list[Callable[[], Any]] = [
    lambda: eq.SGD(0.1),
    lambda: eq.SGD({"W1": 0.1, "W2": 0.2, "W3": 0.1, "b1": 0.1, "b2": 0.1, "b3": 0.1}, 0.9, 0.01),
    lambda: eq.SGD(0.1, 0.9, nesterov=True),
    lambda: eq.Adam("auto"),
]


@PRECISIONS
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: str(o()))
def test_trainings_reach_the_parameters_of_the_cpu(dtype: str, optimizer: Callable[[], Any]) -> None:
    host = eq.HopfieldNetwork([5, 9, 7, 3], dtype=dtype, seed=3)
    device, epochs = host.to("cuda"), []
    for net in (host, device):
        trainer = eq.Trainer(net, optimizer=optimizer(), solver=SWEEPS, batch_size=5, averaging=0.9)
        trainer.schedule, trainer.clip = cosine(), 0.8
        epochs.append(trainer.fit(X, Y, epochs=2, validation=(X, Y)))
        assert trainer.averaged_model.device == net.device
        assert trainer._clipping.count > 0
    np.testing.assert_allclose(device.parameters, host.parameters, rtol=0, atol=10 * ROUNDING[dtype])
    for ours, theirs in zip(epochs[1], epochs[0], strict=True):
        assert ours.objective == pytest.approx(theirs.objective, rel=10 * ROUNDING[dtype])
        assert ours.train_error == theirs.train_error
        assert ours.second_iterations == theirs.second_iterations


def test_a_step_by_rbp_with_weights_is_that_of_the_cpu() -> None:
    metrics = []
    for net in (network(), network().to("cuda")):
        second = eq.RecurrentBackpropagation(eq.ConjugateGradient(tolerance=1e-13))
        trainer = eq.Trainer(net, second, eq.SGD(0.1), solver=eq.BlockUpdate(tolerance=1e-12), clip=0.5)
        metrics.append([trainer.step(X, np.eye(3)[Y], np.arange(12) / 6) for _ in range(2)][-1])
        metrics.append(net.parameters.copy())
    np.testing.assert_allclose(metrics[3], metrics[1], rtol=0, atol=1e-10)
    assert metrics[2].objective == pytest.approx(metrics[0].objective, rel=1e-10)
    assert metrics[2].error == pytest.approx(metrics[0].error, rel=1e-10)
    assert metrics[2].gradient_norm == pytest.approx(metrics[0].gradient_norm, rel=1e-9)


def test_the_defaults_of_a_trainer_are_supported() -> None:
    trainer = eq.Trainer(eq.HopfieldNetwork([5, 8, 6, 3]).to("cuda"), batch_size=6)
    assert trainer.solver == eq.BlockUpdate(tolerance=1e-4, max_iterations=500)
    trainer.fit(X, Y, epochs=1)
    assert trainer.predict(X).shape == (12, 3)
    assert trainer.evaluate(X, Y).error <= 1
    trainer.explain()


def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def trainer() -> eq.Trainer:
        return eq.Trainer(eq.HopfieldNetwork([5, 6, 3]).to("cuda"), solver=SWEEPS, batch_size=5)

    whole, path = trainer(), tmp_path / "run.safetensors"
    whole.fit(X, Y, epochs=3)
    part = trainer()
    part.step_callbacks = [lambda t, _: t.steps == 5 and t.checkpoint.write(t)]
    part.checkpoint = eq.Checkpoint(path, steps=100)  # type: ignore[attr-defined]
    part.fit(X, Y, epochs=3, checkpoint=part.checkpoint)  # type: ignore[attr-defined]
    resumed = eq.Trainer.resume(path)
    assert resumed.steps == 5
    assert resumed.model.device == "cuda"
    resumed.fit(X, Y, epochs=3)
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
    assert eq.load(path).model.device == "cpu"
    eq.load(path).fit(X, Y, epochs=1)


def test_what_is_written_into_parameters_is_seen_by_the_next_phase() -> None:
    net = network()
    device = net.to("cuda")
    theta, block = device.parameters, device.blocks["W2"]
    first = eq.free_phase(device, X, solver=SWEEPS)
    block[0, 0] += 1
    theta[-1] = -0.5
    net.parameters[:] = theta
    again = eq.free_phase(device, X, solver=SWEEPS)
    close(again.state, eq.free_phase(net, X, solver=SWEEPS).state, "float64")
    assert np.abs(again.state - first.state).max() > 1e-3
    with pytest.raises(ValueError, match="present parameters"):
        eq.equilibrium_propagation(device, first, Y)
    trainer = eq.Trainer(device, optimizer=eq.SGD(0.5), solver=SWEEPS)
    trainer.step(X, Y)
    assert not np.array_equal(theta, net.parameters)  # an array that was kept has the present values


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_on_the_device_and_share_no_parameters(way: Callable[[Any], Any]) -> None:
    device = network().to("cuda")
    device.scaling = eq.Scaling.by(0.5)
    other = way(device)
    assert type(other) is DeviceNetwork
    assert other.scaling == device.scaling
    expected = eq.free_phase(device, X, solver=SWEEPS).state
    np.testing.assert_array_equal(eq.free_phase(other, X, solver=SWEEPS).state, expected)
    other.parameters[:] = 0
    np.testing.assert_array_equal(eq.free_phase(device, X, solver=SWEEPS).state, expected)


def test_a_network_goes_to_a_device_and_back(tmp_path: Path) -> None:
    net = network("float32")
    device = net.to("cuda")
    assert net.to("cpu") is net
    assert device.to("cuda") is device
    assert (net.device, device.device, device.to("cpu").device) == ("cpu", "cuda", "cpu")
    assert repr(device) == repr(net)[:-1] + ", cuda)"
    assert repr(device.to("cpu")) == repr(net)
    assert str(device.variant(dtype="float64")) == str(net.astype("float64"))
    eq.save(net, tmp_path / "net")
    eq.save(device, tmp_path / "device")
    assert (tmp_path / "net").read_bytes() == (tmp_path / "device").read_bytes()
    device.parameters[:] = 1
    assert (device.to("cpu").parameters == 1).all()
    assert not (net.parameters == 1).any()
    with pytest.raises(ValueError, match=r"device is 'cpu' or 'cuda'\. Received 'gpu'\."):
        net.to("gpu")


def test_free_phases_from_an_initial_state_are_those_of_the_cpu() -> None:
    net, solver = network(), eq.BlockUpdate(tolerance=0, max_iterations=3)
    start = np.random.default_rng(2).random((len(X), net.num_units))
    host, device = (eq.free_phase(n, X, solver=solver, initial=start) for n in (net, net.to("cuda")))
    close(device.state, host.state, "float64")


def test_checks_of_the_theory_run_on_the_cpu_in_double_precision() -> None:
    device = network("float32", **SMOOTH).to("cuda")
    check = eq.verify.equivalence(device, X, Y)
    assert check.passed
    assert str(check) == str(eq.verify.equivalence(device.to("cpu"), X, Y))
    assert eq.verify.gradients(device, X, Y).passed


def test_threads_take_turns_on_the_device() -> None:
    device = network().to("cuda")
    expected = [eq.free_phase(device, x, solver=SWEEPS).state for x in (X, X[::-1])]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda k: eq.free_phase(device, (X, X[::-1])[k % 2], solver=SWEEPS).state, range(8))
    for k, state in enumerate(found):
        np.testing.assert_array_equal(state, expected[k % 2])


def test_a_free_phase_on_the_device_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    eq.free_phase(network().to("cuda"), X).explain()
    assert "symmetry score 1 " in capsys.readouterr().out


def test_bad_samples_diverge_and_change_nothing() -> None:
    net = network("float32", activation="relu").to("cuda")
    trainer = eq.Trainer(net, optimizer=eq.SGD(0.1), coupling_norm=np.inf)
    for block in ("W2", "W3"):
        net.blocks[block][:] *= 100
    before = net.parameters.copy()
    with pytest.raises(eq.ConvergenceError, match="The free phase diverged"):
        trainer.step(X, Y)
    np.testing.assert_array_equal(net.parameters, before)
    with pytest.raises(ValueError, match="finite numbers"):
        trainer.step(np.full((2, 5), np.nan), [0, 1])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_residuals_are_those_of_the_cpu(options: dict[str, Any]) -> None:
    net = network(**options)
    state = eq.free_phase(net, X, solver=SWEEPS, on_failure="ignore").state + 0.01
    close(net.to("cuda").clamp(X).residual(state), net.clamp(X).residual(state), "float64")


def test_free_phases_start_at_kept_states() -> None:
    """With a fixed number of sweeps, the states of every epoch depend on those of the one before."""
    trainers = []
    for net in (network(), network().to("cuda")):
        phase = eq.EquilibriumPropagation(solver=SWEEPS)
        steps = eq.BlockUpdate(tolerance=0, max_iterations=2)
        trainer = eq.Trainer(
            net, phase, eq.SGD(0.05), solver=steps, clip=np.inf, batch_size=4, free_start="last"
        )
        trainer.fit(X, Y, epochs=3)
        trainers.append(trainer)
    host, device = trainers
    close(device._kept.states, host._kept.states, "float64")
    close(device.model.parameters, host.model.parameters, "float64")
