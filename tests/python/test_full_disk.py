"""No file and no run is lost on a full or broken disk: every call that writes fails in turn."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop.cli import main
from runs import COMPLETE, contents, same_run

DISK = Path(__file__).parents[1] / "disk"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD is of Linux")

#: Number of calls that write, at least, and distance of the calls that fail in a quick sweep.
SCENARIOS = {
    "network": (11, 3),
    "trainer": (13, 4),
    "certificate.json": (7, 2),
    "certificate.html": (7, 3),
    "verify --report": (14, 5),
    "picture": (7, 3),
    "fit": (150, 37),
    "train": (120, 29),
    "train without --output": (120, 53),
    "train --overwrite": (130, 23),
    "train --resume": (70, 17),
}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library whose calls can fail."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing_calls.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-ldl"]
    subprocess.run([compiler, DISK / "failing_calls.c", "-o", library, *flags], check=True)
    return library


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where the flushes of a sweep take no time, if there is such a disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def with_shim(shim: Path, **options: Any) -> dict[str, str]:
    return {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", **options}


def swept(shim: Path, folder: Path, scenario: str, mode: str, stride: int) -> list[int]:
    """Return the numbers of the calls that failed in a sweep, whose laws are in sweep.py."""
    words = [sys.executable, DISK / "sweep.py", shim, scenario, mode, str(stride), folder]
    done = subprocess.run(words, env=with_shim(shim), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    numbers: list[int] = json.loads(done.stdout)
    return numbers


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_call_that_fails_loses_nothing(scenario: str, shim: Path, memory: Path) -> None:
    least, stride = SCENARIOS[scenario]
    assert swept(shim, memory, scenario, "ONCE", stride)[-1] > least - stride


@pytest.mark.parametrize("scenario", ["network", "fit", "train --overwrite"])
def test_a_process_that_a_call_kills_loses_nothing(scenario: str, shim: Path, memory: Path) -> None:
    least, stride = SCENARIOS[scenario]
    assert swept(shim, memory, scenario, "KILL", stride)[-1] > least - stride


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ONCE", "ALWAYS", "KILL"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_call_that_fails_loses_nothing(scenario: str, mode: str, shim: Path, memory: Path) -> None:
    numbers = swept(shim, memory, scenario, mode, 1)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= SCENARIOS[scenario][0]


WORDS = ["--layers", "40", "--batch-size", "10", "--epochs", "3", "--threads", "1", "--checkpoint-steps", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set, and a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("place")
    np.savez(folder / "data.npz", x=np.random.default_rng(0).random((60, 20)), y=np.arange(60) % 3)
    assert main(["train", str(folder / "data.npz"), *WORDS, "--output", str(folder / "whole"), "--json"]) == 0
    return folder


def trained(place: Path, *words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equiprop", "train", *map(str, words)]
    return subprocess.run(command, cwd=place, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("call", [1, 5, 40, 90])
def test_a_process_on_a_full_disk_ends_with_a_sentence_and_is_resumed(
    call: int, shim: Path, place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    limits = {"FAILING_CALLS_FOLDER": str(folder), "FAILING_CALLS_FIRST": str(call)}
    environment = with_shim(shim, **limits, FAILING_CALLS_COUNT="1000000")
    done = trained(place, "data.npz", *WORDS, "--output", folder, **environment)
    assert done.returncode == 2
    *advice, error = done.stderr.splitlines()
    assert re.search("No space left on device|Input/output error", error)
    assert str(folder) in error
    resumed = "--resume" in " ".join(advice)
    assert resumed == (folder / "settings.json").exists()
    words = ["--resume", folder] if resumed else ["data.npz", *WORDS, "--output", folder]
    assert trained(place, *words).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == COMPLETE
    same_run(contents(folder), contents(place / "whole"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount and return a disk that has room for a part of a run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=36k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("this user cannot mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_run_that_fills_a_disk_goes_on_when_there_is_space(place: Path, small_disk: Path) -> None:
    folder = small_disk / "run"
    done = trained(place, "data.npz", *WORDS, "--output", folder)
    assert done.returncode == 2
    assert f"--resume {folder} continues it" in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert not list(folder.glob(".*"))
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert trained(place, "--resume", folder).returncode == 0
    same_run(contents(folder), contents(place / "whole"))
