"""Plots of a relaxation: residual and energy at every iteration, and the iterations that samples take."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.analysis.energies import energies
from equiprop.checks import check_type
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of
from equiprop.results import FixedPoint, Outcome


def relaxation(free: FixedPoint, axes: Any = None) -> Any:
    r"""Draw the residual of every sample against the iteration; return the matplotlib axes.

    .. math:: r_t = \max_i |T(s_t)_i - s_{t, i}|

    T is the fixed-point map. A straight line is convergence at a linear rate.

    Parameters
    ----------
    free : FixedPoint
        The result of ``free_phase(..., trace=True)``.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]], trace=True)
    >>> eq.plotting.relaxation(free).get_yscale()
    'log'
    """
    check_type(free, FixedPoint, "relaxation", "free is a result of free_phase(..., trace=True)")
    if free.residual_trace is None:
        raise ValueError(
            "[relaxation] The free phase has a residual trace. Received one without: call "
            "free_phase(..., trace=True)."
        )
    axes = axes_of(axes, "relaxation")
    trace = np.maximum(free.residual_trace, np.finfo(np.float64).tiny)
    _traces(axes, trace)
    axes.semilogy(trace.max(axis=1), **style.line(1), label="largest")
    title = f"Relaxation by {type(free.solver).__name__}"
    style.dress(axes, title, "iteration $t$", r"residual $\max\,|T(s_t) - s_t|$")
    _legend(axes)
    return axes


def energy(free: FixedPoint, axes: Any = None) -> Any:
    r"""Draw how far the energy of every sample is above its last value; return the matplotlib axes.

    .. math:: E(s_t) - E(s_T), \quad t = 0, \dots, T - 1

    On a logarithmic axis a line that falls to the end is an energy that never rises. Differences below
    10 eps |E| are rounding errors and are not drawn.

    Parameters
    ----------
    free : FixedPoint
        The result of ``free_phase(..., record=True)`` of a model that has an energy.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]], record=True)
    >>> eq.plotting.energy(free).get_xlabel()
    'iteration $t$'
    """
    values = energies(free)
    axes = axes_of(axes, "energy")
    excess = values - values[-1]
    rounding = 10 * np.finfo(free.state.dtype).eps * np.abs(values[-1])
    _traces(axes, np.where(excess > rounding, excess, np.nan))
    axes.set_yscale("log")
    style.dress(
        axes,
        f"Energy by {type(free.solver).__name__}",
        "iteration $t$",
        "energy $E(s_t) - E(s_T)$",
    )
    _legend(axes)
    return axes


def sweep_histogram(outcome: Outcome, axes: Any = None) -> Any:
    """Draw how many samples took how many iterations in a phase; return the matplotlib axes.

    Parameters
    ----------
    outcome : FixedPoint or Gradient
        The result of a free phase or of a second phase.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0], [0.2, 0.1], [0.0, 0.0]])
    >>> axes = eq.plotting.sweep_histogram(free)
    >>> int(sum(bar.get_height() for bar in axes.patches))
    3
    """
    check_type(outcome, Outcome, "sweep_histogram", "outcome is the result of a phase")
    axes = axes_of(axes, "sweep_histogram")
    low, high = int(outcome.iterations.min()), int(outcome.iterations.max())
    step = -(-(high - low + 1) // 60)  # at most 60 bars, whose edges lie between whole numbers
    edges = np.arange(low, high + step + 1, step) - 0.5
    axes.hist(outcome.iterations, bins=edges, color=style.colour(0), edgecolor="white", linewidth=0.6)
    mean = float(outcome.iterations.mean())
    axes.axvline(mean, **style.limit(), label=f"mean {mean:.1f}")
    style.dress(axes, "Sweeps of the samples", "sweeps (iterations) of a sample", "number of samples")
    axes.set_xlim(edges[0] - 2, edges[-1] + 2)  # also if all samples take one number of iterations
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    style.legend(axes)
    return axes


def _traces(axes: Any, values: Any) -> None:
    """Draw a faint line for each sample, (iterations, samples)."""
    faint = {**style.line(0), "alpha": min(1.0, max(0.15, 4 / values.shape[1])), "linewidth": 0.8}
    axes.plot(values, **faint)


def _legend(axes: Any) -> None:
    """Draw a legend with one entry for all samples, whose line is not faint, and those of other lines."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    sample = Line2D([], [], **style.line(0))
    style.legend(axes, handles=[sample, *handles], labels=["a sample", *labels])
