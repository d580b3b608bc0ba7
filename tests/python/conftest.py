"""Fixtures of the tests of training runs."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated_cuda import emulate_few_threads, emulation
from equiprop import training
from equiprop.cli import main
from runs import DIGITS, Files, contents


def pytest_configure() -> None:
    """Let signals act in the processes of the tests, also if pytest runs in the background or under nohup."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files of a trained model."""
    folder = tmp_path_factory.mktemp("trained")
    assert main([*DIGITS, "--output", str(folder), "--json"]) == 0
    return contents(folder)


@pytest.fixture(scope="session")
def default_verification(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the page and the text of `equiprop verify` without other options: nine models, all claims."""
    page = tmp_path_factory.mktemp("default") / "report.html"
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main(["verify", "--report", str(page)]) == 0
    return page, text.getvalue()


@pytest.fixture
def good(tmp_path: Path, trained: Files) -> Path:
    """Return a folder with a trained model."""
    for name, content in trained.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def end_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Any], None]], None]:
    """Replace a step of the training by a function of the trainer, which ends the training."""
    original = training.Trainer.step

    def end_at(step: int, end: Callable[[Any], None]) -> None:
        def stepped(trainer: Any, *arguments: Any, **options: Any) -> Any:
            if trainer.steps == step:
                end(trainer)
            return original(trainer, *arguments, **options)

        monkeypatch.setattr(training.Trainer, "step", stepped)

    return end_at


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the emulated CUDA device, with launches of few threads."""
    emulate_few_threads(monkeypatch)


@pytest.fixture
def device(few_threads: None) -> Iterator[Any]:
    """Return the functions that make calls of the emulated device fail, and let none fail afterwards."""
    calls = emulation()
    yield calls
    calls.emulated_fail_launch(-1)
    calls.emulated_fail_allocation(-1)
