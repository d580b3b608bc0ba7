"""Certificates: self-contained pages, JSON files that can be repeated bit for bit, and damaged files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import verify
from equiprop.verify.suite import CLAIMS, examine
from networks import Valley, chain, inputs, labels

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
X, Y = np.array([[0.5, -1.0]]), np.array([[0.3, -0.2]])


STEPS = 40
#: Sufficient for every claim to hold, and for every picture to have data.
SETTINGS: dict[str, dict[str, Any]] = {
    "equality": {"steps": STEPS},
    "runge-kutta": {"steps": STEPS},
    "orders": {"betas": [2.0**-k for k in (3, 4, 6, 7, 12, 13)], "points": [2, 4]},
}


@pytest.fixture(scope="module")
def certificate() -> verify.Certificate:
    net = chain(4, 6, 3, potential="quadratic")
    problem = verify.prepare("test", net, inputs(net, 2), labels(net, 2), eq.SquaredError(), None)
    certificate = verify.Certificate((examine(problem, settings=SETTINGS),))
    assert certificate.passed, str(certificate)
    return certificate


@pytest.fixture(scope="module")
def saved(certificate: verify.Certificate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    certificate.save(folder / "report.html")
    certificate.save(folder / "report.json")
    return folder


class Tables(HTMLParser):
    """Collects the text of every cell, row by row, and everything that a page would load or execute."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.cell: list[str] | None = None
        self.loaded: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = []
        if tag in ("script", "link", "img", "iframe", "object", "embed", "video", "audio"):
            self.loaded.append(tag)
        self.pictures += tag == "figure"
        self.loaded += [
            f"{name}={value}" for name, value in attrs
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
        ]  # fmt: skip

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append("".join(self.cell).strip())
            self.cell = None


def tables(text: str) -> Tables:
    parser = Tables()
    parser.feed(text)
    return parser


def assert_figures_agree(shown: list[list[str]], stored: dict[str, Any]) -> None:
    """The page contains every row of every claim, in order, with the figures of the JSON file."""
    at = 0
    for case in stored["cases"]:
        for claim in case["claims"]:
            for row in claim["rows"]:
                value = f"{float(row['value']):.3g}"
                at = next(k for k in range(at, len(shown)) if shown[k][:2] == [row["label"], value]) + 1
                mark = "" if row["low"] is row["high"] is None else "holds" if row["passed"] else "fails"
                assert shown[at - 1][3] == " ".join(part for part in (mark, row["note"]) if part)


def test_a_page_needs_nothing_and_shows_the_figures(saved: Path) -> None:
    text = (saved / "report.html").read_text()
    parsed = tables(text)
    assert parsed.loaded == []
    assert "url(http" not in text
    assert "@import" not in text
    stored = json.loads((saved / "report.json").read_text())
    assert_figures_agree(parsed.rows, stored)
    assert parsed.pictures == 5  # two of the theorem for each integrator, and the orders
    for words in ("Verified.", "prefers-color-scheme: dark", "@media print", "HopfieldNetwork(4-6-3"):
        assert words in text
    assert text.index("Verified.") < text.index(">Claims<") < text.index(">Contents<") < text.index("<figure")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'<a [^>]*href="#([^"]+)"', text)
    assert len(targets) > 12
    assert set(targets) <= set(ids)


def test_a_page_tells_what_its_pictures_show_and_when_it_was_made(
    certificate: verify.Certificate, saved: Path
) -> None:
    text = (saved / "report.html").read_text()
    assert f'<time datetime="{certificate.date}">' in text
    pictures = re.findall(
        r"<figure><svg role=\"img\" aria-label=\"([^\"]+)\".*?<figcaption>(.*?)</", text, re.S
    )
    assert len(pictures) == 5
    for label, caption in pictures:
        assert caption.removeprefix("<strong>") in label
        assert "has to" in label or "have to" in label
    for case in certificate.cases:
        for name in case.skipped:
            assert f"{name}: not claimed, " in text


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_same_figures(saved: Path, scheme: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    picture = tmp_path / "page.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", *dark]
    shot = ["--dump-dom", "--window-size=900,1200", f"--screenshot={picture}"]
    page = (saved / "report.html").as_uri()
    shown = subprocess.run([*command, *shot, page], capture_output=True, text=True, check=True, timeout=120)
    stored = json.loads((saved / "report.json").read_text())
    assert_figures_agree(tables(shown.stdout).rows, stored)
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    corner = pixels[-40:, :10].mean()
    assert (corner < 0.3) == (scheme == "dark")
    assert pixels.std() > 0.05  # the picture is not empty


@pytest.fixture
def default_page(default_verification: tuple[Path, str], tmp_path: Path) -> Path:
    """Return a copy of the page of the command without options, with nine models and all claims."""
    return Path(shutil.copy(default_verification[0], tmp_path))


def browse(page: Path, folder: Path, *options: str, fragment: str = "") -> str:
    """Return the document that Chromium shows after it has loaded a page."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", *options]
    command += ["--dump-dom", page.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_default_page_is_short_and_as_narrow_as_a_telephone(default_page: Path, tmp_path: Path) -> None:
    frames = "".join(
        f'<iframe src="{default_page.name}" style="border:0;width:{width}px;height:800px"></iframe>'
        for width in (1280, 400, 320)
    )
    measure = (
        "onload=()=>document.title=[...document.querySelectorAll('iframe')].map(f=>f.contentDocument)"
        ".map(d=>[d.documentElement.scrollWidth,d.documentElement.scrollHeight]).join()"
    )
    frame = default_page.with_name("frame.html")
    frame.write_text(f"<script>{measure}</script>{frames}")
    shown = browse(frame, tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=9000")
    found = re.search(r"<title>(.*?)</title>", shown)
    assert found is not None
    sizes = [int(n) for n in found[1].split(",")]
    assert sizes[1] <= 10 * 800
    assert all(shown <= width for shown, width in zip(sizes[::2], (1280, 400, 320), strict=True))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_mark_leads_to_its_claim_and_opens_the_fold(default_page: Path, tmp_path: Path) -> None:
    assert "<details open" not in browse(default_page, tmp_path)
    shown = browse(default_page, tmp_path, fragment="#model-2-limit")
    assert len(re.findall("<details open", shown)) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_summary_is_printed_on_one_page(default_page: Path, tmp_path: Path) -> None:
    """A page break follows the first section, which takes one page."""
    text = default_page.read_text()
    summary = tmp_path / "summary.html"
    summary.write_text(text[: text.index("<main>")] + "</body></html>")
    browse(summary, tmp_path, f"--print-to-pdf={tmp_path / 'summary.pdf'}", "--no-pdf-header-footer")
    assert b"/Count 1\n" in (tmp_path / "summary.pdf").read_bytes()


def test_the_json_holds_every_figure_and_what_the_pictures_show(
    certificate: verify.Certificate, saved: Path
) -> None:
    stored = json.loads((saved / "report.json").read_text())
    (case,) = stored["cases"]
    for claim, report in zip(case["claims"], certificate.cases[0].reports, strict=True):
        assert [row["value"] for row in claim["rows"]] == [row.value for row in report.rows]
    equality = next(claim for claim in case["claims"] if claim["claim"] == "equality")
    assert len(equality["series"]["state_error"]) == STEPS + 1
    assert len(equality["series"]["error_derivative"]) == len(equality["series"]["units"]) == 6
    assert {claim["claim"] for claim in case["claims"]} | set(case["not_claimed"]) == set(CLAIMS)
    assert stored["environment"]["numpy"] == np.__version__


def test_a_replay_has_the_same_bits(saved: Path) -> None:
    replayed = verify.replay(saved / "report.json")
    assert replayed.identical
    assert replayed.certificate.passed
    assert replayed.compared > 50
    assert "equal in every bit" in str(replayed)
    assert replayed.environment == {}


def test_without_a_claim_nothing_is_verified(tmp_path: Path) -> None:
    net = chain(3, 3, 2, potential="quadratic")
    certificate = verify.certify(net, inputs(net, 1), labels(net, 1), claims=["bounded"])
    assert not certificate.passed
    assert certificate.verdict == "No claim was checked, on 1 model."


def test_models_of_ones_own_are_certified(tmp_path: Path) -> None:
    report = verify.limit(Valley(), X, Y)
    assert report.passed
    report.save(tmp_path / "own.json")
    report.save(tmp_path / "own.html")
    assert "Verified." in (tmp_path / "own.html").read_text()
    assert verify.replay(tmp_path / "own.json").identical


@pytest.fixture(scope="module")
def failed() -> verify.EquivalenceReport:
    """Return a report of the theorem at a finite beta, for a network with HTML tags in names of layers."""
    layers = [
        eq.Layer(2),
        eq.Layer(3, "tanh", "<script>alert('x')</script>"),
        eq.Layer(2, "tanh", "a&b"),
        eq.Layer(2, "linear"),
    ]
    couplings = [eq.Dense(k, k + 1) for k in range(3)]
    net = eq.HopfieldNetwork(layers=layers, couplings=couplings, potential="quadratic", dtype="float64")
    return verify.equivalence(net, [[0.1, 0.2]], [1], nudging=eq.one_sided(0.1), steps=STEPS)


@pytest.fixture(scope="module")
def failed_page(failed: verify.EquivalenceReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("failed") / "failed.html"
    failed.save(path)
    return path.read_text()


def test_a_failed_certificate_says_so_first(
    failed: verify.EquivalenceReport, failed_page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Not verified." in failed_page
    assert '<header class="verdict fails">' in failed_page
    assert "S~ of output" in failed_page
    verify.Certificate((verify.Case(failed.problem, (failed,)),)).explain()
    assert "0 of 1 claims hold, on 1 model." in capsys.readouterr().out


def test_names_and_text_cannot_break_the_page(failed_page: str) -> None:
    assert "<script" not in failed_page
    assert "&lt;script&gt;" in failed_page
    assert "a&amp;b" in failed_page


def test_other_endings_are_refused(certificate: verify.Certificate, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[save\] A certificate is a \.html or a \.json file\. Received"):
        certificate.save(tmp_path / "report.pdf")


def test_a_page_without_matplotlib_says_what_to_install(
    certificate: verify.Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'equiprop\[plot\]'"):
        certificate.save(tmp_path / "report.html")
    certificate.save(tmp_path / "report.json")


def test_every_report_can_be_drawn(certificate: verify.Certificate) -> None:
    for report in certificate.cases[0].reports:
        assert report.plot().get_xlabel()
        assert len(list(report.pictures())) >= 1
