"""The adapters of docs/watching.md report how runs end; the example with Optuna prunes and fails trials."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equiprop as eq
import pytest
from trackers import use_stand_ins

ROOT = Path(__file__).parents[2]


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[dict[str, Any], dict[str, Any]]]:
    """Return a function that executes the document, and returns its names and the stand-ins."""

    def execute() -> tuple[dict[str, Any], dict[str, Any]]:
        trackers, names = use_stand_ins(monkeypatch), {}
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/watching.md").read_text(), re.DOTALL):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, "watching.md", "exec"), names)
        return names, trackers

    return execute


def test_the_adapters_are_short_and_report_each_epoch_and_the_end(document: Any) -> None:
    names, trackers = document()
    epochs = [(record.as_dict(), 29 * record.epoch) for record in names["history"]]
    calls = trackers["wandb"].calls
    assert [call[0] for call in calls] == ["init", "log", "log", "finish"]
    assert [call[1] for call in calls[1:3]] == epochs
    assert calls[-1] == ("finish", 0)
    numbers = [({k: v for k, v in record.items() if v is not None}, step) for record, step in epochs]
    assert [call[1] for call in trackers["mlflow"].calls] == [*numbers, "FINISHED"]
    text = (ROOT / "docs" / "watching.md").read_text()
    for name in ("WandbLogger", "MLflowLogger"):
        (code,) = re.findall(rf"class {name}.*?(?=```)", text, re.DOTALL)
        assert len([line for line in code.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize(
    ("error", "code", "status"), [(KeyboardInterrupt, 1, "KILLED"), (ValueError, 1, "FAILED")]
)
def test_the_adapters_report_failures(
    document: Any, error: type[BaseException], code: int, status: str
) -> None:
    names, trackers = document()

    def fail(trainer: eq.Trainer, epoch: eq.Epoch) -> None:
        raise error

    callbacks = [names["WandbLogger"](), names["MLflowLogger"](), fail]
    with pytest.raises(error):
        eq.Trainer(eq.HopfieldNetwork([64, 8, 10]), callbacks=callbacks).fit(names["data"], epochs=2)
    assert trackers["wandb"].calls[-1] == ("finish", code)
    assert trackers["mlflow"].calls[-1] == ("finish", status)


def test_a_search_prunes_trials_and_reports_divergence_as_failure() -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed")
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "08_optuna.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    states = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines()}
    assert states["COMPLETE"]
    assert states["PRUNED"]
    assert "0.3" in states["FAIL"]
    assert sum(len(states[name]) for name in ("COMPLETE", "PRUNED", "FAIL")) == 12
    assert re.search(r"^best: learning rate 0\.\d+, validation error 1\d\.\d%$", run.stdout, re.MULTILINE)


def test_the_example_without_optuna_says_what_it_needs() -> None:
    code = "import sys, runpy; sys.modules['optuna'] = None; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", code, str(ROOT / "examples" / "08_optuna.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout == "This example needs Optuna: pip install optuna\n"
