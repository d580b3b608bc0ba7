"""No run is lost: processes that are killed at random instants, full disks, two processes in one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run
from equiprop.cli import main
from equiprop.safetensors import read_safetensors
from limits import largest_file
from runs import COMPLETE, DIGITS, Files, contents, same_run

TRAIN = ["train", "data.npz", "--layers", "5", "--batch-size", "10", "--epochs", "100", "--threads", "1"]
EACH_STEP = ["--checkpoint-steps", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set, and a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=random.random((60, 6)), y=np.arange(60) % 3)
    words = [*TRAIN, "--output", str(folder / "whole"), "--json"]
    words[1] = str(folder / "data.npz")
    assert main(words) == 0
    return folder


_STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_process_remains() -> Iterator[None]:
    yield
    while _STARTED:
        _STARTED.pop().kill()


def started(words: list[str], place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "equiprop", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(command, cwd=place, **pipes)
    _STARTED.append(process)
    return process


def end_at_random(process: subprocess.Popen[str], number: int, random: np.random.Generator) -> int:
    """Send a signal at a random instant, most often while the process trains, and return its exit status."""
    assert process.stdout is not None
    if random.random() < 0.2:
        time.sleep(random.uniform(0, 0.5))
    else:
        process.stdout.readline()  # it is printed when the run starts
        time.sleep(random.uniform(0, 0.1))
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def steps_saved(folder: Path) -> int:
    """Check that every file of a run can be read, and return the number of steps of its checkpoint."""
    for path in folder.glob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            read_safetensors(path)
    checkpoint = folder / "checkpoint.safetensors"
    return int(eq.load(checkpoint).steps) if checkpoint.exists() else 0


#: Number of processes that a slow sweep ends; 500 take about seven minutes.
SWEEP = int(os.environ.get("EQUIPROP_KILLS", "60"))
KILL, TERM = (signal.SIGKILL, {-9}), (signal.SIGTERM, {143, -15})


@pytest.mark.parametrize(
    ("count", "number", "statuses"),
    [
        (20, *KILL),
        (8, *TERM),
        pytest.param(SWEEP, *KILL, marks=pytest.mark.slow),
        pytest.param(SWEEP, *TERM, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_ended_at_random_instants_loses_nothing(
    count: int, number: int, statuses: set[int], place: Path
) -> None:
    random, expected = np.random.default_rng(count + number), contents(place / "whole")
    ended = runs = 0
    while ended < count:
        folder = place / f"{signal.Signals(number).name}-{count}-{runs}"
        runs += 1
        status, saved, new = -1, 0, [*TRAIN, *EACH_STEP, "--output", folder.name]
        while status != 0:
            if (folder / "result.json").exists():
                break  # it was ended after its last write
            words = ["train", "--resume", folder.name] if (folder / "settings.json").exists() else new
            process = started(words, place)
            if ended < count:
                status = end_at_random(process, number, random)
            else:
                _, text = process.communicate(timeout=120)
                status = process.returncode
                assert status == 0, text
            assert status in statuses | {0}
            ended += status != 0
            now = steps_saved(folder)
            assert now >= saved
            saved = now
        assert sorted(contents(folder)) == COMPLETE
        same_run(contents(folder), expected)


def test_the_second_process_in_a_folder_is_refused(place: Path, capsys: Capture) -> None:
    folder = place / "shared"
    process = started([*TRAIN, "--epochs", "1000000", "--output", str(folder)], place)
    assert process.stdout is not None
    process.stdout.readline()
    before = (folder / "settings.json").read_bytes()
    words = [*TRAIN[:1], str(place / "data.npz"), *TRAIN[2:], "--output", folder, "--overwrite"]
    for second in (["train", "--resume", folder], words):
        (line,) = error_of(capsys, *second)
        assert "to which another one writes" in line
    assert (folder / "settings.json").read_bytes() == before
    assert not (folder / "unfinished").exists()
    process.terminate()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"equiprop train --resume {folder} continues it" in text


@pytest.mark.parametrize("size", [100, 1000, 5000, 9000])
def test_files_that_do_not_fit_end_the_run_which_goes_on_when_there_is_space(
    size: int, good: Path, trained: Files, capsys: Capture, tmp_path_factory: Any
) -> None:
    whole = tmp_path_factory.mktemp("whole") / "run"
    words = [*DIGITS, "--seed", 1, "--checkpoint-steps", 10]
    run(capsys, *words, "--output", whole)
    with largest_file(size):
        told = error_of(capsys, *words, "--output", good, "--overwrite")
    assert "File too large" in told[-1]
    assert contents(good) == trained
    steps_saved(good / "unfinished")
    if "continues it" in told[0]:
        run(capsys, "train", "--resume", good)
    else:
        run(capsys, *words, "--output", good, "--overwrite")
    same_run(contents(good), contents(whole))


def test_a_reader_that_ends_does_not_end_the_training(place: Path) -> None:
    process = started([*TRAIN, "--output", "headed"], place)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    assert process.stderr is not None
    with process.stderr:
        text = process.stderr.read()
    assert (process.wait(timeout=60), text) == (0, "")
    files = contents(place / "headed")
    same_run(files, contents(place / "whole"))
    assert files["log.txt"].count(b"\n") == 103  # two lines of header, 100 epochs, and the test error


def test_the_end_of_the_terminal_ends_the_run_after_a_checkpoint(place: Path) -> None:
    process = started([*TRAIN, "--epochs", "1000000", "--output", "hung-up"], place)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    folder = place / "hung-up"
    assert eq.Trainer.resume(folder / "checkpoint.safetensors").steps > 0
    assert f"equiprop train --resume {folder.name} continues it" in (folder / "log.txt").read_text()


def test_other_commands_end_quietly_without_a_reader(place: Path) -> None:
    process = started(["info"], place)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0


def test_a_run_under_nohup_goes_on_when_the_terminal_ends(place: Path) -> None:
    command = [sys.executable, "-m", "equiprop", *TRAIN, "--output", "nohup"]
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", f"import os, signal, sys; {ignore}", *command]
    process = subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    same_run(contents(place / "nohup"), contents(place / "whole"))
