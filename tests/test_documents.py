"""Everything printed in a document is executed: examples, and code in README and docs with its output."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def agree(shown: str, printed: str) -> bool:
    """Equal texts; numbers may differ by a third, or freely below 1e-11, as between processors."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(map(float, NUMBER.findall(shown)), map(float, NUMBER.findall(printed)), strict=True)
    return all(max(a, b) < 1e-11 or abs(a - b) <= max(a, b) / 3 for a, b in pairs)


@pytest.mark.parametrize(("other", "same"), [("a 1.2", True), ("a 9.9", False), ("b 1.1", False)])
def test_outputs_are_compared(other: str, same: bool) -> None:
    assert agree("a 1.1", other) == same


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_examples_run_and_are_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 60
    run = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout


def blocks() -> list[tuple[Path, str, str]]:
    """Each python block with the text block that follows it, if one does."""
    pattern = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
    return [(path, code, output) for path in DOCUMENTS for code, output in pattern.findall(path.read_text())]


def test_the_readme_has_an_example_with_its_output() -> None:
    assert any(path.name == "README.md" and output for path, _, output in blocks())


@pytest.mark.parametrize(("path", "code", "output"), blocks())
def test_code_in_documents_prints_what_they_say(path: Path, code: str, output: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(path), "exec"), {})
    if output:
        assert agree(output, printed.getvalue()), printed.getvalue()


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
