"""Plots of figures of a model hold exactly these figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import analysis, plotting
from networks import chain, inputs
from numpy.testing import assert_array_equal
from plots import cosines, equivalence, free, history, portrait

pytest.importorskip("matplotlib")


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_an_energy_is_drawn_above_its_last_value() -> None:
    values = analysis.energies(free())
    axes = plotting.energy(free())
    assert axes.get_yscale() == "log"
    assert len(axes.lines) == values.shape[1]
    for j, line in enumerate(axes.lines):
        shown = np.asarray(line.get_ydata())
        excess = values[:, j] - values[-1, j]
        drawn = np.isfinite(shown)
        assert_array_equal(shown[drawn], excess[drawn])
        assert drawn[0]
        assert (excess[~drawn] <= 10 * np.finfo(float).eps * abs(values[-1, j])).all()


def test_sweeps_are_those_of_the_history() -> None:
    records = history(0.4, 0.3, 0.2)
    axes = plotting.sweeps(records)
    free_phase, second_phase = (list(line.get_ydata()) for line in axes.lines)
    assert (free_phase, second_phase) == ([3.0, 4.0, 5.0], [3.0, 3.0, 3.0])
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert axes.get_ylim()[0] == 0
    several = plotting.sweeps({"a": records, "b": records[:2]})
    assert legend(several) == ["a, free phase", "a, second phase", "b, free phase", "b, second phase"]
    assert [len(line.get_xdata()) for line in several.lines] == [3, 3, 2, 2]


def test_learning_curves_of_several_trainings_have_their_names() -> None:
    axes = plotting.learning_curve({"a": history(0.4, 0.3), "b": history(None, None)})
    assert legend(axes) == ["a, training", "a, held out", "b, training"]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([40, 30])


def test_errors_of_a_regression_have_no_percent() -> None:
    axes = plotting.learning_curve(history(0.4, 0.3), classification=False)
    assert axes.get_ylabel() == "root mean squared error"
    assert list(axes.lines[1].get_ydata()) == [0.4, 0.3]


def test_a_history_without_epochs_is_drawn_empty() -> None:
    assert [len(line.get_xdata()) for line in plotting.sweeps([]).lines] == [0, 0]


@pytest.mark.parametrize("most", [1, 7, 500])
def test_a_histogram_counts_every_sample(most: int) -> None:
    counts = np.random.default_rng(0).integers(1, most + 1, 200)
    outcome = replace(free(), iterations=counts)
    axes = plotting.sweep_histogram(outcome)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]
    assert len(bars) <= 61
    assert sum(height for *_, height in bars) == 200
    for low, high, height in bars:
        assert height == ((low < counts) & (counts < high)).sum()
    ticks = np.concatenate([axes.get_xticks(), axes.get_yticks()])
    assert_array_equal(ticks, np.round(ticks))
    (mean,) = axes.lines
    assert list(mean.get_xdata()) == [counts.mean()] * 2


def test_a_spectrum_shows_every_eigenvalue() -> None:
    found = analysis.eigenvalues(free())
    axes = plotting.spectrum(found, step_size=0.5)
    dots, edge, circle = axes.lines
    values = np.concatenate(found.values)
    assert_array_equal(dots.get_xdata(), values.real)
    assert_array_equal(dots.get_ydata(), values.imag)
    assert list(edge.get_xdata()) == [0, 0]
    around = np.asarray(circle.get_xdata()) + 1j * np.asarray(circle.get_ydata())
    np.testing.assert_allclose(np.abs(1 + 0.5 * around), 1, rtol=0, atol=1e-14)
    assert legend(axes) == ["eigenvalue", "edge of stability", "Euler, step 0.5"]


def test_the_spectrum_of_a_map_has_the_unit_circle() -> None:
    found = analysis.eigenvalues(free(), of="map")
    axes = plotting.spectrum(found)
    dots, circle = axes.lines
    assert_array_equal(dots.get_xdata(), np.concatenate(found.values).real)
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=r"a step of the flow. Received 0\.5 for the map"):
        plotting.spectrum(found, step_size=0.5)


@pytest.mark.parametrize("count", [1, 5, 36])
def test_filters_stand_side_by_side(count: int) -> None:
    net = eq.networks.dense([12, 30, 4])
    axes = plotting.filters(net, count=count, shape=(3, 4))
    (picture,) = axes.images
    drawn = np.ma.filled(picture.get_array(), np.nan)
    shown = analysis.filters(net, "W1", (3, 4))[:count, 0]
    columns = (drawn.shape[1] + 1) // 5
    for k, image in enumerate(shown):
        row, column = divmod(k, columns)
        assert_array_equal(drawn[4 * row : 4 * row + 3, 5 * column : 5 * column + 4], image)
    assert np.isfinite(drawn).sum() == shown.size
    low, high = picture.get_clim()
    assert -low == high == np.abs(shown).max()
    assert axes.get_xlabel() == f"{len(shown)} of 30 images of 3 x 4 weights"


def test_filters_without_weights_are_drawn() -> None:
    net = eq.networks.dense([4, 3, 2])
    net.parameters[:] = 0
    assert plotting.filters(net).images[0].get_clim() == (-1.0, 1.0)


def test_cosines_are_drawn_by_rule_and_block() -> None:
    found = cosines()
    axes = plotting.gradient_cosines(found)
    lines = iter(axes.lines)
    for of in found.gaps.values():
        for block in ("W1", "W2", "W3"):
            line = next(lines)
            assert_array_equal(line.get_xdata(), found.betas)
            assert_array_equal(line.get_ydata(), np.maximum(of[block], 1e-17))
    assert list(lines) == []
    assert legend(axes) == ["W1", "W2", "W3", "one_sided", "centered", "exact_limit"]
    first, second, third, fourth, *_ = axes.lines
    assert first.get_color() == fourth.get_color() != second.get_color()
    assert first.get_linestyle() == second.get_linestyle() != fourth.get_linestyle()
    assert first.get_marker() != third.get_marker()


def test_chosen_blocks_of_cosines_are_drawn() -> None:
    assert legend(plotting.gradient_cosines(cosines(), ["b1", "all parameters"]))[:2] == [
        "b1",
        "all parameters",
    ]
    with pytest.raises(ValueError, match=r"an entry of blocks is one of W1, .* Received 'W7'"):
        plotting.gradient_cosines(cosines(), ["W7"])


def test_cosines_of_an_own_energy_without_blocks_are_drawn() -> None:
    from networks import Valley

    found = analysis.gradient_cosines(Valley(), np.array([[0.3, 0.1]]), np.array([[1.0, 0.5]]), betas=[0.1])
    axes = plotting.gradient_cosines(found)
    assert len(axes.lines) == 3 * len(found.gaps["centered"])


def test_the_arrows_of_a_portrait_are_the_flow() -> None:
    found = portrait()
    axes = plotting.phase_portrait(found)
    free_arrows, nudged_arrows = axes.collections
    for arrows, flow in ((free_arrows, found.free_flow), (nudged_arrows, found.nudged_flow)):
        assert_array_equal(arrows.U, flow[..., 0].ravel())
        assert_array_equal(arrows.V, flow[..., 1].ravel())
        assert_array_equal(arrows.X, np.tile(found.first, 11))
        assert_array_equal(arrows.Y, np.repeat(found.second, 11))
        assert arrows.angles == arrows.scale_units == "xy"
    assert free_arrows.scale == nudged_arrows.scale
    spacing = np.array([np.diff(found.first)[0], np.diff(found.second)[0]])
    lengths = np.abs(np.stack([found.free_flow, found.nudged_flow])) / free_arrows.scale / spacing
    assert lengths.max() == pytest.approx(1, rel=1e-12)
    path, at_rest, nudged = axes.lines
    assert_array_equal(np.transpose(path.get_data()), found.path)
    assert_array_equal(np.ravel(at_rest.get_data()), found.free_state)
    assert_array_equal(np.ravel(nudged.get_data()), found.nudged_state)


def test_arrows_where_the_energy_is_not_defined_are_left_out() -> None:
    net = chain(1, 1, 1, activation="tanh")  # the Legendre potential of tanh is defined within -1 .. 1
    bounds = ((-2.0, 2.0), (-1.0, 1.0))
    found = analysis.phase_portrait(net, inputs(net, 1), np.zeros((1, 1)), bounds=bounds, points=5)
    arrows = plotting.phase_portrait(found).collections[0]
    outside = ~np.isfinite(found.free_flow).all(axis=-1)
    assert_array_equal(arrows.Umask, outside.ravel())
    assert outside[:, [0, 4]].all()
    assert not outside[:, 2].any()


def test_a_second_theorem_on_axes_has_a_legend_of_its_own() -> None:
    axes = plotting.theorem(equivalence(), units=3)
    assert legend(plotting.theorem(equivalence(), units=2, axes=axes))[2:] == [
        r"$\bar{S}_t$: RBP",
        r"$-\tilde{S}_t$: EqProp",
    ]


def test_units_of_the_theorem_are_named_once() -> None:
    report = equivalence()
    names = legend(plotting.theorem(report, units=4))
    assert names[4:] == [r"$\bar{S}_t$: RBP", r"$-\tilde{S}_t$: EqProp"]
    sizes = np.abs(report.error_derivatives.states[:, 0]).max(axis=0)
    slices = report.problem.model.layer_slices
    unit_names = [f"{name}[{k}]" for name, at in slices.items() for k in range(at.stop - at.start)]
    assert names[:4] == [unit_names[k] for k in np.argsort(-sizes)[:4]]
