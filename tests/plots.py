"""A call of every plot, and what a reader sees of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import equiprop as eq
import numpy as np
from equiprop import analysis, plotting
from networks import chain, inputs, labels


def history(*validation: float | None) -> list[eq.Epoch]:
    return [
        eq.Epoch(k, 0.5 / k, error, 1.0, 2.0 + k, 3.0, 1e-4, 0, 0.1)
        for k, error in enumerate(validation, start=1)
    ]


@cache
def free() -> eq.FixedPoint:
    net = chain()
    return eq.free_phase(net, inputs(net), trace=True, record=True)


@cache
def equivalence() -> eq.verify.EquivalenceReport:
    net = chain(4, 8, 6, 3)
    return eq.verify.equivalence(net, inputs(net), labels(net), steps=100, step_size=0.2)


@cache
def orders() -> eq.verify.OrdersReport:
    net = chain()
    return eq.verify.orders(net, inputs(net), labels(net), points=(4, 8))


@cache
def cosines() -> analysis.GradientCosines:
    net = chain(4, 8, 6, 3)
    return analysis.gradient_cosines(net, inputs(net), labels(net))


@cache
def portrait() -> analysis.PhasePortrait:
    net = chain(1, 1, 1, activation="tanh", potential="quadratic")
    return analysis.phase_portrait(net, np.array([[0.7]]), np.array([[0.9]]), 0.5)


#: A function for each plot, which draws it on axes.
PLOTS: dict[str, Callable[[Any], Any]] = {
    "energy": lambda axes: plotting.energy(free(), axes),
    "filters": lambda axes: plotting.filters(eq.networks.convolutional28(), axes=axes),
    "gradient_cosines": lambda axes: plotting.gradient_cosines(cosines(), axes=axes),
    "graph": lambda axes: plotting.graph(eq.networks.dense([784, 512, 10]), axes),
    "learning_curve": lambda axes: plotting.learning_curve(
        {"EqProp": history(0.4, 0.3), "RBP": history(0.4, 0.2)}, axes
    ),
    "margins": lambda axes: plotting.margins(orders(), axes),
    "orders": lambda axes: plotting.orders(orders(), axes),
    "phase_portrait": lambda axes: plotting.phase_portrait(portrait(), axes),
    "relaxation": lambda axes: plotting.relaxation(free(), axes),
    "spectrum": lambda axes: plotting.spectrum(analysis.eigenvalues(free()), 0.5, axes),
    "step_errors": lambda axes: plotting.step_errors(equivalence(), axes),
    "sweep_histogram": lambda axes: plotting.sweep_histogram(free(), axes),
    "sweeps": lambda axes: plotting.sweeps(history(0.4, 0.3), axes),
    "theorem": lambda axes: plotting.theorem(equivalence(), axes=axes),
}


@cache
def drawn(name: str, inches: float | None) -> Any:
    """Return the axes of a plot, on a figure of this width or of its own size, after it has been drawn."""
    from matplotlib.figure import Figure

    axes = (
        None if inches is None else Figure(figsize=(inches, 0.85 * inches), layout="constrained").subplots()
    )
    axes = PLOTS[name](axes)
    axes.figure.draw_without_rendering()
    return axes


def texts(axes: Any) -> list[Any]:
    """All texts of a drawn plot that are not empty: title, labels, ticks within the limits, legend, notes."""
    from matplotlib.text import Text

    found = []
    for part in axes.figure.axes:
        ticks = [tick for axis in (part.xaxis, part.yaxis) for tick in _ticks(axis)]
        labels = {id(label) for tick in ticks for label in (tick.label1, tick.label2)}
        others = [text for text in part.findobj(Text) if id(text) not in labels]
        found += others if part.axison else [text for text in others if text in part.texts]
        found += [tick.label1 for tick in ticks if part.axison and tick.within]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def _ticks(axis: Any) -> list[Any]:
    """All ticks of an axis; matplotlib draws those within the limits."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    for tick in ticks:
        tick.within = low <= tick.get_loc() <= high
    return ticks


def overlapping(axes: Any) -> Iterator[tuple[str, str]]:
    """Yield the pairs of texts of a plot that share more than a pixel."""
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in texts(axes)]
    for (first, a), (second, b) in combinations(boxes, 2):
        if a.overlaps(b):
            yield first, second


def cut_off(axes: Any) -> list[str]:
    """Return the texts of a plot that reach beyond its figure."""
    whole = axes.figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(axes)]
    return [
        text
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.width + 1 or box.y1 > whole.height + 1
    ]


#: Two signs of minus one after another, whichever characters they are.
DOUBLE_MINUS = re.compile(r"[-−–](\$|\s)*[-−–]")
