"""Functions that run commands of `equiprop` in the test process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from equiprop.cli import main

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *words: Any, status: int = 0) -> str:
    """Run a command, check its exit status, and return what it printed."""
    assert main([str(word) for word in words]) == status
    output = capsys.readouterr()
    assert (output.err == "") == (status in (0, 1))
    return output.out


def run_json(capsys: Capture, *words: Any, status: int = 0) -> dict[str, Any]:
    """Run a command with --json, and return the object that it printed."""
    output = run(capsys, *words, "--json", status=status)
    assert output.count("\n") == 1
    result: dict[str, Any] = json.loads(output)
    assert result["command"] == words[0]
    return result


def error_of(capsys: Capture, *words: Any, status: int = 2) -> list[str]:
    """Run a command that fails, and return the lines on stderr."""
    assert main([str(word) for word in words]) == status
    return capsys.readouterr().err.splitlines()
