"""Options of precision of networks on a CUDA device, which is emulated: "exact" is the oracle."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import ON_EMULATED_DEVICE, SWEEPS, X, Y, network
from equiprop.cli import main

pytestmark = ON_EMULATED_DEVICE

#: Largest error of a product of two rounded factors, relative to its size: twice the unit roundoff of 11 or 8
#: bits; for three products, the parts that are left out, and the rounding of float32.
BOUNDS = {"tf32": 2.0**-10, "3xtf32": 2.0**-20, "bf16": 2.0**-7}
ROUNDED = pytest.mark.parametrize("precision", BOUNDS)


def on_device(precision: str = "tf32", **options: Any) -> eq.HopfieldNetwork:
    return network("float32", **options).to("cuda", precision=precision)


def gradient(net: eq.HopfieldNetwork) -> eq.Gradient:
    free = eq.free_phase(net, X, solver=SWEEPS, on_failure="ignore")
    return eq.equilibrium_propagation(net, free, Y, nudging=eq.centered(0.25), on_failure="ignore")


@ROUNDED
def test_the_drive_obeys_the_bound_of_the_rounding(precision: str) -> None:
    net = eq.HopfieldNetwork([40, 30], output_activation="linear", seed=3)
    x = np.random.default_rng(0).standard_normal((9, 40)).astype(np.float32)
    step = eq.BlockUpdate(tolerance=0, max_iterations=1)
    outputs = eq.free_phase(net.to("cuda", precision=precision), x, solver=step, on_failure="ignore").outputs
    weights = net.blocks["W1"].astype(np.float64)
    exact, size = x.astype(np.float64) @ weights, np.abs(x.astype(np.float64)) @ np.abs(weights)
    error = np.abs(outputs - exact) / size
    assert error.max() <= 1.1 * BOUNDS[precision]
    assert error.max() > 0.02 * BOUNDS[precision] or precision == "3xtf32"


@ROUNDED
def test_gradients_are_near_those_of_exact_products(precision: str) -> None:
    exact, found = (gradient(on_device(name)) for name in ("exact", precision))
    size = np.abs(exact.parameters).max()
    error = np.abs(found.parameters - exact.parameters).max() / size
    assert error <= 8 * BOUNDS[precision]  # contrasts divide by 2 beta = 1/2, and errors of states add up
    assert error > 0
    close = gradient(network("float32"))
    np.testing.assert_allclose(exact.parameters, close.parameters, rtol=0, atol=1e-5 * size)


def test_a_network_keeps_its_precision() -> None:
    net = on_device("bf16")
    for same in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.to("cuda")):
        assert (same.device, same.precision) == ("cuda", "bf16")
        assert repr(same) == repr(net)
        assert repr(same).endswith(", cuda, bf16)")
        np.testing.assert_array_equal(gradient(same).parameters, gradient(net).parameters)
    assert net.to("cuda") is net
    assert net.to("cuda", precision="bf16") is net
    assert repr(net.to("cuda", precision="exact")).endswith(", cuda)")
    here = net.to("cpu")
    assert (here.precision, vars(here).keys()) == ("exact", vars(network("float32")).keys())
    assert here.to("cuda").precision == "exact"


def test_a_resumed_training_keeps_its_precision(tmp_path: Path) -> None:
    def trainer() -> eq.Trainer:
        net = eq.HopfieldNetwork([5, 6, 3]).to("cuda", precision="tf32")
        return eq.Trainer(net, solver=SWEEPS, batch_size=5)

    whole, part, path = trainer(), trainer(), tmp_path / "run.safetensors"
    whole.fit(X, Y, epochs=2)
    checkpoint = eq.Checkpoint(path, steps=100)
    part.step_callbacks = [lambda t, _: t.steps == 4 and checkpoint.write(t)]
    part.fit(X, Y, epochs=2, checkpoint=checkpoint)
    resumed = eq.Trainer.resume(path)
    assert (resumed.model.device, resumed.model.precision, resumed.steps) == ("cuda", "tf32", 4)
    resumed.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
    assert eq.load(path).model.precision == "exact"


@pytest.mark.parametrize(
    ("dtype", "device", "precision", "sentence"),
    [
        ("float32", "cuda", "fp16", "precision is 'exact' or 'tf32' or '3xtf32' or 'bf16'"),
        ("float64", "cuda", "tf32", 'precision is "exact" on the CPU and for networks in float64'),
        ("float32", "cpu", "bf16", 'precision is "exact" on the CPU and for networks in float64'),
    ],
)
def test_other_choices_are_refused(dtype: str, device: str, precision: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as failure:
        network(dtype).to(device, precision=precision)
    assert str(failure.value).startswith("[HopfieldNetwork.to] ")
    assert f"Received {precision!r}" in str(failure.value) or f"Received {precision}." in str(failure.value)


def test_the_program_trains_with_a_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savetxt(tmp_path / "data.csv", np.column_stack([X, Y]), delimiter=",")
    words = ["train", str(tmp_path / "data.csv"), "--layers", "4", "--epochs", "1", "--precision", "tf32"]
    run = tmp_path / "run"
    assert main([*words, "--device", "cuda", "--output", str(run)]) == 0
    assert ", cuda, tf32)" in (run / "settings.json").read_text()
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "other")]) == 2
    assert "--precision has an effect only with --device cuda" in capsys.readouterr().err
