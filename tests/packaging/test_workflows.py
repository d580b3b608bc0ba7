"""The workflows call only targets of the Makefile, and all targets that .ci/run calls; actions are pinned."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def calls(text: str) -> set[str]:
    """Return the targets of make that the commands of a script name."""
    before = r"(?:\w+=\S+ )*(?:timed )?(?:env -u \w+ )?"  # settings of the environment
    return set(re.findall(rf"^\s*(?:- run: )?{before}make ([a-z-]+)", text, re.MULTILINE))


def test_workflows_and_ci_call_the_same_targets() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = {path.name: calls(path.read_text()) for path in WORKFLOWS}
    assert set(called) == {"ci.yml", "wheels.yml"}
    assert called["ci.yml"] == {"test", "lint", "sanitize", "fuzz", "docs", "wheel"}
    assert set.union(*called.values()) <= set(phony.split())
    assert {"test", "lint", "docs", "wheel", "sanitize"} == calls((ROOT / ".ci" / "run").read_text())


def test_actions_are_pinned_by_a_commit_and_one_version_each() -> None:
    """A tag can be moved to other code; the hash of a commit cannot. The comment names its version."""
    uses = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    pinned = [re.fullmatch(r" *- uses: ([\w/-]+)@([0-9a-f]{40})  # v(\d+\.\d+\.\d+)", line) for line in uses]
    assert [line for line, found in zip(uses, pinned, strict=True) if not found] == []
    versions = {found.groups() for found in pinned if found}
    assert len(versions) == len({action for action, _, _ in versions}) > 0
