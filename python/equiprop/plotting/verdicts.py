"""Plots of checks: the bias of nudgings, and figures with their limits; the pictures of every report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from equiprop.checks import check_type
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of
from equiprop.plotting.theorem import INVISIBLE, step_errors, theorem
from equiprop.verify.equivalence import EquivalenceReport
from equiprop.verify.orders import OrdersReport
from equiprop.verify.verdict import Picture, Verdict, pictures


def orders(report: OrdersReport, axes: Any = None) -> Any:
    r"""Draw the error of each nudging against beta, with its fitted order; return the axes.

    .. math:: \max_i |\hat g_i - g_i| / \max_i |g_i| = O(\beta^n), \quad g = dJ/d\theta

    Parameters
    ----------
    report : OrdersReport
        The result of `equiprop.verify.orders`.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], dtype="float64")
    >>> report = eq.verify.orders(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=[1e-4, 5e-5])
    >>> print(eq.plotting.orders(report).lines[0].get_label())
    one_sided, order 1.00
    """
    check_type(report, OrdersReport, "orders", "report is a result of equiprop.verify.orders")
    axes = axes_of(axes, "orders")
    for k, (name, errors) in enumerate(report.errors.items()):
        shown = np.isfinite(errors) & (errors > 0)
        order = f", order {report.slopes[name]:.2f}" if name in report.slopes else ""
        axes.loglog(report.betas[shown], errors[shown], **style.dotted_line(k), label=name + order)
    if np.isfinite(report.radius):
        axes.axvline(report.radius, **style.limit(), label=f"radius {report.radius:.2g}")
    style.dress(axes, "Bias of a finite nudging", r"nudging factor $\beta$", "relative error")
    style.legend(axes)
    return axes


def margins(verdict: Verdict, axes: Any = None) -> Any:
    """Draw every value of a check that has a limit, with the limit, on a logarithmic axis; return the axes.

    A dot is a value within its limits, a cross one outside of them.

    Parameters
    ----------
    verdict : Verdict
        The result of a function of `equiprop.verify`.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> verdict = eq.verify.limit(net, [[0.1, 0.5, 0.9, 0.3]], [2])
    >>> eq.plotting.margins(verdict).get_title()
    'limit: holds'
    """
    check_type(verdict, Verdict, "margins", "verdict is a result of a function of equiprop.verify")
    axes = axes_of(axes, "margins")
    rows = [row for row in verdict.rows if row.judged][::-1]
    for k, row in enumerate(rows):
        value = max(abs(row.value), INVISIBLE) if np.isfinite(row.value) else np.nan
        mark = {"marker": "o", "color": style.colour(0)} if row.passed else _FAILED
        axes.plot([value], [k], linestyle="none", **mark)
        limits = [abs(limit) for limit in (row.low, row.high) if limit]
        axes.plot(limits, [k] * len(limits), "|", color=style.INK, markersize=12)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    title = f"{verdict.claim}: {'holds' if verdict.passed else 'fails'}"
    style.dress(axes, title, "value (dot) and limit (bar)", "")
    return axes


#: The mark of a value outside of its limits.
_FAILED = {"marker": "X", "color": style.colour(1), "markersize": 8}


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
