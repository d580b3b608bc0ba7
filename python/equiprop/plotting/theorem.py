"""Plots of the theorem that both second phases are equal at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.checks import check_type, whole
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of
from equiprop.verify.equivalence import EquivalenceReport
from equiprop.verify.model_parts import unit_name

#: Value that stands for 0 on a logarithmic axis.
INVISIBLE = 1e-18
_RULE = "report is a result of equiprop.verify.equivalence"
_TIME = "time $t$ (dimensionless)"


def theorem(report: EquivalenceReport, units: int = 6, axes: Any = None) -> Any:
    r"""Draw error derivatives as lines and minus the temporal derivatives as markers; return the axes.

    .. math:: -\tilde S_t = D \bar S_t

    Every marker lies on the line of its unit (Scellier & Bengio 2019, eq. 8). The legend names the units.

    Parameters
    ----------
    report : EquivalenceReport
        The result of `equiprop.verify.equivalence`.
    units : int
        Number of units of the first sample that are drawn: those with the largest error derivatives.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=100)
    >>> axes = eq.plotting.theorem(report, units=2)
    >>> [text.get_text() for text in axes.get_legend().get_texts()][:2]
    ['output[0]', 'output[2]']
    """
    check_type(report, EquivalenceReport, "theorem", _RULE)
    units = whole(units, "theorem", "units", 1)
    axes = axes_of(axes, "theorem")
    chosen = report.most_active(units)
    error = report.error_derivatives.states[:, 0, chosen] * report.free_units[0, report.traced.units[chosen]]
    temporal = report.temporal_derivatives.states[:, 0, chosen]
    steps = _visible_steps(error)
    times = np.arange(len(error))[:steps] * report.step_size
    every = max(1, steps // 25)
    names = [unit_name(report.problem.model, int(unit)) for unit in report.traced.units[chosen]]
    handles: list[Any] = []
    for k in range(len(names)):
        (line,) = axes.plot(times, error[:steps, k], **{**style.line(k), "linestyle": "-"})
        (dots,) = axes.plot(times[::every], -temporal[:steps:every, k], **style.dots(k))
        handles.append((line, dots))
    handles += axes.plot([], [], "-", color=style.INK)
    handles += axes.plot([], [], "o", color=style.INK, markersize=style.MARKER)
    axes.axhline(0, color=style.FAINT, linewidth=0.8, zorder=0)
    title = f"EqProp and RBP differ by {report.max_relative_error:.1e}"
    style.dress(axes, title, _TIME, "derivative of the cost")
    style.legend(axes, handles, [*names, r"$\bar{S}_t$: RBP", r"$-\tilde{S}_t$: EqProp"])
    return axes


def _visible_steps(error: Any) -> int:
    """Return the number of steps until all derivatives have fallen to 1 % of the largest one."""
    sizes = np.abs(error).max(axis=1)
    return int(2 + np.flatnonzero(sizes >= 0.01 * sizes.max()).max(initial=0))


def step_errors(report: EquivalenceReport, axes: Any = None) -> Any:
    """Draw the largest difference of each layer and of the parameters against time; return the axes.

    Differences are relative to the largest entry of their process; 1e-18 stands for equal numbers.

    Parameters
    ----------
    report : EquivalenceReport
        The result of `equiprop.verify.equivalence`.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=100)
    >>> [line.get_label() for line in eq.plotting.step_errors(report).lines]
    ['hidden1', 'output', 'parameters', 'tolerance']
    """
    check_type(report, EquivalenceReport, "step_errors", _RULE)
    axes = axes_of(axes, "step_errors")
    times = np.arange(len(report.state_errors)) * report.step_size
    errors_of = {**report.layer_errors, "parameters": report.parameter_errors}
    for k, (name, errors) in enumerate(errors_of.items()):
        axes.semilogy(times, np.maximum(errors, INVISIBLE), **style.line(k), label=name)
    axes.axhline(report.tolerance, **style.limit(), label="tolerance")
    style.dress(axes, "Difference of EqProp and RBP", _TIME, "relative difference")
    style.legend(axes)
    return axes
