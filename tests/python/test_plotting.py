"""Each plot draws the given numbers, and needs no screen."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import plotting
from networks import chain, inputs, labels

pytest.importorskip("matplotlib")


def history(*validation: float | None) -> list[eq.Epoch]:
    return [
        eq.Epoch(k, 0.5 / k, error, 1.0, 2.0, 3.0, 1e-4, 0, 0.1)
        for k, error in enumerate(validation, start=1)
    ]


def data(axes: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def shortcuts() -> eq.HopfieldNetwork:
    """A graph with couplings that skip layers, one that points backwards, and three of one pair."""
    image = [eq.Layer((channels, 4, 4)) for channels in (2, 3, 3)]
    return eq.HopfieldNetwork(
        layers=[*image, eq.Layer(5, "linear")],
        couplings=[
            eq.Convolution(0, 1, 3, padding=1),
            eq.MaxPooled(0, 2, 1, pool=1),
            eq.Convolution(1, 2, 3, padding=1),
            eq.Convolution(1, 2, 1),
            eq.Convolution(1, 2, 1),
            eq.Dense(3, 1),
            eq.Dense(2, 3),
        ],
    )


def arrows(axes: Any) -> list[Any]:
    """The arrows of a graph in the order of the couplings."""
    return [text for text in axes.texts if getattr(text, "arrow_patch", None) is not None]


def test_a_graph_shows_every_layer_and_every_coupling() -> None:
    net = shortcuts()
    axes = plotting.graph(net)
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert texts[:4] == [
        "input\n2x4x4\nclamped",
        "hidden1\n3x4x4\nhard_sigmoid",
        "hidden2\n3x4x4\nhard_sigmoid",
        "output\n5\nlinear",
    ]
    assert texts[4:] == [
        "W1: Convolution\nkernel 3, padding 1\n3x2x3x3",
        "W2: MaxPooled\nkernel 1, pool 1\n3x2x1x1",
        "W3: Convolution\nkernel 3, padding 1\n3x3x3x3",
        "W4: Convolution\nkernel 1\n3x3x1x1",
        "W5: Convolution\nkernel 1\n3x3x1x1",
        "W6: dense\n5x48",
        "W7: dense\n48x5",
    ]
    for arrow, coupling in zip(arrows(axes), net.couplings, strict=True):
        assert [round(arrow.xyann[0]), round(arrow.xy[0])] == [coupling.source, coupling.target]


def test_an_arrow_from_the_input_has_one_head_and_any_other_two() -> None:
    styles = [
        type(arrow.arrow_patch.get_arrowstyle()).__name__ for arrow in arrows(plotting.graph(shortcuts()))
    ]
    assert styles == ["CurveB", "CurveB", *["CurveAB"] * 5]


def test_arrows_of_a_graph_do_not_share_their_course() -> None:
    axes = plotting.graph(shortcuts())
    axes.figure.draw_without_rendering()
    courses = {arrow.arrow_patch.get_path().vertices[1].round(1).tobytes() for arrow in arrows(axes)}
    assert len(courses) == 7
    low, high = axes.transData.transform([(0, axes.get_ylim()[0]), (0, axes.get_ylim()[1])])[:, 1]
    for text in axes.texts:
        box = text.get_window_extent()
        assert low <= box.y0 <= box.y1 <= high, text.get_text()


def crowded() -> eq.HopfieldNetwork:
    """A graph with several couplings within a layer, skips over it, and the input as a target."""
    wide = {"kernel": (1, 3), "padding": (0, 1)}
    layers = [eq.Layer((1, 8, 8)), *[eq.Layer((4, 8, 8))] * 2, eq.Layer(10, "linear")]
    couplings = [
        eq.Convolution(0, 1, 3, padding=1),
        eq.Convolution(1, 1, 3, padding=1),
        eq.Convolution(1, 1, **wide),
        eq.Dense(1, 1),
        eq.Convolution(1, 2, **wide),
        eq.Identity(1, 2, 0.3),
        eq.Convolution(2, 2, **wide),
        eq.Convolution(2, 2, 5, padding=4, dilation=2, groups=2),
        eq.Dense(1, 3),
        eq.Dense(2, 3),
        eq.Dense(3, 3),
        eq.Convolution(2, 0, 3, padding=1),
        eq.Dense(0, 3),
    ]
    return eq.HopfieldNetwork(layers=layers, couplings=couplings)


@pytest.mark.parametrize("network", [crowded, shortcuts, eq.networks.dchn32])
def test_texts_of_a_graph_do_not_overlap(network: Callable[[], eq.HopfieldNetwork]) -> None:
    axes = plotting.graph(network())
    axes.figure.draw_without_rendering()
    texts = [text for text in axes.texts if text.get_text()]
    for first, second in combinations(texts, 2):
        boxes = [text.get_window_extent() for text in (first, second)]
        assert not boxes[0].overlaps(boxes[1]), (first.get_text(), second.get_text())


def test_the_input_is_at_the_tail_of_its_arrows() -> None:
    ends = arrows(plotting.graph(crowded()))[-2:]
    assert [[round(arrow.xyann[0]), round(arrow.xy[0])] for arrow in ends] == [[0, 2], [0, 3]]


def test_layers_of_a_graph_have_the_colours_of_the_block_updates() -> None:
    net = eq.networks.dense([4, 6, 6, 3])
    boxes = [text.get_bbox_patch() for text in plotting.graph(net).texts if text.get_bbox_patch() is not None]
    colors = [box.get_facecolor()[:3] for box in boxes]
    assert colors[1] == colors[3]
    assert len(set(colors)) == 3


def test_equal_graphs_are_equal_svg_files_with_their_text(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plotting.save(plotting.graph(eq.networks.dchn32()), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert len(first) < 30_000
    assert b">512x256x3x3<" in first


PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


def test_pictures_of_the_document_are_of_the_present_networks() -> None:
    drawn: dict[str, Any] = {}
    exec((PICTURES / "draw.py").read_text(), drawn)  # a script beside the pictures, not a module
    document = (PICTURES.parent / "images.md").read_text()
    assert sorted(path.stem for path in PICTURES.glob("*.svg")) == sorted(drawn["NETWORKS"])
    for name, network in drawn["NETWORKS"].items():
        assert f"(pictures/{name}.svg)" in document
        stored = (PICTURES / f"{name}.svg").read_text()
        assert len(stored) < 45_000
        for text in plotting.graph(network()).texts:
            assert all(f">{line}<" in stored for line in text.get_text().splitlines())


def test_a_learning_curve_shows_both_errors_in_percent() -> None:
    axes = plotting.learning_curve(history(0.4, 0.3, 0.2))
    training, held_out = data(axes)
    assert training == ([1, 2, 3], pytest.approx([50, 25, 50 / 3]))
    assert held_out == ([1, 2, 3], pytest.approx([40, 30, 20]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "held out"]
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize("validation", [(None, None), (0.5, None)])
def test_a_learning_curve_without_validation_shows_the_training_error_alone(validation: Any) -> None:
    assert len(data(plotting.learning_curve(history(*validation)))) == 1


def test_a_perfect_validation_error_is_drawn_at_zero() -> None:
    assert data(plotting.learning_curve(history(0.1, 0.0)))[1][1] == [10, 0]


def test_a_relaxation_shows_every_sample_and_the_largest() -> None:
    net = chain()
    free = eq.free_phase(net, inputs(net), trace=True)
    axes = plotting.relaxation(free)
    assert axes.get_yscale() == "log"
    *samples, largest = data(axes)
    assert free.residual_trace is not None
    trace = np.maximum(free.residual_trace, np.finfo(np.float64).tiny)
    np.testing.assert_array_equal(np.transpose([y for _, y in samples]), trace)
    np.testing.assert_array_equal(largest[1], trace.max(axis=1))
    assert axes.get_title() == "Relaxation by BlockUpdate"


def test_the_theorem_shows_lines_and_dots_that_coincide() -> None:
    net = chain(4, 6, 3, activation="hard_sigmoid")
    report = eq.verify.equivalence(net, inputs(net), labels(net), steps=100, step_size=0.2)
    axes = plotting.theorem(report, units=3)
    drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
    lines, dots = drawn[0::2], drawn[1::2]
    assert len(lines) == len(dots) == 3
    error = report.error_derivatives.states[:, 0] * report.free_units[0]
    most_active = np.sort(np.abs(error).max(axis=0))[::-1][:3]
    for line, dot, peak in zip(lines, dots, most_active, strict=True):
        assert np.abs(line.get_ydata()).max() == peak
        every = round(dot.get_xdata()[1] / 0.2)
        np.testing.assert_array_equal(line.get_xdata()[::every], dot.get_xdata())
        np.testing.assert_allclose(line.get_ydata()[::every], dot.get_ydata(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(line.get_xdata(), 0.2 * np.arange(len(line.get_xdata())), atol=1e-12)
        assert line.get_color() == dot.get_color()
    assert f"{report.max_relative_error:.1e}" in axes.get_title()
    assert len(report.plot(units=2).lines) == 2 * 2 + 3


def test_given_axes_are_drawn_on() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert plotting.learning_curve(history(0.1), axes) is axes
    net = chain()
    free = eq.free_phase(net, inputs(net), trace=True)
    assert plotting.relaxation(free, axes) is axes
    assert plotting.theorem(eq.verify.equivalence(net, inputs(net), labels(net), steps=9), axes=axes) is axes


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_ending_names_the_format(name: str, start: bytes, tmp_path: Path) -> None:
    plotting.save(plotting.learning_curve(history(0.1)), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_no_screen_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(variable, raising=False)
    original = builtins.__import__

    def without_pyplot(name: str, *rest: Any) -> Any:
        assert name != "matplotlib.pyplot"
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyplot)
    plotting.save(plotting.learning_curve(history(0.1)), tmp_path / "a.png")
