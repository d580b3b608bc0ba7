"""`compare` and `dashboard` show runs, also damaged ones, and the page is one that a browser shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commands import Capture, error_of, run, run_json
from equiprop.cli import chart, main, run_reader
from equiprop.cli.run_reader import Run, read_run, settings_that_differ

#: A name of a folder that would break a page if it were not escaped.
HOSTILE = "<script>alert(1)</script>&\"'`\n\x1b[31m"
NOT_TEXT = os.fsdecode(b"bytes-\xff")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs, a certificate, a run that failed, and damaged runs."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["train", "digits", "--layers", "8", "--json", "--output"]
    main([*words, str(folder / "first"), "--epochs", "3", "--validation", "0.2"])
    main([*words, str(folder / "sweep" / HOSTILE), "--epochs", "2", "--seed", "1"])
    main(["verify", "--layers", "3", "4", "2", "--activation", "tanh", "--claims", "limit", "--json",
          "--report", str(folder / "report.json")])  # fmt: skip
    failed = [*words, str(folder / "failed"), "--optimizer", "sgd", "--learning-rate", "9", "--epochs", "2"]
    assert main(failed) == 2
    return folder


def damaged(folder: Path) -> dict[str, str]:
    """Write damaged runs, and return a part of the sentence on each of them."""
    record = '{"epoch": 1, "test_error": 0.5, "seconds": 1.0}\n'
    texts = {
        "half": ("settings.json", '{"options": {"se', "settings.json is damaged: it holds no JSON object."),
        "list": ("settings.json", "[1, 2]", "settings.json is damaged"),
        "deep": ("settings.json", "[" * 100_000, "settings.json is damaged"),
        "line": ("history.jsonl", record + '{"epo', "1 of 2 lines of history.jsonl are damaged."),
        "numbers": ("history.jsonl", record + '{"epoch": "x"}\n[]\n', "2 of 3 lines of history.jsonl"),
        "binary": ("result.json", "\udcff\udcfe", "result.json is damaged"),
    }
    for name, (file, text, _) in texts.items():
        (folder / name).mkdir()
        (folder / name / "history.jsonl").write_text(record)
        (folder / name / file).write_bytes(text.encode(errors="surrogateescape"))
    sentences = {name: sentence for name, (_, _, sentence) in texts.items()}
    (folder / "folders" / "settings.json").mkdir(parents=True)
    (folder / "pipe").mkdir()
    (folder / "pipe" / "result.json").write_text("{}")
    os.mkfifo(folder / "pipe" / "history.jsonl")
    return {**sentences, "folders": "settings.json is not a file.", "pipe": "history.jsonl is not a file."}


def test_compare_shows_what_differs_in_text_and_in_json(runs: Path, capsys: Capture) -> None:
    first, second = runs / "first", runs / "sweep" / HOSTILE
    text = run(capsys, "compare", first, second)
    result = run_json(capsys, "compare", first, second)
    assert result["settings"] == {"epochs": [3, 2], "validation": [0.2, None], "seed": [0, 1]}
    stored = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
    assert [entry["test_error"] for entry in result["runs"]] == [entry["test_error"] for entry in stored]
    history = [json.loads(line) for line in (first / "history.jsonl").read_text().splitlines()]
    best = min(history, key=lambda record: record["validation_error"])
    assert result["runs"][0]["best_epoch"] == best["epoch"]
    assert result["runs"][0]["validation_error"] == best["validation_error"]
    assert [entry["state"] for entry in result["runs"]] == ["finished", "finished"]
    assert re.search(r"^seed +0 +1$", text, re.MULTILINE)
    assert re.search(
        rf"^test_error +{stored[0]['test_error']:.4g} +{stored[1]['test_error']:.4g}$", text, re.M
    )


def test_files_of_a_run_do_not_command_the_terminal(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    escape = "\x1b]0;title\x07\x9b2J"
    options = {f"name{escape}": f"value{escape}\nline"}
    (tmp_path / "settings.json").write_text(json.dumps({"options": options}))
    (tmp_path / "log.txt").write_bytes(f"warning: of {escape}\n".encode())
    text = run(capsys, "compare", tmp_path, runs / "sweep" / HOSTILE)
    text += run(capsys, "dashboard", runs, "--output", tmp_path / "page.html")
    assert not set(text) & {"\x1b", "\x07", "\x9b"}
    assert r"value\x1b]0;title\x07\x9b2J\nline" in text
    assert re.search(r"^2: .*\\n\\x1b\[31m$", text, re.MULTILINE)


@pytest.mark.parametrize("mode", [0o000, 0o600], ids=["closed", "without names"])
def test_a_folder_that_cannot_be_read_is_named(mode: int, tmp_path: Path, capsys: Capture) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "history.jsonl").write_text("")
    inside.chmod(mode)
    try:
        if os.access(inside, os.X_OK):
            pytest.skip("the superuser reads every folder")
        page = tmp_path / "page.html"
        faults = run_json(capsys, "dashboard", tmp_path, "--output", page)["faults"]
        assert all("cannot be read: Permission denied." in text for text in faults["inside"])
        assert "inside: " in run(capsys, "dashboard", tmp_path, "--output", page)
        assert run_json(capsys, "compare", inside, inside)["runs"][0]["faults"]
    finally:
        inside.chmod(0o700)


def test_compare_tells_why_a_run_failed(runs: Path, capsys: Capture) -> None:
    text = run(capsys, "compare", runs / "first", runs / "failed")
    assert "2: error: [Trainer.step] Training diverged" in text
    assert re.search(r"^state +finished +failed$", text, re.MULTILINE)


def test_equal_runs_have_no_settings_that_differ(runs: Path, capsys: Capture) -> None:
    assert "settings that differ: none" in run(capsys, "compare", runs / "first", runs / "first")


@pytest.mark.parametrize(
    "words", [["first"], ["first", "absent"], ["first", "sweep"], ["first", "report.json"]]
)
def test_compare_refuses_what_is_no_run(words: list[str], runs: Path, capsys: Capture) -> None:
    (line,) = error_of(capsys, "compare", *(runs / word for word in words))
    assert re.search(
        r"\[compare\] (Two or more runs are compared|RUN is the folder of a run)\. Received", line
    )


def test_warnings_of_a_run_are_in_its_log_and_in_reports(tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "digits", "--layers", 4, "--epochs", 1, "--max-iterations", 1, "--tolerance", 1e-9]
    with pytest.warns(UserWarning, match="did not"):
        assert main([str(word) for word in [*words, "--json", "--output", tmp_path / "a"]]) == 0
    capsys.readouterr()
    record = run_json(capsys, "compare", tmp_path / "a", tmp_path / "a")["runs"][0]
    assert record["unconverged"] > 0
    assert any("did not" in text for text in record["warnings"])
    lines = (tmp_path / "a" / "log.txt").read_text().splitlines()
    assert f"warning: {record['warnings'][0]}" in lines


class Page(HTMLParser):
    """The texts of a page, its elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def check_self_contained(page: Page) -> None:
    """Check that a page needs nothing from outside, and that its own policy refuses nothing of it."""
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed", "base", "form")
        assert not {"style", "src", "href", "srcset"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; style-src 'sha256-")


def test_a_dashboard_lists_runs_and_what_is_damaged(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "all"
    shutil.copytree(runs, folder)
    sentences = damaged(folder)
    try:
        (folder / NOT_TEXT).mkdir()
        (folder / NOT_TEXT / "result.json").write_text("{}")
    except OSError:
        pytest.skip("the file system allows no such names")
    (folder / "cycle").symlink_to(folder)
    (folder / "broken.json").write_text('{"format": "equiprop-certificate-3", "passed": 1}')
    result = run_json(capsys, "dashboard", folder)
    page = Page(Path(result["page"]).read_text(encoding="utf-8"))
    check_self_contained(page)
    text = "".join(page.texts)
    for name, sentence in sentences.items():
        assert name in result["runs"]
        assert any(sentence in fault for fault in result["faults"][name]), name
        assert f"{name}: {sentence}" in re.sub(r"\s+", " ", text)
    assert result["certificates"] == ["broken.json", "report.json"]
    assert "broken.json is damaged." in text
    assert "All 1 claims hold, on 1 model." in text
    assert "<script>alert(1)</script>&\"'`\\n\\x1b[31m" in text
    assert "bytes-\\udcff" in text
    assert "[Trainer.step] Training diverged" in text


def test_a_curve_has_the_numbers_of_the_history(runs: Path, capsys: Capture) -> None:
    path = Path(run_json(capsys, "dashboard", runs)["page"])
    page = Page(path.read_text())
    lines = [attributes for tag, attributes in page.tags if tag == "polyline"]
    history = read_run(runs / "first", "first").curve("test_error")
    names = sorted(["failed", "first", f"sweep/{HOSTILE}"])
    (points,) = [str(a["points"]) for a in lines[:2] if f"c{names.index('first')}" in str(a["class"]).split()]
    places = [tuple(map(float, pair.split(","))) for pair in points.split()][: len(history)]
    assert [x for x, _ in history] == [1.0, 2.0, 3.0]
    for (y0, y1, y2), (v0, v1, v2) in [(tuple(y for _, y in places), tuple(v for _, v in history))]:
        assert (y1 - y0) / (y2 - y0) == pytest.approx((v1 - v0) / (v2 - v0), abs=0.02)
    path.unlink()


def test_an_empty_folder_has_a_page(tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "page.html"
    text = run(capsys, "dashboard", tmp_path, "-o", target)
    assert text == f"0 runs, 0 certificates: {target}\n"
    assert "The folder holds no run" in target.read_text()


@pytest.mark.parametrize("output", ["page.txt", "absent/page.html"])
def test_a_page_that_cannot_be_written_is_refused(output: str, tmp_path: Path, capsys: Capture) -> None:
    (line,) = error_of(capsys, "dashboard", tmp_path, "-o", tmp_path / output)
    assert "[dashboard] --output is a .html file in an existing folder. Received" in line
    (line,) = error_of(capsys, "dashboard", tmp_path / "absent")
    assert "[dashboard] FOLDER is a folder. Received" in line
    assert list(tmp_path.iterdir()) == []


def test_a_very_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_reader, "_MOST_BYTES", 10)
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n' * 3)
    assert any("history.jsonl is not read: it has more than" in t for t in read_run(tmp_path, "a").faults)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", True, None, [1]])
def test_what_is_no_finite_number_is_no_point_of_a_curve(value: Any) -> None:
    run = Run("a", history=[{"epoch": 1, "test_error": value}, {"epoch": value, "test_error": 1.0}])
    assert run.curve("test_error") == []
    assert run.summary()["test_error"] in (None, 1.0)


def test_settings_that_are_absent_differ_from_others() -> None:
    runs = [Run("a", {"seed": 1, "x": [1]}), Run("b", {"seed": 1, "x": [2]}), Run("c", {"x": [1]})]
    assert settings_that_differ(runs) == {"seed": [1, 1, None], "x": [[1], [2], [1]]}


@pytest.mark.parametrize(
    "values", [[0.5], [0.0], [-1.0, 1.0], [1e-9, 1.0], [3.0, 3.0], [1e-290, 1e290], list(range(5000))]
)
def test_a_chart_of_any_values_stays_in_its_frame(values: list[float]) -> None:
    lines = [chart.Line(k, "a", [(float(i), float(v)) for i, v in enumerate(values)]) for k in range(40)]
    text = chart.chart("Error", lines, "Caption.")
    for points in re.findall(r'points="([^"]+)"', text):
        places = [tuple(map(float, pair.split(","))) for pair in points.split()]
        assert len(places) <= 601
        assert all(0 <= x <= 640 and 0 <= y <= 360 for x, y in places)
    assert len({chart.stroke(k) for k in range(32)}) == 32


def test_a_browser_shows_the_page(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    target = tmp_path / "page.html"
    run(capsys, "dashboard", runs, "-o", target)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words = [browser, *options, "--enable-logging=stderr", "--dump-dom", target.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=True)
    assert "Content Security Policy" not in done.stderr
    shown = Page(done.stdout)
    assert [tag for tag, _ in shown.tags].count("svg") >= 4
    text = "".join(shown.texts)
    for word in ("Learning curves", "Settings that differ", "Health", "Certificates", "first", "report.json"):
        assert word in text
    assert "<script>alert(1)" in text
    picture = tmp_path / "page.png"
    words = [browser, *options, "--window-size=400,800", f"--screenshot={picture}", target.as_uri()]
    subprocess.run(words, capture_output=True, timeout=90, check=True)
    assert picture.read_bytes()[:4] == b"\x89PNG"
