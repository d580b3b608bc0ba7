"""Bars appear after two seconds, on a terminal alone, and lines of a command do not mix with them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from commands import Capture
from equiprop import progress
from equiprop.cli import main
from equiprop.resuming import download
from mirrors import serving
from networks import chain

pytest.importorskip("tqdm", reason="the extra 'progress' is not installed")


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def __init__(self, terminal: bool = True) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def screen_of(monkeypatch: pytest.MonkeyPatch, terminal: bool = True, delay: float = 0.0) -> Screen:
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "DELAY", delay)
    return screen


@pytest.mark.parametrize(("seconds", "shown"), [(1.9, False), (2.1, True)])
def test_a_bar_appears_after_two_seconds_with_the_time_of_the_whole_loop(
    seconds: float, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert progress.DELAY == 2.0
    screen = screen_of(monkeypatch, delay=2.0)
    now = time.monotonic()
    with progress.progress_bar(True, 10, "loop") as bar:
        monkeypatch.setattr(progress.time, "monotonic", lambda: now + seconds)
        bar.advance(5)
    assert ("loop: " in screen.getvalue()) == shown
    if shown:
        assert re.search(r"50%\|.* 5/10 \[00:02<00:02, ", screen.getvalue())


def blobs(count: int = 40) -> eq.Dataset:
    return eq.Dataset(np.tile([[0.0, 1.0], [1.0, 0.0]], (count // 2, 1)), [0, 1] * (count // 2))


def test_a_training_that_continues_counts_the_steps_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(trainer: eq.Trainer, _: Any) -> None:
        if trainer.steps == 5:
            raise KeyboardInterrupt

    trainer = eq.Trainer(chain(2, 4, 2), batch_size=10, step_callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(blobs(), epochs=3, checkpoint=eq.Checkpoint(tmp_path / "c", steps=1))
    screen = screen_of(monkeypatch)
    eq.Trainer.resume(tmp_path / "c").fit(blobs(), epochs=3, progress=True)
    assert "epoch 2/3: " in screen.getvalue()
    assert " 4/12 " in screen.getvalue()  # the callback acts before the checkpoint of step 5
    assert " 3/12 " not in screen.getvalue()


def test_batches_without_a_number_have_a_bar_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Batches:
        def __iter__(self) -> Any:
            for _ in range(3):
                yield np.eye(2), np.arange(2)

    screen = screen_of(monkeypatch)
    eq.Trainer(chain(2, 4, 2)).fit(Batches(), epochs=1, progress=True)
    assert re.search(r"epoch 1/1: \dbatch \[", screen.getvalue())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.tile(np.eye(2), (1200, 1)), y=np.tile([0, 1], 1200))
    assert main(["train", "data.npz", "--layers", "3", "--epochs", "1", "--output", "run", "--json"]) == 0
    assert (
        main(["verify", "--layers", "3", "4", "2", "--claims", "limit", "--report", "r.json", "--json"]) == 0
    )
    return tmp_path


COMMANDS = {
    "train": ("train data.npz --layers 3 --epochs 2 --output new", r"epoch 1/2: .*/78 \["),
    "evaluate": ("evaluate run/model.safetensors data.npz", r"evaluate: .*/1 \["),
    "predict": ("predict run/model.safetensors data.npz", r"predict: .* 1/3 \["),
    "replay": ("verify --replay r.json", r"verify: .*claim"),
    "compare": ("compare run run", r"compare: .* 1/2 \["),
    "dashboard": ("dashboard .", r"dashboard: .* 1/2 \["),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_a_bar_on_a_terminal_alone(
    name: str, files: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, pattern = COMMANDS[name]
    capsys.readouterr()
    screen = screen_of(monkeypatch, terminal=False)
    assert main([*line.split(), "--json"]) == 0
    assert screen.getvalue() == ""
    json.loads(capsys.readouterr().out)
    screen = screen_of(monkeypatch)
    words = line.replace("new", "other").split()
    assert main([*words, "--json"]) == 0
    assert re.search(pattern, screen.getvalue()), screen.getvalue()
    json.loads(capsys.readouterr().out)


def test_a_command_without_tqdm_shows_no_bar(
    files: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(progress, "find_spec", lambda _: None)
    assert main(["evaluate", "run/model.safetensors", "data.npz"]) == 0
    assert screen.getvalue() == ""


def test_a_download_shows_a_bar_on_a_terminal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"a": bytes(3 * 2**20)}) as server:
        for terminal in (False, True):
            screen = screen_of(monkeypatch, terminal)
            download(f"{server.url}/a", tmp_path / f"{terminal}.part", 5.0, "test")
            assert (tmp_path / f"{terminal}.part").stat().st_size == 3 * 2**20
            assert bool(re.search(r"True: +33%.*/3\.15M \[", screen.getvalue())) == terminal


def test_lines_of_a_training_do_not_mix_with_its_bar(files: Path) -> None:
    """On a real terminal, each line of an epoch begins at the left edge, on an empty line."""
    code = (
        "from equiprop import progress; progress.DELAY = 0.0\n"
        "from equiprop.cli import main; main('train data.npz --layers 3 --epochs 3 --output lines'.split())"
    )
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stdout=child, stderr=child, cwd=files) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(parent)
    text = shown.decode()
    assert "epoch 1/3: " in text
    rows = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").split("\n")]
    assert [row.split()[0] for row in rows if re.match(r" +\d+ ", row)] == ["1", "2", "3"]
    assert not [row for row in rows if "epoch" in row and "%|" in row]
