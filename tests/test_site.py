"""The documentation site: every public name has a page, and its links are checked. `make docs` builds it."""

from __future__ import annotations

import re
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

import equiprop
import public_surface
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_site"))

import links  # noqa: E402

# ---------------------------------------------------------------------------- reference


def listed(text: str) -> list[str]:
    """Return the names in the autosummary tables of a page."""
    tables = re.findall(r"\.\. autosummary::\n(?:   :\w+:.*\n)*\n((?:   \S+\n)+)", text + "\n")
    return [name.removeprefix("~equiprop.") for table in tables for name in table.split()]


def test_every_public_name_of_equiprop_is_in_the_reference_once() -> None:
    names = Counter(listed((DOCS / "reference" / "equiprop.rst").read_text()))
    exported = {thing.__name__ for thing in public_surface.exported(equiprop)}
    assert set(names) == {*exported, "ACTIVATIONS"}
    assert set(names.values()) == {1}


def test_every_public_name_of_the_other_modules_is_in_the_reference() -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    pytest.importorskip("torch")
    pages = import_module("reference_pages").pages(mocked=[])
    assert set(pages) == set(public_surface.MODULES) - {"equiprop"}
    for module, text in pages.items():
        exported = public_surface.exported(import_module(module))
        assert sorted(listed(text)) == sorted(thing.__name__ for thing in exported)
    assert {"equivalence", "Certificate"} <= set(listed(pages["equiprop.verify"]))


# ---------------------------------------------------------------------------- links

PAGE = '<html><head><link rel="stylesheet" href="site.css"></head><body>{}</body></html>'


def site(folder: Path, body: str) -> links.Site:
    """Write a site of two pages, of which the first has this body."""
    (folder / "site.css").write_text("")
    (folder / "index.html").write_text(PAGE.format(body))
    (folder / "other.html").write_text(PAGE.format('<h1 id="here">Other</h1><a name="there"></a>'))
    return links.Site.of(folder)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">x</a>',
        '<a href="other.html#here">x</a>',
        '<a href="other.html#there">x</a>',
        '<a href="./">x</a>',
        '<a href="#top" id="top">x</a>',
        '<a href="https://example.org/absent#place">x</a>',
        '<a href="javascript:void(0)">x</a>',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_a_link_that_leads_somewhere_is_accepted(tmp_path: Path, body: str) -> None:
    assert site(tmp_path, body).broken() == []


@pytest.mark.parametrize(
    "body",
    [
        '<a href="absent.html">x</a>',
        '<a href="other.html#nowhere">x</a>',
        '<a href="#nowhere">x</a>',
        '<img src="absent.png">',
        '<script src="https://example.org/tracker.js"></script>',
        '<link rel="stylesheet" href="https://example.org/font.css">',
        '<link rel="preload" href="//example.org/font.woff2">',
    ],
)
def test_a_broken_link_and_a_file_from_outside_are_named(tmp_path: Path, body: str) -> None:
    address = re.findall(r'(?:href|src)="([^"]+)"', body)[0]
    assert site(tmp_path, body).broken() == [f"index.html: {address}"]


def test_the_program_counts_links_and_lists_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "html"
    folder.mkdir()
    site(folder, '<a href="absent.html">x</a><a href="https://example.org/a">y</a>')
    assert links.main(folder) == 1
    assert capsys.readouterr().out.splitlines()[0] == "index.html: absent.html"
    assert (tmp_path / "external.txt").read_text() == "https://example.org/a\n"
    site(folder, "")
    assert links.main(folder) == 0
    assert capsys.readouterr().out.startswith("2 pages, 2 links to the site itself, 0 of them broken")


# ---------------------------------------------------------------------------- texts


def test_a_link_to_a_folder_becomes_its_text(tmp_path: Path) -> None:
    changed = import_module_of_the_site("repository_links").changed
    (tmp_path / "folder").mkdir()
    (tmp_path / "torch.md").write_text("")
    assert (
        changed("[a](folder) [b](torch.md) [c](https://a.b)", tmp_path) == "a [b](torch.md) [c](https://a.b)"
    )


def test_bars_of_a_docstring_are_no_substitutions() -> None:
    docstrings = import_module_of_the_site("docstrings")
    lines = ["The norm |s|, ``|x|``, and `a | b`.", "", ".. math:: |o - y|", "   |x|", "", ">>> 1 | 2", "|z|"]
    docstrings.escape_bars(None, "", "", None, None, lines)
    assert lines[0] == r"The norm \|s\|, ``|x|``, and `a | b`."
    assert lines[2:4] == [".. math:: |o - y|", "   |x|"]
    assert lines[5] == ">>> 1 | 2"


def test_the_number_of_a_formula_stands_beside_it() -> None:
    pytest.importorskip("latex2mathml", reason="the extra docs is not installed")
    mathml = import_module_of_the_site("mathml")
    assert mathml.displayed(r"a = b \tag{3}") == mathml.displayed("a = b ").replace(
        "</math>", '</math><span class="eqno">(3)</span>'
    )
    assert "<munder>" in mathml.displayed(r"\lim\limits_{x \to 0} x")


def import_module_of_the_site(name: str) -> ModuleType:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    return import_module(name)


# ---------------------------------------------------------------------------- README on an index of packages


def test_the_readme_of_the_package_has_no_relative_link() -> None:
    rule = re.search(r"pattern = '(.*)', replacement = '(.*)'", (ROOT / "pyproject.toml").read_text())
    assert rule
    text = (ROOT / "README.md").read_text()
    described = re.sub(rule[1], rule[2], text)
    assert "](docs/" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", described) == []
    assert "[arXiv 1711.08416](https://arxiv.org/abs/1711.08416)" in described
    assert "(docs/training.md)" in described
