"""Files of recordings, recordings of the outputs alone, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from equiprop import verify
from recorded_devices import BETA, STEP, device, judged, noisy, recorded_problem, relax


@pytest.fixture(scope="module")
def problem() -> verify.Problem:
    return recorded_problem()


def recordings(problem: verify.Problem) -> dict[float, np.ndarray]:
    """Recordings with two betas, different repeats, irregular times and missing points."""
    rng = np.random.default_rng(0)
    paths = {
        beta: noisy(relax(problem, beta), 1e-3, rng, repeats) for beta, repeats in ((-0.1, 2), (0.05, 3))
    }
    for path in paths.values():
        path[:, np.random.default_rng(1).random(51) < 0.4] = np.nan
        path[rng.random(path.shape) < 0.2] = np.nan
        path[:, 50, 0, 0] = 0.1
    return paths


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
@pytest.mark.parametrize("outputs", [False, True])
def test_files_keep_every_number(suffix: str, outputs: bool, problem: verify.Problem, tmp_path: Path) -> None:
    paths = recordings(problem)
    if outputs:
        paths = {beta: path[..., -3:] for beta, path in paths.items()}
        for path in paths.values():
            path[:, 50] = 0.1
    file = tmp_path / f"device{suffix}"
    verify.write_recordings(file, paths, step_size=STEP, outputs=outputs)
    found = verify.read_recordings(file, step_size=STEP)
    assert found["step_size"] == STEP
    assert found["trajectories"].keys() == paths.keys()
    for beta, path in paths.items():
        np.testing.assert_array_equal(found["trajectories"][beta], path)
    if suffix == ".npz":
        assert verify.read_recordings(file)["step_size"] == STEP
    one = verify.traces(problem, **found)
    assert one.rows == verify.traces(problem, trajectories=paths, step_size=STEP).rows


def test_a_file_is_judged_as_the_device_that_it_records(problem: verify.Problem, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for kind, outcome in (("true", "holds"), ("dead", "fails"), ("flipped", "fails")):
        path = noisy(device(problem, kind, 0.0), 1e-3, rng, 3)
        path[:, 1::2] = np.nan
        verify.write_recordings(tmp_path / "device.csv", {BETA: path}, step_size=STEP)
        report = verify.traces(problem, **verify.read_recordings(tmp_path / "device.csv", step_size=STEP))
        assert report.outcome == outcome, str(report)


def test_a_table_by_hand(tmp_path: Path) -> None:
    """Comments, spaces, another order of columns, and a missing field."""
    file = tmp_path / "device.csv"
    file.write_text("# instrument 7\ntime, beta, s1, s0, sample\n0.5,0.1,1,2,0\n0,0.1,,4,1\n\n")
    (path,) = verify.read_recordings(file, step_size=0.25)["trajectories"].values()
    expected = np.full((1, 3, 2, 2), np.nan)
    expected[0, 2, 0], expected[0, 0, 1, 0] = (2, 1), 4
    np.testing.assert_array_equal(path, expected)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.csv or \.npz"):
        verify.read_recordings(tmp_path / "device.txt", step_size=0.1)
    (tmp_path / "device.csv").write_text("beta,time,s0\n0.1,0,1\n")
    for step in (None, 0.0, np.nan):
        with pytest.raises(ValueError, match="step_size is a number in"):
            verify.read_recordings(tmp_path / "device.csv", step_size=step)
    with pytest.raises(FileNotFoundError):
        verify.read_recordings(tmp_path / "none.csv", step_size=0.1)


@pytest.mark.parametrize("size", [0.0, 1e-3])
def test_recordings_of_the_outputs_alone(size: float, problem: verify.Problem, tmp_path: Path) -> None:
    """What holds is that of a recording with NaN in place of the other units, and a row says so."""
    for kind, outcome in (("true", "holds"), ("dead", "fails"), ("flipped", "fails"), ("doubled", "fails")):
        whole = (
            noisy(device(problem, kind, size), size, np.random.default_rng(3))
            if size
            else device(problem, kind, 0)
        )
        report = judged(problem, whole[:, :, -3:])
        assert report.outcome == outcome, str(report)
        assert report["recorded units"] == 3
        assert "nothing is claimed on the other units" in str(report)
        if size:
            whole[:, :, :-3] = np.nan
            assert judged(problem, whole).rows == report.rows[1:]
    report.save(tmp_path / "outputs.json")
    assert verify.replay(tmp_path / "outputs.json").identical


def test_the_noise_of_each_output_may_be_stated(problem: verify.Problem, tmp_path: Path) -> None:
    sizes = np.array([1e-4, 1e-3, 1e-2])
    recorded = relax(problem)[:, :, -3:] + sizes * np.random.default_rng(4).normal(size=(51, 1, 3))
    report = judged(problem, recorded, noise=sizes)
    assert report.passed, str(report)
    assert report["noise"] == pytest.approx(np.sqrt(np.mean(sizes**2)))
    assert not judged(problem, recorded, noise=sizes[::-1]).passed
    report.save(tmp_path / "outputs.json")
    assert verify.replay(tmp_path / "outputs.json").identical
    with pytest.raises(ValueError, match="for each of the 3 units"):
        judged(problem, recorded, noise=np.ones(9))


def test_a_hidden_unit_that_is_wrong_is_not_seen_in_the_outputs(problem: verify.Problem) -> None:
    path = relax(problem)
    path[:, :, 0] += 1
    assert not judged(problem, path).passed
    assert judged(problem, path[:, :, -3:]).passed


def test_the_benchmark_of_error_rates_runs(tmp_path: Path) -> None:
    program = Path(__file__).parents[2] / "benchmarks" / "python" / "bench_trace_errors.py"
    options = ["--recordings", "6", "--ways", "stated", "--sizes", "1e-3", "--json", tmp_path / "rates.json"]
    run = subprocess.run([sys.executable, program, *options], capture_output=True, text=True, check=True)
    assert "all rates are as stated" in run.stdout
    cells = json.loads((tmp_path / "rates.json").read_text())["cells"]
    assert [cell["device"] for cell in cells] == ["true", "dead", "flipped", "doubled", "drift"]
    assert [cell.get("fails", 0) for cell in cells][1:] == [6] * 4
