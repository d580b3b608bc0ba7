"""Networks on a CUDA device: what is refused, the package and its versions, the program, and the module."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
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
from equiprop import cuda_package
from equiprop.cli import main
from equiprop.cuda import DeviceError, DeviceNetwork, OutOfDeviceMemory, device_state
from runs import ctrl_c

pytestmark = ON_EMULATED_DEVICE


def lateral() -> eq.HopfieldNetwork:
    couplings = [eq.Dense(0, 1), eq.Dense(1, 1), eq.Dense(1, 2)]
    return eq.HopfieldNetwork(layers=[eq.Layer(4), eq.Layer(6), eq.Layer(2)], couplings=couplings)


class Own(eq.HopfieldNetwork):
    """A network with methods of its own."""


REFUSED_NETWORKS = [
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
    (
        {"cost": eq.LayerCosts({1: eq.SquaredError()}, targets={1: lambda y: np.eye(9)[y]})},
        "The cost on a device is that of the outputs. Received LayerCosts; net.to('cpu') has it.",
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
    layers = eq.LayerCosts({2: eq.SquaredError()}, targets={2: lambda y: np.eye(7)[y]})
    with pytest.raises(ValueError, match="The cost on a device is that of the outputs"):
        eq.equilibrium_propagation(device, free, Y, cost=layers)


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
