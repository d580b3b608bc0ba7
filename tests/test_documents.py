"""The examples run, and the code in README and docs prints the output that follows it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from emulated_cuda import needs_emulated_device, use_emulated_device
from equiprop import cuda_core
from figures import NUMBER, agree
from trackers import use_stand_ins

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
RESULTS = ROOT / "benchmarks" / "results" / "training.json"

needs_results = pytest.mark.skipif(
    not RESULTS.exists() and not (ROOT / ".git").exists(),
    reason="a source distribution holds no measured results",
)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("accuracy 98.3%", "accuracy 98.3%", True),
        ("accuracy 98.3%", "accuracy  97.8%", True),
        ("accuracy 98.3%", "accuracy 97.5%", False),
        ("accuracy 98.3%", "accuracy 66.0%", False),
        ("98 % of them", "98.6 % of them", True),
        ("98 % of them", "95 % of them", False),
        ("over 200 steps", "over 200 steps", True),
        ("over 200 steps", "over 201 steps", False),
        ("within 6.1e-16", "within 2.2e-15", True),
        ("within 6.1e-16", "within 0.0", True),
        ("within 6.1e-16", "within 7.1e-15", False),
        ("tolerance 1e-12", "tolerance 1e-12", True),
        ("tolerance 1e-12", "tolerance 2e-12", False),
        ("took 1.00 s", "took 1.04 s", True),
        ("took 1.00 s", "took 1.06 s", False),
        ("took 1.00 s", "lasted 1.00 s", False),
        ("took 1.00 s", "took 1.00 s 2", False),
    ],
)
def test_figures_are_compared_as_numbers(shown: str, printed: str, same: bool) -> None:
    assert agree(shown, printed) == same


def outputs() -> list[str]:
    return [output for path in DOCUMENTS for _, output in blocks(path) if output]


def test_every_wrong_figure_in_a_document_is_noticed() -> None:
    for output in outputs():
        assert agree(output, output)
        for figure in NUMBER.finditer(output):
            wrong = f"{20 * float(figure[0]) + 1:g}"
            assert not agree(output, output[: figure.start()] + wrong + output[figure.end() :]), figure[0]


def times_backprop(method: str, batch: int, hidden: int = 1) -> tuple[float, float]:
    """The measured milliseconds of a step, and their ratio to backprop."""
    for case in json.loads(RESULTS.read_text())["cases"]:
        if case["batch"] == batch and len(case["sizes"]) == hidden + 2:
            (row,) = [row for row in case["rows"] if re.fullmatch(method, row["method"])]
            return row["milliseconds"], row["to_backprop"]
    raise LookupError(batch)


#: The method in the measurements, and the label of its row in docs/performance.md.
ROWS = {
    r"PyTorch, backprop": "PyTorch, plain backprop",
    r"ours, EqProp": "EqProp, to the trainer's tolerance",
    r"ours, RBP": "RBP",
    r"ours, EqProp, 30 \+ 2 x 10": "EqProp, 30 + 2 x 10 sweeps",
    r"PyTorch, lean EqProp, .* as ours": "PyTorch, lean EqProp, step counts of this library",
    r"PyTorch, lean EqProp, 30 \+ 2 x 10": "PyTorch, lean EqProp, 30 + 2 x 10",
    r"PyTorch, straightforward EqProp, 30 \+ 2 x 10": "PyTorch, straightforward EqProp, 30 + 2 x 10",
    r"PyTorch, backprop, Adam and clipping": "PyTorch, plain backprop, Adam and clipping",
    r"ours, EqProp, Adam and clipping": "EqProp, Adam and clipping",
}


@needs_results
@pytest.mark.parametrize("method", ROWS)
def test_the_table_of_training_steps_shows_what_was_measured(method: str) -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    (row,) = re.findall(rf"^\| {re.escape(ROWS[method])} \| (.*) \|$", text, re.MULTILINE)
    shown = [float(figure) for figure in NUMBER.findall(row)]
    cases = ((50, 1), (200, 1), (50, 2))
    measured = [figure for batch, hidden in cases for figure in times_backprop(method, batch, hidden)]
    assert shown == pytest.approx(measured, rel=0, abs=0.0051)  # rounded to two digits


@needs_results
def test_the_readme_names_the_measured_ratios_to_backprop() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    pattern = r"at batch 50 takes ([\d.]+) times that of plain backprop .* at batch 200 ([\d.]+) times"
    ((first, second),) = re.findall(pattern, text)
    assert float(first) == pytest.approx(times_backprop("ours, EqProp", 50)[1], rel=0, abs=0.0051)
    assert float(second) == pytest.approx(times_backprop("ours, EqProp", 200)[1], rel=0, abs=0.0051)


def test_the_accuracies_in_the_readme_are_alike() -> None:
    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"test accuracy ([\d.]+)%", text)
    (said,) = re.findall(r"# ([\d.]+) % on the held-out digits", text)
    assert float(said) == pytest.approx(float(shown), rel=0, abs=1)  # of two divisions of the digits


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
    """Each python block of a document, with the text block after it or an empty string."""
    pattern = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
    return pattern.findall(path.read_text())


def test_the_readme_has_an_example_with_its_output() -> None:
    assert any(output for _, output in blocks(ROOT / "README.md"))


def executed(path: Path) -> object:
    absent = find_spec("jax") is None
    needs_jax = pytest.mark.skipif(absent, reason="the document needs the extra 'jax'")
    marks = {"gpu.md": [needs_emulated_device], "jax.md": [needs_jax]}.get(path.name, [])
    if path.name == "pytorch.md":
        marks = [needs(path)]
    return pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("path", [executed(path) for path in DOCUMENTS])
def test_code_in_documents_prints_what_they_say(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a document are executed one after another with the same variables."""
    if path.name == "gpu.md":
        use_emulated_device()
        monkeypatch.setattr(cuda_core, "DIVISION", (1, 8, 64))  # few threads are fast to emulate
    if path.name == "watching.md":
        use_stand_ins(monkeypatch)
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


# ---------------------------------------------------------------------------- promises and their tests

PROMISES = (ROOT / "docs" / "reliability.md").read_text()
TEST_NAME = re.compile(r"`([\w/]+\.(?:py|cpp))::([\w.]+)`")


def is_a_test(path: str, name: str) -> bool:
    """Return whether a file below tests/ defines a test of this name."""
    file = ROOT / "tests" / path
    if not file.exists():
        return False
    if file.suffix == ".py":
        pattern = rf"^def {re.escape(name)}\("
    else:
        suite, _, case = name.partition(".")
        pattern = rf"^(?:TYPED_)?TEST(?:_[FP])?\(\s*{re.escape(suite)},\s*{re.escape(case)}\)"
    return re.search(pattern, file.read_text(), re.MULTILINE) is not None


def test_every_promise_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (?!promise)(.+) \| (.+) \|$", PROMISES, re.MULTILINE)
    assert len(rows) > 25
    for promise, tests in rows:
        named = TEST_NAME.findall(tests)
        assert named, promise
        assert [test for test in named if not is_a_test(*test)] == [], promise
        assert re.sub(r"[,\s]|\(slow\)", "", TEST_NAME.sub("", tests)) == "", tests


def test_a_promise_with_a_test_that_does_not_exist_is_noticed() -> None:
    assert is_a_test("test_documents.py", "test_every_promise_names_tests_that_exist")
    assert not is_a_test("test_documents.py", "test_every_promise")
    assert not is_a_test("test_absent.py", "test_every_promise_names_tests_that_exist")
    assert is_a_test("cpp/base/test_json.cpp", "Json.FollowsNoNesting")
    assert not is_a_test("cpp/base/test_json.cpp", "Json.FollowsNesting")
