"""Stand-ins for wandb and mlflow, with the functions that docs/watching.md uses; they record their calls."""

from __future__ import annotations

import sys
from typing import Any

import pytest


class Tracker:
    """Records calls; `wandb.init` returns a run, and `mlflow` is a run itself."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.running = False

    def _start(self) -> None:
        assert not self.running
        self.running = True

    def _end(self) -> None:
        assert self.running
        self.running = False

    def init(self, *, project: str, config: dict[str, Any]) -> Tracker:
        self._start()
        self.calls.append(("init", (project, config)))
        return self

    def log(self, data: dict[str, Any], *, step: int) -> None:
        assert self.running
        self.calls.append(("log", (data, step)))

    def finish(self, *, exit_code: int) -> None:
        self._end()
        self.calls.append(("finish", exit_code))

    def start_run(self) -> None:
        self._start()

    def log_metrics(self, metrics: dict[str, float], *, step: int) -> None:
        assert self.running
        assert all(isinstance(value, int | float) for value in metrics.values())
        self.calls.append(("log", (metrics, step)))

    def end_run(self, status: str) -> None:
        self._end()
        assert status in ("FINISHED", "FAILED", "KILLED")
        self.calls.append(("finish", status))


def use_stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tracker]:
    """Let `import wandb` and `import mlflow` find stand-ins, and return these."""
    trackers = {name: Tracker() for name in ("wandb", "mlflow")}
    for name, tracker in trackers.items():
        monkeypatch.setitem(sys.modules, name, tracker)
    return trackers
