"""Each plot draws the given numbers, and needs no screen."""

from __future__ import annotations

import builtins
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


@pytest.mark.parametrize("plot", ["learning_curve", "relaxation", "theorem"])
def test_without_matplotlib_the_extra_is_named(plot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = chain()
    given = {
        "learning_curve": history(0.1),
        "relaxation": eq.free_phase(net, inputs(net), trace=True),
        "theorem": eq.verify.equivalence(net, inputs(net), labels(net), steps=3),
    }
    original = builtins.__import__

    def without_matplotlib(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=rf"^\[{plot}\] .*equiprop\[plot\]"):
        getattr(plotting, plot)(given[plot])
