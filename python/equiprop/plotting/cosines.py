"""The plot of the angle between gradients, by rule, beta and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equiprop.analysis.cosines import GradientCosines
from equiprop.checks import check_type, several
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of

#: Value that stands for equal directions on a logarithmic axis: the rounding error of a cosine.
_EQUAL = 1e-17


def gradient_cosines(cosines: GradientCosines, blocks: Sequence[str] | None = None, axes: Any = None) -> Any:
    r"""Draw 1 - cosine of the gradients of EqProp and RBP against beta, by rule and block; return the axes.

    .. math:: 1 - \cos(\hat g, g) = O(\beta^{2 n})

    for a rule whose bias is of order n. A block of parameters has a colour and a marker, a rule has a kind of
    line. 1e-17 stands for smaller values, which are rounding errors.

    Parameters
    ----------
    cosines : GradientCosines
        The result of `equiprop.analysis.gradient_cosines`.
    blocks : sequence of str, optional
        Blocks that are drawn, such as "W1"; by default those of weights, or all if there are none.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> found = eq.analysis.gradient_cosines(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=[0.1, 0.01])
    >>> eq.plotting.gradient_cosines(found, ["W1"]).get_ylabel()
    '$1 - \\cos(\\hat{g}, g)$'
    """
    where = "gradient_cosines"
    rule = "cosines is a result of equiprop.analysis.gradient_cosines"
    check_type(cosines, GradientCosines, where, rule)
    known = list(next(iter(cosines.gaps.values())))
    chosen = _weights(known) if blocks is None else several(blocks, where, "blocks", _known_by(known))
    axes = axes_of(axes, where)
    for n, of in enumerate(cosines.gaps.values()):
        for k, block in enumerate(chosen):
            look = {**style.dotted_line(k), "linestyle": style.LINES[n % len(style.LINES)]}
            axes.loglog(cosines.betas, np.maximum(of[block], _EQUAL), **look)
    ylabel = r"$1 - \cos(\hat{g}, g)$"
    style.dress(axes, "Direction of gradients of EqProp", r"nudging factor $\beta$", ylabel)
    _legend(axes, list(cosines.gaps), chosen)
    return axes


def _legend(axes: Any, rules: Sequence[str], blocks: Sequence[str]) -> None:
    """Draw a legend of blocks, by colour and marker, and of rules, by kind of line."""
    from matplotlib.lines import Line2D

    lines = [{**style.line(n), "color": style.INK} for n in range(len(rules))]
    handles = [Line2D([], [], **look) for look in (*map(style.dots, range(len(blocks))), *lines)]
    style.legend(axes, handles=handles, labels=[*blocks, *rules])


def _weights(known: Sequence[str]) -> Sequence[str]:
    """Return the names of blocks of weights, or all names if there is none."""
    return [name for name in known if name[0] in "WB"] or known


def _known_by(known: Sequence[str]) -> Any:
    def checked(value: Any, where: str, name: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"[{where}] {name} is one of {', '.join(known)}. Received {value!r}.")
        return value

    return checked
