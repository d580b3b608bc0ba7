"""The plot of the phase portrait of two units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.analysis.portrait import PhasePortrait
from equiprop.checks import check_type
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of


def phase_portrait(portrait: PhasePortrait, axes: Any = None) -> Any:
    r"""Draw the free and the nudged flow of two units, both fixed points, and the nudged phase; return axes.

    .. math:: ds/dt = -dE/ds \quad \text{and} \quad ds/dt = -dE/ds - \beta \, dC/ds

    An arrow begins at its state. The longest arrow is as long as the distance of two grid points; both flows
    have one scale.

    Parameters
    ----------
    portrait : PhasePortrait
        The result of `equiprop.analysis.phase_portrait`.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([1, 1, 1], activation="tanh", potential="quadratic", dtype="float64")
    >>> portrait = eq.analysis.phase_portrait(net, [[1.0]], [[0.5]], beta=1.0)
    >>> axes = eq.plotting.phase_portrait(portrait)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('state of hidden1[0]', 'state of output[0]')
    """
    rule = "portrait is a result of equiprop.analysis.phase_portrait"
    check_type(portrait, PhasePortrait, "phase_portrait", rule)
    axes = axes_of(axes, "phase_portrait")
    scale = _scale(portrait)
    _arrows(axes, portrait, portrait.free_flow, scale, style.colour(6), r"free flow $-dE/ds$")
    _arrows(axes, portrait, portrait.nudged_flow, scale, style.colour(5), r"nudged flow $-dF/ds$")
    path = {**style.line(1), "linestyle": "-", "zorder": 3}
    axes.plot(*portrait.path.T, **path, label="nudged phase")
    places = ((portrait.free_state, "o", "$s^*$, free"), (portrait.nudged_state, "s", r"$s^\beta$, nudged"))
    for state, marker, label in places:
        look = {"markersize": 6, "markeredgecolor": style.INK, "linestyle": "none", "zorder": 4}
        face = "white" if marker == "o" else style.colour(1)
        axes.plot(*state[:, None], marker, markerfacecolor=face, **look, label=label)
    title = rf"Flow of two units, $\beta = {portrait.beta:g}$"
    first, second = (f"state of {name}" for name in portrait.units)
    style.dress(axes, title, first, second, grid=False)
    axes.set(xlim=_wider(portrait.first), ylim=_wider(portrait.second))
    style.legend(axes)
    return axes


def _scale(portrait: PhasePortrait) -> float:
    """Return the number by which quiver divides arrows, in units of velocity for a unit of the axes."""
    flows = np.stack([portrait.free_flow, portrait.nudged_flow])
    spacing = np.array([np.diff(portrait.first)[0], np.diff(portrait.second)[0]])
    lengths = np.abs(flows / spacing)
    largest = float(lengths[np.isfinite(lengths)].max(initial=0.0))
    return largest or 1.0


def _arrows(
    axes: Any, portrait: PhasePortrait, flow: NDArray[np.float64], scale: float, colour: str, label: str
) -> None:
    shown = np.ma.masked_invalid(flow)
    axes.quiver(
        portrait.first,
        portrait.second,
        shown[..., 0],
        shown[..., 1],
        angles="xy",
        scale_units="xy",
        scale=scale,
        color=colour,
        width=0.004,
        label=label,
    )


def _wider(grid: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits one grid point beyond both ends, so that arrows are not cut off."""
    spacing = grid[1] - grid[0]
    return float(grid[0] - spacing), float(grid[-1] + spacing)
