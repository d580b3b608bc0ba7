"""Plots of networks, learning curves, relaxations and checks, drawn by matplotlib (extra ``plot``)."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from equiprop.activations import activation_name
from equiprop.checks import check_type, several, whole
from equiprop.couplings import Coupling
from equiprop.files import write_bytes
from equiprop.history import Epoch
from equiprop.models import HopfieldNetwork
from equiprop.network_table import coupling_text
from equiprop.paths import path_of
from equiprop.results import FixedPoint
from equiprop.verify.equivalence import EquivalenceReport
from equiprop.verify.orders import OrdersReport
from equiprop.verify.verdict import Picture, Verdict, pictures

#: Value that stands for 0 on a logarithmic axis.
_INVISIBLE = 1e-18


def require_matplotlib(where: str) -> Any:
    """Return matplotlib's class Figure, which needs no screen; raise ImportError if it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"[{where}] A plot needs matplotlib, which is not installed. "
            "Install it with pip install 'equiprop[plot]'."
        ) from error
    return Figure


def _axes(axes: Any, where: str, size: tuple[float, float] = (6.4, 4.0)) -> Any:
    """Return `axes`, or the axes of a new figure of this size in inches if it is None."""
    if axes is not None:
        rule = "axes are matplotlib Axes, or None"
        if isinstance(axes, type) or not all(hasattr(axes, name) for name in ("figure", "plot", "set")):
            raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(axes)}.")
        return axes
    return require_matplotlib(where)(figsize=size, layout="constrained").subplots()


def _check_report(report: Any, kind: type, where: str, source: str) -> None:
    check_type(report, kind, where, f"report is a result of equiprop.verify.{source}")


def _epoch(value: Any, where: str, name: str) -> Epoch:
    check_type(value, Epoch, where, f"{name} is an Epoch, which Trainer.fit returns")
    epoch: Epoch = value
    return epoch


def graph(net: HopfieldNetwork, axes: Any = None) -> Any:
    """Draw the layers of a network as boxes and its couplings as arrows; return the matplotlib axes.

    A box has the name, the shape and the activation of its layer; layers that one block update relaxes have
    one colour. An arrow has the block of weights, the coupling and the shape of the weights. Couplings of
    free layers act in both directions; the input is clamped, and no coupling acts on it.

    Parameters
    ----------
    net : HopfieldNetwork
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> axes = eq.plotting.graph(eq.networks.dense([784, 512, 10]))
    >>> print([text.get_text() for text in axes.texts if "W1" in text.get_text()][0])
    W1: dense
    784x512
    """
    check_type(net, HopfieldNetwork, "graph", "net is a HopfieldNetwork")
    count = len(net.layers)
    labels = [_label(net, i) for i in range(len(net.couplings))]
    rises = list(_rises(net.couplings, labels))
    height = max(rise + (0.5 if rise else 0.36) for rise in rises)
    axes = _axes(axes, "graph", (_SPACING * (count - 0.4), _SPACING * (height + 0.2)))
    color_of = {layer: color for color, members in enumerate(net.core_network.colors) for layer in members}
    for k, layer in enumerate(net.layers):
        about = activation_name(layer.activation) if k else "clamped"
        frame = {"boxstyle": "round", "facecolor": f"C{color_of[k - 1]}" if k else "0.6", "alpha": 0.3}
        text = f"{layer.name}\n{layer.size}\n{about}"
        axes.text(k, 0, text, ha="center", va="center", fontsize=7, bbox={**frame, "edgecolor": "0.3"})
    for coupling, label, rise in zip(net.couplings, labels, rises, strict=True):
        _arrow(axes, coupling, label, rise)
    axes.set(xlim=(-0.3, count - 0.7), ylim=(-0.2, height), aspect="equal")
    axes.set_axis_off()
    return axes


#: Inches between two layers of a graph, and half the width and the height of a box in this unit.
_SPACING, _HALF_WIDTH, _HALF_HEIGHT = 2.0, 0.22, 0.12
#: Width of a character, and height of the texts of couplings above each other, in this unit.
_CHARACTER, _STOREY = 0.025, 0.3


def _label(net: HopfieldNetwork, number: int) -> str:
    """Return the text of a coupling: its block, kind, geometry, and the shape of its weights."""
    weights = net.blocks.get(f"W{number + 1}")
    kind, *options = coupling_text(net.couplings[number]).split(", ")
    lines = [kind if weights is None else f"W{number + 1}: {kind}"]
    lines += [", ".join(options[k : k + 2]) for k in range(0, len(options), 2)]
    lines += [] if weights is None else ["x".join(map(str, weights.shape))]
    return "\n".join(lines)


def _rises(couplings: Sequence[Coupling], labels: Sequence[str]) -> Iterator[float]:
    """Yield how high the arrow of each coupling rises: over skipped layers, and over earlier texts."""
    taken: list[tuple[int, float, float]] = []  # storey, middle and width of each text
    for coupling, label in zip(couplings, labels, strict=True):
        distance = abs(coupling.target - coupling.source)
        storey = distance - 1 if distance else 1
        middle = (coupling.source + coupling.target) / 2
        width = _CHARACTER * max(map(len, label.splitlines()))
        while any(storey == s and abs(middle - m) < (width + w) / 2 for s, m, w in taken):
            storey += 1
        taken.append((storey, middle, width))
        yield _STOREY * storey


def _arrow(axes: Any, coupling: Coupling, label: str, rise: float) -> None:
    """Draw the arrow of a coupling and its text. The input, which is clamped, is at its tail."""
    source, target = coupling.source, coupling.target
    if target == 0:
        source, target = target, source
    side = _HALF_WIDTH if target >= source else -_HALF_WIDTH
    start, end, y = source + side, target - side, 0.0 if rise == 0 else _HALF_HEIGHT
    if rise:
        start, end = source + side / 2, target - side / 2
    style = {
        "arrowstyle": "->" if 0 in (source, target) else "<->",
        "connectionstyle": f"arc3,rad={-2 * rise / (end - start)}",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", (end, y), (start, y), arrowprops=style)
    place = ((start + end) / 2, y + rise + 0.03)
    axes.text(*place, label, ha="center", va="bottom", fontsize=6, linespacing=1.1)


def learning_curve(history: Sequence[Epoch], axes: Any = None) -> Any:
    """Draw training and validation error against epochs; return the matplotlib axes.

    Parameters
    ----------
    history : sequence of Epoch
        The result of `Trainer.fit`.
    axes : matplotlib Axes, optional
    """
    several(history, "learning_curve", "history", _epoch)
    axes = _axes(axes, "learning_curve")
    epochs = [record.epoch for record in history]
    axes.plot(epochs, [100 * record.train_error for record in history], "o-", label="training")
    if all(record.validation_error is not None for record in history):
        axes.plot(
            epochs, [100 * (record.validation_error or 0) for record in history], "s-", label="held out"
        )
    axes.set(xlabel="epoch", ylabel="error (%)", title="Learning curve", ylim=(0, None))
    axes.legend()
    return axes


def relaxation(free: FixedPoint, axes: Any = None) -> Any:
    """Draw the residual of every sample against the iteration; return the matplotlib axes.

    Parameters
    ----------
    free : FixedPoint
        The result of ``free_phase(..., trace=True)``.
    axes : matplotlib Axes, optional
    """
    check_type(free, FixedPoint, "relaxation", "free is a result of free_phase(..., trace=True)")
    if free.residual_trace is None:
        raise ValueError(
            "[relaxation] The free phase has a residual trace. Received one without: call "
            "free_phase(..., trace=True)."
        )
    axes = _axes(axes, "relaxation")
    trace = np.maximum(free.residual_trace, np.finfo(np.float64).tiny)
    axes.semilogy(trace, color="tab:blue", alpha=min(1.0, 4 / trace.shape[1]), linewidth=0.8)
    axes.semilogy(trace.max(axis=1), color="tab:red", label="largest")
    axes.set(xlabel="iteration", ylabel="residual", title=f"Relaxation by {type(free.solver).__name__}")
    axes.legend()
    return axes


def theorem(report: EquivalenceReport, units: int = 6, axes: Any = None) -> Any:
    """Draw error derivatives as lines and minus the temporal derivatives as dots; return the axes.

    They are equal at every step of the second phase (Scellier & Bengio 2019, eq. 8).

    Parameters
    ----------
    report : EquivalenceReport
        The result of `equiprop.verify.equivalence`.
    units : int
        Number of units of the first sample that are drawn: those with the largest error derivatives.
    axes : matplotlib Axes, optional
    """
    _check_report(report, EquivalenceReport, "theorem", "equivalence")
    units = whole(units, "theorem", "units", 1)
    axes = _axes(axes, "theorem")
    chosen = report.most_active(units)
    error = report.error_derivatives.states[:, 0, chosen] * report.free_units[0, report.traced.units[chosen]]
    temporal = report.temporal_derivatives.states[:, 0, chosen]
    sizes = np.abs(error).max(axis=1)
    steps = 2 + np.flatnonzero(sizes >= 0.01 * sizes.max()).max(initial=0)  # until they fall to 1 %
    times = np.arange(len(error))[:steps] * report.step_size
    every = max(1, steps // 25)
    for k in range(len(chosen)):
        axes.plot(times, error[:steps, k], color=f"C{k}")
        axes.plot(times[::every], -temporal[:steps:every, k], "o", color=f"C{k}", markersize=3.5)
    axes.plot([], [], "k-", label=r"error derivative $\bar{S}_t$ (RBP)")
    axes.plot([], [], "ko", markersize=3.5, label=r"$-$ temporal derivative $-\tilde{S}_t$ (EqProp)")
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set(
        xlabel="time in the second phase",
        ylabel="derivative",
        title=f"EqProp and RBP at every step (largest difference {report.max_relative_error:.1e})",
    )
    axes.legend()
    return axes


def step_errors(report: EquivalenceReport, axes: Any = None) -> Any:
    """Draw the largest difference of each layer and of the parameters against time; return the axes.

    Parameters
    ----------
    report : EquivalenceReport
        The result of `equiprop.verify.equivalence`.
    axes : matplotlib Axes, optional
    """
    _check_report(report, EquivalenceReport, "step_errors", "equivalence")
    axes = _axes(axes, "step_errors")
    times = np.arange(len(report.state_errors)) * report.step_size
    for name, errors in {**report.layer_errors, "parameters": report.parameter_errors}.items():
        axes.semilogy(times, np.maximum(errors, _INVISIBLE), label=name)
    axes.axhline(report.tolerance, color="0.7", linestyle="--", label="tolerance")
    axes.set(
        xlabel="time in the second phase", ylabel="relative difference", title="Difference at every step"
    )
    axes.legend(fontsize="small")
    return axes


def orders(report: OrdersReport, axes: Any = None) -> Any:
    """Draw the error of each nudging against beta, with its fitted order; return the axes.

    Parameters
    ----------
    report : OrdersReport
        The result of `equiprop.verify.orders`.
    axes : matplotlib Axes, optional
    """
    _check_report(report, OrdersReport, "orders", "orders")
    axes = _axes(axes, "orders")
    for k, (name, errors) in enumerate(report.errors.items()):
        shown = np.isfinite(errors) & (errors > 0)
        order = f", order {report.slopes[name]:.2f}" if name in report.slopes else ""
        axes.loglog(
            report.betas[shown], errors[shown], "o-", color=f"C{k}", markersize=3.5, label=name + order
        )
    if np.isfinite(report.radius):
        axes.axvline(report.radius, color="0.7", linestyle="--", label=f"radius {report.radius:.2g}")
    axes.set(xlabel=r"$\beta$", ylabel="relative error of the gradient", title="Bias of a finite nudging")
    axes.set_ylim(top=1e6)  # room for the legend
    axes.legend(fontsize="small", loc="upper left", ncols=2)
    return axes


def margins(verdict: Verdict, axes: Any = None) -> Any:
    """Draw every value of a check that has a limit, with the limit, on a logarithmic axis; return the axes.

    Parameters
    ----------
    verdict : Verdict
        The result of a function of `equiprop.verify`.
    axes : matplotlib Axes, optional
    """
    check_type(verdict, Verdict, "margins", "verdict is a result of a function of equiprop.verify")
    axes = _axes(axes, "margins")
    rows = [row for row in verdict.rows if row.judged][::-1]
    for k, row in enumerate(rows):
        value = max(abs(row.value), _INVISIBLE) if np.isfinite(row.value) else np.nan
        axes.plot([value], [k], "o", color="C0" if row.passed else "C3")
        limits = [abs(limit) for limit in (row.low, row.high) if limit]
        axes.plot(limits, [k] * len(limits), "|", color="k", markersize=12)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize="small")
    axes.set(
        xlabel="value (dot) and limit (bar)",
        title=f"{verdict.claim}: {'holds' if verdict.passed else 'fails'}",
    )
    return axes


@pictures.register
def _(verdict: Verdict) -> Iterator[Picture]:
    caption = "A dot is a figure of the claim, and the bars are its limits: no dot may be beyond its bar."
    yield Picture(verdict.claim, lambda axes=None: margins(verdict, axes), caption)


@pictures.register
def _(report: EquivalenceReport) -> Iterator[Picture]:
    yield Picture(
        "EqProp and RBP at every step",
        lambda axes=None, units=6: theorem(report, units, axes),
        "The error derivatives of RBP (lines) and minus the temporal derivatives of EqProp (dots) for the "
        "most active units of the first sample: every dot has to lie on its line. The largest difference of "
        f"all units, samples and parameters is {report.max_relative_error:.1e} of the largest derivative.",
    )
    yield Picture(
        "Difference at every step",
        lambda axes=None: step_errors(report, axes),
        "The largest relative difference in each layer and in all parameters: every curve has to stay below "
        f"the dashed line, the tolerance of {report.tolerance:g}. Values near 1e-16 are rounding errors.",
    )


@pictures.register
def _(report: OrdersReport) -> Iterator[Picture]:
    yield Picture(
        "Bias of a finite nudging",
        lambda axes=None: orders(report, axes),
        "The error of the gradient of each nudging against beta: the lines have to be straight, with slope 1 "
        "for one-sided and 2 for centered nudging, until they reach rounding errors. Beyond the radius of "
        "convergence, the dashed line, there is no expansion in beta.",
    )


def save(axes: Any, path: Any) -> None:
    """Write the figure of `axes` to a file; the suffix of `path` selects the format, such as .png or .svg.

    An SVG file keeps text as text, and equal figures give equal files. An existing file is replaced only when
    the new one is complete on the disk.
    """
    from matplotlib import rc_context

    if axes is None or isinstance(axes, type) or not hasattr(getattr(axes, "figure", None), "savefig"):
        raise TypeError(f"[plotting.save] axes are matplotlib Axes. Received {reprlib.repr(axes)}.")
    path, picture = path_of(path, "plotting.save"), BytesIO()
    kind = path.suffix[1:] or "png"
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "equiprop"}):
        axes.figure.savefig(picture, dpi=150, format=kind, metadata=metadata)
    write_bytes(path, picture.getvalue(), "plotting.save")
