"""The style of plots: texts are whole and apart, also in a narrow column; series differ without colours."""

from __future__ import annotations

import builtins
import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from equiprop import plotting
from equiprop.plotting import style
from plots import DOUBLE_MINUS, PLOTS, cut_off, drawn, overlapping, texts

matplotlib = pytest.importorskip("matplotlib")

#: Widths in inches: that of a plot itself, and that of a column in print.
WIDTHS = [None, 3.35]


def test_every_plot_is_listed() -> None:
    functions = {name for name, thing in vars(plotting).items() if inspect.isfunction(thing)}
    assert set(PLOTS) == functions - {"save", "require_matplotlib"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PLOTS)
def test_texts_are_whole_and_do_not_overlap(name: str, width: float | None) -> None:
    axes = drawn(name, width)
    assert cut_off(axes) == []
    assert list(overlapping(axes)) == []


@pytest.mark.parametrize("name", PLOTS)
def test_axes_are_labelled_and_no_text_has_two_signs_of_minus(name: str) -> None:
    axes = drawn(name, None)
    shown = [text.get_text() for text in texts(axes)]
    assert [text for text in shown if DOUBLE_MINUS.search(text)] == []
    assert name == "graph" or (axes.get_title() and axes.get_xlabel())
    named_by_ticks = name in ("graph", "margins", "filters")
    assert named_by_ticks or axes.get_ylabel()


@pytest.mark.parametrize("text", ["--1e-3", "$-$ derivative $-S$ −−", "$-$ $-S$", "- -1"])
def test_two_signs_of_minus_are_noticed(text: str) -> None:
    assert DOUBLE_MINUS.search(text)
    assert not DOUBLE_MINUS.search("1e-3 - x")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PLOTS)
def test_the_legend_covers_no_data(name: str, width: float | None) -> None:
    axes = drawn(name, width)
    if (legend := axes.get_legend()) is not None:
        assert legend.get_window_extent().y1 <= axes.get_window_extent().y0


def looks(axes: Any) -> list[tuple[Any, ...]]:
    """Line style and marker of each entry of a legend."""
    handles = axes.get_legend().legend_handles
    lines = [handle for handle in handles if hasattr(handle, "get_marker")]
    return [(str(line.get_linestyle()), str(line._dash_pattern), line.get_marker()) for line in lines]


@pytest.mark.parametrize("name", sorted(set(PLOTS) - {"graph", "filters", "margins", "theorem"}))
def test_entries_of_a_legend_differ_in_print_without_colours(name: str) -> None:
    found = looks(drawn(name, None))
    assert len(found) == len(set(found))


def test_units_of_the_theorem_differ_by_their_markers() -> None:
    axes = drawn("theorem", None)
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert len(set(markers)) == 6


def luminance(colour: str) -> float:
    """Relative luminance of a colour in sRGB (IEC 61966-2-1)."""
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_are_different_and_visible_on_paper() -> None:
    assert len(set(style.COLOURS)) == len(style.LINES) == len(style.MARKERS) == 7
    for colour in style.COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 2.2, colour  # contrast to white


def seen_by_dichromats(colour: str) -> list[np.ndarray]:
    """A colour as people without red, green or blue cones see it (Machado et al. 2009), in linear RGB."""
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    protan = [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
    deutan = [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
    tritan = [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]
    return [np.asarray(matrix) @ linear for matrix in (protan, deutan, tritan)]


def test_colour_blind_readers_can_tell_the_colours_apart() -> None:
    for k, first in enumerate(style.COLOURS):
        for second in style.COLOURS[:k]:
            pairs = zip(seen_by_dichromats(first), seen_by_dichromats(second), strict=True)
            assert min(np.abs(a - b).max() for a, b in pairs) > 0.06, (first, second)


def test_signed_numbers_become_brighter() -> None:
    colours = matplotlib.colormaps[style.SIGNED](np.linspace(0, 1, 256))
    brightness = [luminance(matplotlib.colors.to_hex(colour)) for colour in colours]
    assert (np.diff(brightness[::8]) > 0).all()


@pytest.mark.parametrize("name", PLOTS)
def test_global_settings_are_left_alone(name: str) -> None:
    before = dict(matplotlib.rcParams)
    PLOTS[name](None)
    assert dict(matplotlib.rcParams) == before


def test_plots_do_not_import_pyplot() -> None:
    code = (
        "import sys, equiprop as eq\n"
        "net = eq.networks.dense([4, 6, 3])\n"
        "eq.plotting.graph(net), eq.plotting.filters(net, shape=(2, 2))\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", PLOTS)
def test_without_matplotlib_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_matplotlib(module: str, *rest: Any) -> Any:
        if module.startswith("matplotlib"):
            raise ImportError(module)
        return original(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=rf"^\[{name}\] .*equiprop\[plot\]"):
        PLOTS[name](None)
