"""The one style of all plots: colours, line styles, markers, sizes of text, grid and legend.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart. A series also has a
line style and a marker of its own, so that it can be recognised in print without colours. A function changes
the artists that it receives, and never the global settings of matplotlib.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Blue, vermillion, bluish green, reddish purple, orange, sky blue, and a dark grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Limits, arrows and zero lines; what is less important; the grid.
INK, FAINT, GRID = "#000000", "#b3b3b3", "#cccccc"
#: Map of signed numbers: its brightness rises with the number, also in print without colours.
SIGNED = "cividis"
#: Width and height of a figure in inches.
SIZE = (4.8, 3.4)
#: Sizes of text in points.
TITLE, LABEL, SMALL = 10, 9, 8
#: Width of a line, and size of a marker, in points.
WIDTH, MARKER = 1.4, 3.5


def colour(number: int) -> str:
    """Return the colour of the series with this number, from 0."""
    return COLOURS[number % len(COLOURS)]


def line(number: int) -> dict[str, Any]:
    """Return the options of a line: colour and line style of the series with this number, from 0."""
    return {"color": colour(number), "linestyle": LINES[number % len(LINES)], "linewidth": WIDTH}


def dots(number: int) -> dict[str, Any]:
    """Return the options of markers without a line, of the series with this number, from 0."""
    marker = MARKERS[number % len(MARKERS)]
    return {"color": colour(number), "linestyle": "none", "marker": marker, "markersize": MARKER}


def dotted_line(number: int) -> dict[str, Any]:
    """Return the options of a line with markers, of the series with this number, from 0."""
    return {**dots(number), **line(number)}


def limit() -> dict[str, Any]:
    """Return the options of a line that marks a limit."""
    return {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 0.9}


def dress(axes: Any, title: str, xlabel: str, ylabel: str, grid: bool = True) -> None:
    """Give axes a title and labels, a faint grid behind the data, and no frame above and on the right.

    The data have been drawn, and the scales of the axes been chosen.
    """
    axes.set_title(title, fontsize=TITLE)
    axes.set_xlabel(xlabel, fontsize=LABEL)
    axes.set_ylabel(ylabel, fontsize=LABEL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=GRID, linewidth=0.5, alpha=0.7)
    for name in "xy":
        _to_powers_of_ten(axes, name)


def _to_powers_of_ten(axes: Any, name: str) -> None:
    """Widen a logarithmic axis of less than two decades to powers of ten, and label no other numbers.

    matplotlib would write numbers such as 3 x 10^0 into each other, or none at all.
    """
    axis = getattr(axes, f"{name}axis")
    if axis.get_scale() != "log":
        return
    from matplotlib.ticker import NullFormatter

    axis.set_minor_formatter(NullFormatter())
    low, high = sorted(getattr(axes, f"get_{name}lim")())
    if 0 < low < high < 100 * low:
        axes.set(**{f"{name}lim": (10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high)))})


#: Height of the labels below the axes, and width of a character and of the line of an entry, in inches.
_BELOW, _CHARACTER, _ENTRY = 0.46, 0.06, 0.45


def legend(axes: Any, handles: Any = None, labels: Any = None) -> None:
    """Draw a legend below the labels of the axes, where it covers no data, in as many columns as fit.

    `handles` and `labels` are those of the entries, by default those of the artists that have a label.
    """
    from matplotlib.transforms import ScaledTranslation

    if handles is None:
        handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        fontsize=SMALL,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -_BELOW, axes.figure.dpi_scale_trans),
        borderaxespad=0.0,
        handlelength=2.2,
        labelspacing=0.3,
        columnspacing=1.2,
        ncols=_columns(labels, width_of(axes)),
    )


def width_of(axes: Any) -> float:
    """Return the width of axes with their labels in inches, before a layout has been computed."""
    return float(axes.bbox.width / axes.figure.dpi / 0.775)  # matplotlib's default margins take the rest


def _columns(labels: Sequence[str], width: float) -> int:
    """Return the number of columns of a legend of this width, so that its rows are filled evenly."""
    longest = max((len(re.sub(r"\\\w+|[${}_^]", "", label)) for label in labels), default=0)
    most = max(1, int(0.9 * width / (_ENTRY + _CHARACTER * longest)))
    rows = -(-len(labels) // most)
    return max(1, -(-len(labels) // max(1, rows)))
