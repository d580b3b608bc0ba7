"""The script for a machine with a GPU, tried on the emulated device; and the step of PyTorch that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from emulated_cuda import FOLDER, needs_emulated_device

ROOT = Path(__file__).parents[2]
CHECKSUM = FOLDER.parent / "cuda_checksum_emulated"
torch: Any = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("device")
    environment = {
        **os.environ,
        "EQUIPROP_CUDA_EMULATED": str(FOLDER),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(Path(eq.__file__).parents[1]),
    }
    command = [str(ROOT / "benchmarks" / "cuda" / "run.sh"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    logs = "".join(path.read_text()[-2000:] for path in sorted(out.glob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    result: dict[str, Any] = json.loads((out / "summary.json").read_text())
    assert {part["status"] for part in result.values()} == {0}, done.stdout + logs
    return result


@pytest.mark.slow
@needs_emulated_device
@pytest.mark.skipif(not CHECKSUM.exists(), reason=f"{CHECKSUM} was not built: run make cpp-test")
def test_the_script_runs_every_part_within_eight_minutes(summary: dict[str, Any]) -> None:
    assert sum(part["limit"] for part in summary.values()) < 8 * 60
    results = {name: part["result"] for name, part in summary.items()}
    assert results["machine"]["device"].startswith("available")
    assert results["checksums"]["equal"]
    assert len(results["checksums"]["emulated"]) == 16
    assert (results["suite_cpp"]["tests"], results["suite_cpp"]["failures"]) == (1, 0)
    assert results["suite_python"] == {"passed": 1, "failures": []}
    assert set(results["sanitizers"]) in ({"left_out"}, {"memcheck", "racecheck", "synccheck", "initcheck"})
    assert results["mnist"]["epochs"][0]["seconds"] > 0
    methods = {row["method"]: row for row in results["steps"]["rows"]}
    assert {name.split(",")[1].strip() for name in methods if name != "ours"} == {
        "backprop",
        "lean EqProp",
        "3 + 2 x 2",
    }
    assert methods["ours"]["ratio"] == 1
    assert all(row["us"] > 0 for row in methods.values())
    assert results["image_steps"]["rows"]


def test_the_step_of_pytorch_on_images_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("cuda", "python"):
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / folder))
    import image_steps

    net = eq.networks.chain_of_images(
        (1, 8, 8), [2, 3], 3, kernel=3, padding=1, pooling="mean", dtype="float32", seed=1
    )
    random = np.random.default_rng(0)
    x, y = random.random((4, 64), dtype=np.float32), random.integers(0, 3, 4)
    sweeps = eq.BlockUpdate(tolerance=0, max_iterations=30)
    free = eq.free_phase(net, x, solver=sweeps)
    nudging = eq.centered(image_steps.BETA)
    gradient = eq.equilibrium_propagation(net, free, y, nudging=nudging, solver=sweeps)
    edges: list[Any] = []
    make = image_steps.edge_of
    monkeypatch.setattr(image_steps, "RATE", 1.0)
    monkeypatch.setattr(image_steps, "edge_of", lambda *a: edges.append(make(*a)) or edges[-1])
    step = image_steps.lean_images(net, 30, 30)
    before = [edge.weights.clone() for edge in edges]
    step((x, y, torch.from_numpy(x), torch.eye(3)[torch.from_numpy(y)]))
    for k in (1, 2):
        expected = gradient.parameters[net.block_slices[f"W{k}"]]
        taken = (before[k - 1] - edges[k - 1].weights).numpy().ravel()
        np.testing.assert_allclose(taken, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
