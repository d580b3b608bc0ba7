"""The programs of the gallery draw figures, in the form that sphinx-gallery reads, in a few seconds."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from equiprop import plotting

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")  # the digits

GALLERY = Path(__file__).parents[2] / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))


@pytest.fixture
def without_screen() -> Iterator[None]:
    from matplotlib import pyplot

    kept = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(kept)


@pytest.mark.usefixtures("without_screen")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_programs_of_the_gallery_draw_figures(script: Path) -> None:
    from matplotlib import pyplot

    begin = time.process_time()
    runpy.run_path(str(script))
    assert time.process_time() - begin < 5
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    assert len(figures) == script.read_text().count("plt.show()") > 0
    assert all(figure.axes for figure in figures)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_programs_of_the_gallery_have_its_form(script: Path) -> None:
    code = script.read_text()
    title, line, *_ = (ast.get_docstring(ast.parse(code)) or "").splitlines()
    assert set(line) == {"="}
    assert len(line) == len(title)
    assert re.fullmatch(r"plot_\w+\.py", script.name)  # the names that sphinx-gallery executes
    assert re.search(r"^# %%\n# \S", code, re.MULTILINE)
    assert len(code.splitlines()) <= 60


def test_the_gallery_has_every_plot() -> None:
    code = "".join(script.read_text() for script in SCRIPTS)
    shown = set(re.findall(r"eq\.plotting\.(\w+)\(", code))
    functions = {name for name, thing in vars(plotting).items() if inspect.isfunction(thing)}
    assert shown == functions - {"save", "require_matplotlib"}
