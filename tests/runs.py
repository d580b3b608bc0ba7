"""Runs of `equiprop train` for tests: their files, and ways in which they end early."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np

DIGITS = ["train", "digits", "--layers", "12", "--epochs", "2"]
STEPS = 29  # per epoch: 1442 samples in batches of 50
COMPLETE = [
    "checkpoint.safetensors",
    "history.jsonl",
    "log.txt",
    "model.safetensors",
    "result.json",
    "settings.json",
]
Files = dict[str, bytes]


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def same_run(files: Files, expected: Files) -> None:
    """Check that two runs have equal models and, but for the seconds, equal histories."""
    assert files["model.safetensors"] == expected["model.safetensors"]
    histories = [
        [{**json.loads(line), "seconds": 0} for line in f["history.jsonl"].splitlines()]
        for f in (files, expected)
    ]
    assert histories[0] == histories[1]


def ctrl_c(_: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def sigterm(_: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def sighup(_: Any) -> None:
    signal.raise_signal(signal.SIGHUP)


def diverge(trainer: Any) -> None:
    raise eq.ConvergenceError("[Trainer.step] The free phase must stay finite. Received infinity.", None)


def overflow(trainer: Any) -> None:
    trainer.model.parameters[0] = np.inf
    diverge(trainer)
