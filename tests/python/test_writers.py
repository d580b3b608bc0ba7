"""Several writers of one file or folder: one training at a time, and no leftovers of ended writers."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture, error_of, run
from equiprop.files import Lock, write_text
from runs import COMPLETE, contents, sigterm

RANDOM = np.random.default_rng(0)
DATA = eq.Dataset(RANDOM.random((24, 4)), np.arange(24) % 3)

#: Trains with checkpoints until standard input ends, and prints when the training has begun.
TRAINING = """
import sys, equiprop as eq, numpy as np
path, = sys.argv[1:]
random = np.random.default_rng(0)
data = eq.Dataset(random.random((24, 4)), np.arange(24) % 3)
def wait(trainer, epoch):
    print("begun", flush=True)
    if epoch.epoch == 2:
        sys.stdin.read()
trainer = eq.Trainer(eq.HopfieldNetwork([4, 6, 3], seed=1), batch_size=5, callbacks=[wait])
trainer.fit(data, epochs=3, checkpoint=eq.Checkpoint(path, steps=2))
"""


@contextmanager
def training(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a training with checkpoints in another process, which waits during the block."""
    command = [sys.executable, "-c", TRAINING, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "begun\n"
    yield process
    process.communicate(timeout=60)


def fit(path: Path, *callbacks: Callable[..., Any], trainer: eq.Trainer | None = None) -> eq.Trainer:
    made = trainer or eq.Trainer(eq.HopfieldNetwork([4, 6, 3], seed=1), batch_size=5)
    made.callbacks = callbacks
    made.fit(DATA, epochs=3, checkpoint=eq.Checkpoint(path, steps=2))
    return made


REFUSAL = r"^\[Checkpoint\] One training at a time writes to .* Received '.*', to which another one writes"


def test_the_second_process_with_a_checkpoint_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with training(path) as process:
        before = path.read_bytes()
        with pytest.raises(ValueError, match=REFUSAL):
            fit(path)
        assert path.read_bytes() == before
        fit(tmp_path / "other.safetensors")
    assert process.returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.safetensors", "run.safetensors"]
    fit(path)


def test_the_lock_of_a_killed_process_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with training(path) as process:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -9
    assert (tmp_path / ".run.safetensors.lock").exists()
    resumed = fit(path, trainer=eq.Trainer.resume(path))
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    whole = fit(tmp_path / "whole.safetensors")
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)


def test_two_trainers_of_one_process_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    path, link = tmp_path / "run.safetensors", tmp_path / "link"
    link.symlink_to(path)
    refusals: list[str] = []

    def second(_: Any, epoch: eq.Epoch) -> None:
        for name in (path, link):
            with pytest.raises(ValueError, match=REFUSAL) as refusal:
                fit(name)
            refusals.append(str(refusal.value))

    fit(path, second)
    assert len(refusals) == 6
    assert str(link) in refusals[1]
    fit(link)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "run.safetensors"]


def test_a_training_that_fails_ends_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"

    def fail(*_: Any) -> None:
        raise RuntimeError("of a callback")

    with pytest.raises(RuntimeError, match="of a callback"):
        fit(path, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]
    fit(path)


def test_a_run_is_not_touched_while_a_trainer_writes_its_checkpoint(
    tmp_path: Path, capsys: Capture, end_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "data.npz", x=DATA.x, y=DATA.y)
    folder = tmp_path / "run"
    words = ["train", tmp_path / "data.npz", "--layers", 5, "--epochs", 4, "--batch-size", 5]
    end_at(9, sigterm)
    error_of(capsys, *words, "--output", folder, status=143)
    monkeypatch.undo()
    lock = Lock(folder / ".checkpoint.safetensors.lock")  # as a Checkpoint of this file has it
    before = contents(folder)
    for second in (["train", "--resume", folder], [*words, "--output", folder, "--overwrite"]):
        (line,) = error_of(capsys, *second)
        assert "[Checkpoint] One training at a time" in line
        assert contents(folder) == before
    lock.release()
    run(capsys, "train", "--resume", folder)
    assert sorted(contents(folder)) == COMPLETE


def test_a_run_removes_the_lock_of_a_killed_one_that_it_replaces(tmp_path: Path, capsys: Capture) -> None:
    np.savez(tmp_path / "data.npz", x=DATA.x, y=DATA.y)
    folder = tmp_path / "run"
    words = ["train", tmp_path / "data.npz", "--layers", 5, "--epochs", 1, "--output", folder]
    run(capsys, *words)
    (folder / ".checkpoint.safetensors.lock").touch()
    run(capsys, *words, "--overwrite")
    assert sorted(path.name for path in folder.iterdir()) == COMPLETE


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "lock"):
        lock = Lock(path)
        with pytest.raises(BlockingIOError):
            Lock(path)
        lock.release()
        lock.release()
        Lock(path).release()
    assert list(tmp_path.iterdir()) == []


LEFTOVER = ".equiprop-0123456789abcdef.part"


@pytest.mark.parametrize("writer", ["network", "trainer", "checkpoint", "text"])
def test_a_writer_removes_the_leftovers_of_ended_writers_and_nothing_else(
    writer: str, tmp_path: Path
) -> None:
    own = {".0123456789abcdef.part", ".equiprop-0123.part", "equiprop-0123456789abcdef.part", LEFTOVER[:-1]}
    own |= {f"{LEFTOVER}s", LEFTOVER.upper(), ".equiprop-0123456789abcdeg.part"}
    for name in (*own, LEFTOVER):
        (tmp_path / name).write_bytes(b"half of a file")
    net, path = eq.HopfieldNetwork([4, 6, 3]), tmp_path / "new"
    writers: dict[str, Callable[[], Any]] = {
        "network": lambda: eq.save(net, path),
        "trainer": lambda: eq.save(eq.Trainer(net), path),
        "checkpoint": lambda: fit(path),
        "text": lambda: write_text(path, "text", "here"),
    }
    writers[writer]()
    assert {file.name for file in tmp_path.iterdir()} == own | {"new"}


def test_a_writer_through_a_link_removes_the_leftovers_beside_the_file(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder / "file")
    write_text(folder / "file", "old", "here")
    (folder / LEFTOVER).touch()
    write_text(link, "new", "here")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"file": "new"}
    assert link.is_symlink()


def test_the_file_of_a_live_writer_is_kept(tmp_path: Path) -> None:
    with (tmp_path / LEFTOVER).open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write_text(tmp_path / "new", "text", "here")
        assert (tmp_path / LEFTOVER).exists()
    write_text(tmp_path / "new", "text", "here")
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


#: Writes a file many times, as fast as possible.
WRITING = """
import sys
from pathlib import Path
from equiprop.files import write_text
path, = sys.argv[1:]
for k in range(300):
    write_text(Path(path), f"{k}" * 1000, "here")
"""


def test_many_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    names = ["a", "b", "shared", "shared"]
    commands = [[sys.executable, "-c", WRITING, str(tmp_path / name)] for name in names]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in processes:
        _, text = process.communicate(timeout=120)
        assert (process.returncode, text) == (0, "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b", "shared"]
    assert all(file.read_text() == "299" * 1000 for file in tmp_path.iterdir())


def test_a_leftover_that_is_a_link_or_a_folder_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.write_text("mine")
    (tmp_path / LEFTOVER).symlink_to(target)
    other = tmp_path / LEFTOVER.replace("0", "1")
    other.mkdir()
    os.mkfifo(tmp_path / LEFTOVER.replace("0", "2"))
    write_text(tmp_path / "new", "text", "here")
    assert target.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 5
