"""The workflows call only targets of the Makefile, and all targets that .ci/run calls."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def calls(text: str) -> set[str]:
    """Return the targets of make that the commands of a script name."""
    return set(re.findall(r"^(?:\s*- run: )?make ([a-z-]+)", text, re.MULTILINE))


def test_workflows_and_ci_call_the_same_targets() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = {path.name: calls(path.read_text()) for path in WORKFLOWS}
    assert set(called) == {"ci.yml", "wheels.yml"}
    assert called["ci.yml"] == {"test", "lint", "sanitize", "fuzz", "docs", "wheel"}
    assert set.union(*called.values()) <= set(phony.split())
    assert {"test", "lint", "docs", "wheel"} == calls((ROOT / ".ci" / "run").read_text())
