"""Everything printed in a document is executed: examples, and code in README and docs with its output."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from importlib.util import find_spec
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


def needs(example: Path) -> pytest.MarkDecorator:
    absent = "torch" in example.read_text() and find_spec("torch") is None
    return pytest.mark.skipif(absent, reason="the example needs the extra 'torch'")


@pytest.mark.parametrize("example", [pytest.param(e, id=e.stem, marks=needs(e)) for e in EXAMPLES])
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


def blocks(path: Path) -> list[tuple[str, str]]:
    """Each python block of a document with the text block that follows it, if one does."""
    pattern = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
    return pattern.findall(path.read_text())


def test_the_readme_has_an_example_with_its_output() -> None:
    assert any(output for _, output in blocks(ROOT / "README.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_code_in_documents_prints_what_they_say(path: Path) -> None:
    """Later blocks of a document know the names of earlier ones, as its reader does."""
    names: dict[str, object] = {}
    for code, output in blocks(path):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(path), "exec"), names)
        if output:
            assert agree(output, printed.getvalue()), printed.getvalue()


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
