"""Networks on a CUDA device, which is emulated: the CPU is the oracle of states, gradients and trainings."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import needs_emulated_device, use_emulated_device
from equiprop import cuda_core, cuda_package
from equiprop.cli import main
from equiprop.cuda import DeviceError, DeviceNetwork, OutOfDeviceMemory, device_state
from equiprop.optimizers import cosine
from runs import ctrl_c

pytestmark = needs_emulated_device

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.random((12, 5)), RANDOM.integers(0, 3, 12)
SWEEPS = eq.BlockUpdate(tolerance=0, max_iterations=12)
ROUNDING = {"float64": 1e-12, "float32": 2e-6}
PRECISIONS = pytest.mark.parametrize("dtype", ROUNDING)
SMOOTH = {"activation": "tanh", "potential": "quadratic"}


@pytest.fixture(autouse=True)
def _few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let launches have few threads, which are slow to emulate."""
    use_emulated_device()
    monkeypatch.setattr(cuda_core, "DIVISION", (1, 8, 64))


def network(dtype: str = "float64", **options: Any) -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork([5, 9, 7, 3], dtype=dtype, seed=3, **options)
    net.parameters[:] += 0.1 * np.random.default_rng(1).standard_normal(net.num_parameters)
    return net


def close(a: Any, b: Any, dtype: str) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING[dtype] * max(np.abs(b).max(), 1e-3))


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
    net, weights = network(dtype, **options), RANDOM.random(len(X))
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


def test_free_phases_from_an_initial_state_reach_the_fixed_point() -> None:
    net, solver = network(), eq.BlockUpdate(tolerance=1e-13)
    host = eq.free_phase(net, X, solver=solver)
    start = np.random.default_rng(2).random(host.state.shape)
    device = eq.free_phase(net.to("cuda"), X, solver=solver, initial=start)
    assert device.converged
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


def images() -> eq.HopfieldNetwork:
    layers = [eq.Layer((1, 6, 6)), eq.Layer((2, 4, 4)), eq.Layer(3)]
    return eq.HopfieldNetwork(layers=layers, couplings=[eq.Convolution(0, 1, kernel=3), eq.Dense(1, 2)])


def lateral() -> eq.HopfieldNetwork:
    couplings = [eq.Dense(0, 1), eq.Dense(1, 1), eq.Dense(1, 2)]
    return eq.HopfieldNetwork(layers=[eq.Layer(4), eq.Layer(6), eq.Layer(2)], couplings=couplings)


class Own(eq.HopfieldNetwork):
    """A network with methods of its own."""


REFUSED_NETWORKS = [
    (images, "The kernels support no free layers of images. Received 2 x 4 x 4."),
    (lateral, "The kernels support no couplings within a layer. Received 1 -> 1."),
    (lambda: eq.HopfieldNetwork([2] * 14), "The kernels support at most 12 free layers. Received 13."),
    (lambda: Own([2, 3]), "A network on a device is a HopfieldNetwork, not of a subclass. Received Own."),
]


@pytest.mark.parametrize(("make", "sentence"), REFUSED_NETWORKS)
def test_networks_that_the_kernels_do_not_support_are_refused(
    make: Callable[[], eq.HopfieldNetwork], sentence: str
) -> None:
    with pytest.raises((ValueError, TypeError)) as refusal:
        make().to("cuda")
    assert str(refusal.value).partition("] ")[2] == sentence


ACCELERATED = eq.BlockUpdate(anderson=2)
REFUSED_CHOICES: list[tuple[dict[str, Any], str]] = [
    ({"solver": ACCELERATED}, "Solvers on a device have anderson=0. Received anderson=2."),
    (
        {"second_phase": eq.EquilibriumPropagation(solver=ACCELERATED)},
        "Solvers on a device have anderson=0. Received anderson=2.",
    ),
    (
        {"second_phase": eq.EquilibriumPropagation(eq.exact_limit())},
        "Nudging on a device is one_sided(beta), centered(beta) or random_sign(beta). Received exact_limit; "
        "train net.to('cpu') with it.",
    ),
    (
        {"second_phase": eq.EquilibriumPropagation(symmetrize=True), "solver": eq.Euler()},
        "symmetrize=True needs the CPU: net.to('cpu'). Received a network on a device.",
    ),
    (
        {"second_phase": eq.RecurrentBackpropagation(eq.GMRES())},
        "The linear solver on a device is ConjugateGradient(). Received GMRES(); net.to('cpu') has it.",
    ),
]


@pytest.mark.parametrize(("choice", "sentence"), REFUSED_CHOICES)
def test_a_trainer_refuses_what_the_device_does_not_support(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"[cuda] {sentence}") + "$"):
        eq.Trainer(network().to("cuda"), **choice)
    eq.Trainer(network(), **choice)  # the CPU supports it


def test_functions_refuse_what_the_device_does_not_support() -> None:
    device = network().to("cuda")
    free = eq.free_phase(device, X, solver=SWEEPS)
    records = r"trace=True and record=True need the CPU: net\.to\('cpu'\)"
    with pytest.raises(ValueError, match=records):
        eq.free_phase(device, X, trace=True)
    with pytest.raises(ValueError, match=records):
        eq.free_phase(device, X, record=True)
    with pytest.raises(ValueError, match="anderson=0"):
        eq.free_phase(device, X, solver=ACCELERATED)
    with pytest.raises(ValueError, match="linear solver on a device is ConjugateGradient"):
        eq.recurrent_backpropagation(device, free, Y, linear_solver=eq.Richardson())
    with pytest.raises(ValueError, match="symmetrize=True needs the CPU"):
        eq.equilibrium_propagation(device, free, Y, symmetrize=True)
    separate = network(feedback="separate").to("cuda")
    with pytest.raises(ValueError, match="Conjugate gradients need a symmetric Hessian"):
        eq.recurrent_backpropagation(separate, eq.free_phase(separate, X, solver=SWEEPS), Y)
    with pytest.raises(TypeError, match="Construct a HopfieldNetwork"):
        DeviceNetwork()


class OnDevice:
    """An array that exposes memory of a CUDA device, and nothing else."""

    __cuda_array_interface__ = {"shape": (2, 5), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


def test_arrays_of_a_device_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"`x` is in the memory of the host\. Received OnDevice in the memory"
    ):
        eq.free_phase(network().to("cuda"), OnDevice())


def test_a_batch_that_does_not_fit_is_refused_and_smaller_ones_still_run() -> None:
    net = network().to("cuda")
    expected = eq.free_phase(net, X, solver=SWEEPS).state
    with pytest.raises(OutOfDeviceMemory, match="too little memory for batches of") as failure:
        net.residence.batch(2**40)
    assert isinstance(failure.value, MemoryError | DeviceError)
    assert 0 < failure.value.samples_that_fit < 2**40
    assert f"Use a batch of at most {failure.value.samples_that_fit} samples" in str(failure.value)
    np.testing.assert_array_equal(eq.free_phase(net, X, solver=SWEEPS).state, expected)


def stand_in(version: str = eq.__version__, reason: str = "") -> Any:
    return SimpleNamespace(version=version, why_unavailable=lambda: reason)


def test_the_extra_is_the_package_of_the_same_version() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'cuda = ["equiprop-cuda=={eq.__version__}"]' in text


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_residuals_are_those_of_the_cpu(options: dict[str, Any]) -> None:
    net = network(**options)
    state = eq.free_phase(net, X, solver=SWEEPS, on_failure="ignore").state + 0.01
    close(net.to("cuda").clamp(X).residual(state), net.clamp(X).residual(state), "float64")


def test_without_the_package_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_package, "_PACKAGE", "equiprop_cuda_absent")
    sentence = (
        "The package equiprop_cuda_absent is not installed. Run pip install 'equiprop[cuda]', or use the CPU."
    )
    with pytest.raises(DeviceError) as failure:
        network().to("cuda")
    assert str(failure.value) == f"[cuda] {sentence}"
    assert device_state() == f"not available: {sentence}"


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            stand_in("0.0.1"),
            f"The packages equiprop and equiprop_cuda have one version. Received {eq.__version__} and 0.0.1: "
            f"run pip install 'equiprop-cuda=={eq.__version__}'.",
        ),
        (stand_in(reason="[cuda] This machine shows no CUDA device."), "This machine shows no CUDA device."),
    ],
)
def test_a_device_that_cannot_be_used_is_explained(
    module: Any, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda_package, "import_module", lambda _: module)
    with pytest.raises(DeviceError) as failure:
        network().to("cuda")
    assert str(failure.value) == f"[cuda] {sentence}"
    eq.show_config()
    assert f"cuda             not available: {sentence}" in capsys.readouterr().out
    assert main(["info"]) == 0
    assert f"cuda               not available: {sentence}" in capsys.readouterr().out
    assert main(["train", "digits", "--layers", "4", "--device", "cuda"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_package_that_cannot_be_loaded_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError("libfoo.so: cannot open shared object file")

    monkeypatch.setattr(cuda_package, "import_module", fail)
    with pytest.raises(
        DeviceError, match=r"cannot be loaded: libfoo\.so: .* Install it again, or use the CPU"
    ):
        network().to("cuda")


def test_the_build_says_that_there_is_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cuda"] == f"available, by equiprop_cuda {eq.__version__}"


def test_the_program_trains_and_resumes_on_the_device(
    tmp_path: Path, end_at: Callable[[int, Callable[[Any], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.column_stack([X, Y])
    np.savetxt(tmp_path / "data.csv", np.vstack([rows, rows]), delimiter=",")
    words = ["train", str(tmp_path / "data.csv"), "--layers", "4", "--epochs", "2", "--batch-size", "6"]
    words += ["--device", "cuda", "--output"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main([*words, str(whole)]) == 0
    settings = json.loads((whole / "settings.json").read_text())
    assert settings["options"]["device"] == "cuda"
    assert ", cuda)" in settings["trainer"]["model"]
    assert eq.load(whole / "model.safetensors").device == "cpu"
    end_at(4, ctrl_c)
    assert main([*words, str(part)]) == 130
    monkeypatch.undo()
    assert main(["train", "--resume", str(part)]) == 0
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_program_evaluates_and_predicts_on_the_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savetxt(tmp_path / "data.csv", np.column_stack([X, Y]), delimiter=",")
    np.savez(tmp_path / "inputs.npz", x=X)
    trainer = eq.Trainer(eq.HopfieldNetwork([5, 6, 4, 3], dtype="float64"), averaging=0.5)
    trainer.fit(X, Y, epochs=2)
    checkpoint = str(eq.save(trainer, tmp_path / "run.safetensors"))
    printed = []
    for device in ("cpu", "cuda"):
        for command in (["evaluate", "data.csv"], ["predict", "inputs.npz", "--outputs"]):
            words = [command[0], checkpoint, str(tmp_path / command[1]), *command[2:]]
            assert main([*words, "--json", "--tolerance", "1e-12", "--device", device]) == 0
            printed.append(json.loads(capsys.readouterr().out))
    for name in ("test_error", "objective"):
        assert printed[2][name] == pytest.approx(printed[0][name])
    np.testing.assert_allclose(printed[3]["outputs"], printed[1]["outputs"], rtol=0, atol=1e-9)


def kernels_batch(dtype: str = "float64", most: int = 12) -> tuple[Any, eq.HopfieldNetwork]:
    net = network(dtype)
    core = getattr(cuda_package.kernels(), {"float32": "f32", "float64": "f64"}[dtype])
    return core.DeviceBatch(net.core_network.description(), net.parameters, most, (1, 8, 64)), net


BLOCK = ("BlockUpdate", 0.0, 0.0, 12)


@PRECISIONS
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
def test_steps_on_the_device_are_those_of_the_optimizers(dtype: str, kind: str) -> None:
    batch, net = kernels_batch(dtype)
    targets, theta = np.eye(3, dtype=dtype)[Y], net.parameters
    optimizer: Any = {"sgd": eq.SGD(0.1), "momentum": eq.SGD(0.1, 0.9), "adam": eq.Adam(0.01)}[kind]
    for step in range(1, 4):
        batch.clamp(X.astype(dtype), targets, 0.0)
        batch.relax_free(BLOCK)
        gradient, *_ = batch.equilibrium_propagation([(0.1, 5.0), (-0.1, -5.0)], BLOCK)
        optimizer.step(theta, gradient, net.block_slices)
        if kind == "adam":
            numbers = (0.9, 0.999, 1e-8, 0.0, 1 - 0.9**step, 1 - 0.999**step)
            batch.descend_adam([(0, 0.01)], numbers)
        else:
            batch.descend([(0, 0.1)], optimizer.momentum, 0.0)
        np.testing.assert_allclose(batch.download(), theta, rtol=0, atol=ROUNDING[dtype])
    batch.upload(theta)
    np.testing.assert_array_equal(batch.download(), theta)


def test_the_module_refuses_arrays_that_do_not_fit() -> None:
    batch, net = kernels_batch(most=4)
    x, y = X[:4], np.eye(3)[Y[:4]]
    for arguments in ((x[:, :3], y), (x, y[:, :2]), (x, y[:3]), (np.zeros((5, 5)), np.zeros((5, 3)))):
        with pytest.raises(ValueError, match=r"\[cuda\] .* Received"):
            batch.clamp(*arguments, 0.0)
    batch.clamp(x, y, 0.0)
    for call in (
        lambda: batch.read(10),
        lambda: batch.write(0, np.zeros((4, 2))),
        lambda: batch.upload(net.parameters[:-1]),
        lambda: batch.relax_free(("Newton", 0.0, 0.0, 3)),
        lambda: batch.equilibrium_propagation([], BLOCK),
        lambda: batch.equilibrium_propagation([(0.1, np.inf)], BLOCK),
        lambda: batch.set_sample_weights(np.ones(3)),
        lambda: cuda_package.kernels().f32.DeviceBatch(
            net.core_network.description(), net.parameters.astype(np.float32), 4
        ),
    ):
        with pytest.raises(ValueError, match="Received"):
            call()
