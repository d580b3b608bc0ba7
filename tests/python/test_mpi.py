"""Trainings by mpirun: equal bits, processes that die at any instant, signals and errors without a hang."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from equiprop.cli import main
from equiprop.cli.processes import join
from groups import LIMIT, launcher, mpirun, needs_mpi, start
from runs import COMPLETE, contents, same_run

TRAIN = ["train", "data.npz", "--layers", "5", "--batch-size", "10", "--epochs", "100", "--shards", "4"]
EACH_STEP = ["--checkpoint-steps", "1"]
EQUIPROP = ["-m", "equiprop"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set, and a run by one process that nothing interrupted."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=random.random((60, 6)), y=np.arange(60) % 3)
    words = [*TRAIN, "--output", str(folder / "whole"), "--json", "--threads", "1"]
    words[1] = str(folder / "data.npz")
    assert main(words) == 0
    return folder


@needs_mpi
@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_of_mpirun_write_the_files_of_one_process(size: int, place: Path) -> None:
    folder = place / f"by-{size}"
    status, out, err = mpirun(size, *EQUIPROP, *TRAIN, "--output", folder, cwd=place)
    assert (status, err) == (0, "")
    assert out.count("results go to") == 1
    assert out.splitlines()[-1].startswith("test error")
    assert sorted(contents(folder)) == COMPLETE
    same_run(contents(folder), contents(place / "whole"))


@needs_mpi
def test_the_default_number_of_shards_gives_one_process_of_mpirun_the_bits_of_two(place: Path) -> None:
    words = ["train", "data.npz", "--layers", "5", "--epochs", "2"]
    for size in (1, 2):
        status, out, err = mpirun(size, *EQUIPROP, *words, cwd=place)
        assert (status, err) == (0, "")
        assert f"results go to equiprop-data-{size}/" in out
    same_run(contents(place / "equiprop-data-1"), contents(place / "equiprop-data-2"))
    assert '"shards": 8' in (place / "equiprop-data-1" / "settings.json").read_text()


def children(pid: int) -> list[int]:
    """Return the Python processes of a process that mpirun is, in the order in which they were started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        found.append((int(path.parent.name), int(fields[1]), command))
    own, parents = [], {pid}
    while parents:
        parents = {p for p, parent, _ in found if parent in parents}
        own += [p for p, _, c in found if p in parents and c.startswith(sys.executable.encode())]
    return sorted(own)


def kill_one(process: Any, random: np.random.Generator) -> None:
    """Kill a process of mpirun at a random instant, most often while it trains."""
    if random.random() < 0.15:
        time.sleep(random.uniform(0, 1))
    else:
        process.stdout.readline()  # it is printed when the run starts
        time.sleep(random.uniform(0, 0.2))
    alive = children(process.pid)
    if alive:
        os.kill(int(random.choice(alive)), signal.SIGKILL)


def command_in(text: str) -> list[str]:
    """Return the words after "equiprop" of the command that a message advises."""
    found = re.search(r"mpirun -n \d+ equiprop (train --resume \S+) continues it", text)
    assert found, text
    return shlex.split(found[1])


@needs_mpi
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_at_random_instants_loses_nothing(count: int, place: Path) -> None:
    """A run is resumed by any number of processes until it is complete, with the bits of one process."""
    random, expected = np.random.default_rng(count), contents(place / "whole")
    killed = runs = 0
    while killed < count:
        folder = place / f"killed-{count}-{runs}"
        runs += 1
        words, complete = [*TRAIN, *EACH_STEP, "--output", folder.name], False
        while not complete:
            process = start(int(random.choice([2, 4])), *EQUIPROP, *words, cwd=place)
            if killed < count:
                kill_one(process, random)
            _, err = process.communicate(timeout=LIMIT)  # it does not hang
            killed += process.returncode != 0
            complete = (folder / "result.json").exists()
            assert process.returncode != 0 or complete
            if "has ended before the others" in err:
                words = command_in(err)
            elif (folder / "settings.json").exists():
                words = ["train", "--resume", folder.name]
        assert sorted(contents(folder)) == COMPLETE
        same_run(contents(folder), expected)


@needs_mpi
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_processes_after_one_step(number: int, place: Path) -> None:
    folder = place / f"ended-{number}"
    words = [*TRAIN, "--epochs", "1000000", "--output", folder]
    process = start(2, *EQUIPROP, *words, cwd=place)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert err.count("equiprop train: ") == 1
    assert f"equiprop train --resume {folder} continues it" in err
    process = start(4, *EQUIPROP, "train", "--resume", folder, cwd=place)
    assert process.stdout is not None
    assert "4 processes" in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=LIMIT)


@needs_mpi
def test_an_error_of_all_processes_is_printed_once(place: Path) -> None:
    for words, rule in (
        (["--shards", "3"], "shards is a power of two. Received 3"),
        (["--free-start", "last"], "free_start is 'rest' with shards"),
        (["--resume", "whole"], "--resume is the folder of a run that is not finished"),
    ):
        new = [] if words[0] == "--resume" else ["data.npz", "--layers", "5"]
        status, out, err = mpirun(2, *EQUIPROP, "train", *new, *words, cwd=place)
        assert (status, out) == (2, "")
        assert err.count("equiprop train: error: ") == 1
        assert rule in err


@needs_mpi
def test_three_processes_are_refused(place: Path) -> None:
    status, _, err = mpirun(3, *EQUIPROP, *TRAIN, "--output", "three", cwd=place)
    assert status == 2
    assert "The number of processes is a power of two, at most that of the shards, 4. Received 3" in err
    assert not (place / "three").exists()


#: A program whose process 1 meets an error that the others do not have.
FAILS = """
import sys
from equiprop import Dataset
from equiprop.cli import main
from equiprop.cli.processes import join
from equiprop.mpi import world

original, calls = Dataset.batch, []

def batch(self, *arguments):
    calls.append(1)
    if world().rank == 1 and len(calls) > 9:
        raise OSError(5, "Input/output error", "data.npz")
    return original(self, *arguments)

Dataset.batch = batch
sys.exit(main(sys.argv[1:]))
"""


@needs_mpi
def test_an_error_of_one_process_ends_all(place: Path) -> None:
    status, _, err = mpirun(2, "-c", FAILS, *TRAIN, "--output", "fails", cwd=place)
    assert status == 2
    assert "equiprop train: error: [train] cannot use 'data.npz': Input/output error." in err
    assert command_in(err) == ["train", "--resume", "fails"]


@pytest.mark.parametrize("size", ["", "many", "-1"])
def test_a_variable_that_is_no_number_of_processes_is_unset(size: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("PMI_SIZE", size)
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE", raising=False)
    assert join() is None


def test_mpirun_without_mpi4py_is_refused(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "equiprop.mpi", raising=False)
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "1"]) == 2
    assert "mpi4py is not installed. Install it with pip install 'equiprop[mpi]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="mpi4py is not installed")
def test_mpi4py_without_an_mpi_library_is_refused(tmp_path: Path) -> None:
    library = {"MPI4PY_MPIABI": "", "MPI4PY_LIBMPI": str(tmp_path / "absent"), "LD_LIBRARY_PATH": ""}
    code = "import equiprop.mpi"
    program = subprocess.run([sys.executable, "-c", code], env={**os.environ, **library}, capture_output=True)
    text = program.stderr.decode().splitlines()[-1]
    if not program.returncode:
        pytest.skip("mpi4py is linked to its library")
    assert text.startswith("ImportError: [equiprop.mpi] mpi4py ")
    assert "pip install mpich" in text


@needs_mpi
def test_the_launcher_of_another_library_is_refused(tmp_path: Path) -> None:
    words = [*EQUIPROP, "train", "digits", "--epochs", "1"]
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "4"}
    status, _, err = mpirun(1, *words, cwd=tmp_path, env=environment)
    assert status == 2
    assert "both are of one MPI library. Received 1 of 4 processes" in err
    assert launcher()


#: A program that a user writes.
PROGRAM = """
import sys
import equiprop as eq, numpy as np
from equiprop.mpi import world

group = world()
x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
trainer = eq.Trainer(eq.HopfieldNetwork([3, 8, 2], seed=1), batch_size=20, shards=4)
trainer.step_callbacks = [lambda t, _: 1 / 0 if group.rank == 1 and t.steps == 3 else None]
trainer.fit(x, y, epochs=int(sys.argv[1]), group=group)
print(group.size, trainer.model.parameters.tobytes().hex())
"""


@needs_mpi
def test_a_program_trains_with_a_group_and_ends_with_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    printed = [mpirun(size, path, 1)[1].split() for size in (1, 2)]
    assert len({hexadecimal for words in printed for hexadecimal in words[1::2]}) == 1
    status, _, err = mpirun(2, "-m", "mpi4py", path, 5)
    assert status != 0
    assert "ZeroDivisionError" in err
