"""The plot of the spectrum of a Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.analysis.eigenvalues import Eigenvalues
from equiprop.checks import check_type, of_normal_size
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of

_LABELS = {
    "flow": (r"Spectrum of $A = d\mu/ds$", r"\lambda", "edge of stability"),
    "map": (r"Spectrum of $dT/ds$", r"\lambda", "unit circle"),
}


def spectrum(eigenvalues: Eigenvalues, step_size: float | None = None, axes: Any = None) -> Any:
    r"""Draw the eigenvalues of a Jacobian in the complex plane, with the edge of stability; return the axes.

    A fixed point of the flow is stable if every eigenvalue is on the left of the imaginary axis, and one of
    the fixed-point map if every eigenvalue is in the unit circle. Euler steps h are stable in the circle

    .. math:: |1 + h \lambda| \le 1

    Parameters
    ----------
    eigenvalues : Eigenvalues
        The result of `equiprop.analysis.eigenvalues`.
    step_size : float, optional
        Step h of `Euler`, whose circle is drawn; only for the flow.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> found = eq.analysis.eigenvalues(eq.free_phase(net, [[0.5, 1.0]]))
    >>> eq.plotting.spectrum(found, step_size=0.3).get_xlabel()
    'real part of $\\lambda$'
    """
    where = "spectrum"
    check_type(eigenvalues, Eigenvalues, where, "eigenvalues is a result of equiprop.analysis.eigenvalues")
    h = None if step_size is None else of_normal_size(step_size, where, "step_size")
    if h is not None and eigenvalues.of != "flow":
        raise ValueError(f"[{where}] step_size is a step of the flow. Received {h:g} for the map.")
    axes = axes_of(axes, where)
    values: NDArray[np.complex128] = np.concatenate(eigenvalues.values)
    axes.plot(values.real, values.imag, **{**style.dots(0), "alpha": 0.7}, label="eigenvalue", zorder=3)
    title, symbol, edge = _LABELS[eigenvalues.of]
    if eigenvalues.of == "flow":
        axes.axvline(0, **style.limit(), label=edge)
    else:
        _circle(axes, 0.0, 1.0, edge, 0)
    if h is not None:
        _circle(axes, -1 / h, 1 / h, f"Euler, step {h:g}", 1)
    style.dress(axes, title, f"real part of ${symbol}$", f"imaginary part of ${symbol}$")
    axes.margins(0.08)
    style.legend(axes)
    return axes


def _circle(axes: Any, centre: float, radius: float, label: str, number: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 361)
    line = style.limit() if number == 0 else style.line(number)
    axes.plot(centre + radius * np.cos(angle), radius * np.sin(angle), **line, label=label)
    axes.set_aspect("equal", adjustable="datalim")
