"""Every command prints one JSON object, also for NaN; event files of a run survive a signal."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import equiprop as eq
import pytest
from commands import Capture
from equiprop.cli import command, console, main
from runs import STEPS, sigterm

WORDS = ["train", "digits", "--layers", "8"]
#: A command line of each command, in a folder with a run of the name "run".
LINES = {
    "train": "train digits --layers 8 --epochs 1 --output new",
    "evaluate": "evaluate run/model.safetensors digits",
    "predict": "predict run/model.safetensors digits --outputs",
    "verify": "verify --layers 3 4 2 --activation tanh --claims limit",
    "info": "info run/model.safetensors",
    "compare": "compare run run",
    "dashboard": "dashboard .",
    "completion": "completion bash",
}


def strictly(text: str) -> Any:
    """Return the value of a JSON text, in which NaN and Infinity are errors."""
    return json.loads(text, parse_constant=pytest.fail)


def test_every_command_is_tried() -> None:
    (commands,) = (a for a in command._parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert commands.choices.keys() == LINES.keys()


@pytest.mark.parametrize("name", LINES)
def test_every_command_prints_one_json_object(
    name: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "completion":
        pytest.importorskip("shtab", reason="the extra 'completion' is not installed")
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--epochs", "1", "--output", "run", "--json"]) == 0
    capsys.readouterr()
    assert main([*LINES[name].split(), "--json"]) == 0
    output = capsys.readouterr()
    assert (output.out.count("\n"), output.err) == (1, "")
    assert strictly(output.out)["command"] == name


def test_numbers_that_are_not_finite_are_null(capsys: Capture) -> None:
    console.say_json("predict", {"outputs": [[1.5, math.nan], (math.inf, 2)], "more": {"a": -math.inf}})
    result = strictly(capsys.readouterr().out)
    assert result == {"command": "predict", "outputs": [[1.5, None], [None, 2]], "more": {"a": None}}


def test_event_files_of_a_run_that_a_signal_ended_are_those_of_a_whole_run(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    from event_files import board_rows

    step = eq.Trainer.step

    def ending(trainer: eq.Trainer, *arguments: Any, **options: Any) -> Any:
        metrics = step(trainer, *arguments, **options)
        if trainer.steps == 2 * STEPS:
            sigterm(trainer)
        return metrics

    events = tmp_path / "events"
    words = [*WORDS, "--epochs", "3", "--output", str(tmp_path / "run"), "--tensorboard", str(events)]
    with monkeypatch.context() as patch:
        patch.setattr(eq.Trainer, "step", ending)
        assert main(words) == 143
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    rows = board_rows(events)
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert [row["test_error"] for row in rows] == pytest.approx([record["test_error"] for record in history])
    capsys.readouterr()
    assert main([*words[:-3], str(tmp_path / "other"), "--tensorboard", str(events)]) == 2
    assert "[TensorBoardLogger] A new training writes to a path without rows" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
