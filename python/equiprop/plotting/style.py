"""The house style of all plots: colours, line styles, markers, sizes of text, grid and legend.

The colours are those of Okabe & Ito (2008), which colour-blind readers can tell apart. A series also has a line
style and a marker of its own, so that it can be recognised in print without colours. Each function changes the
artists that it receives, and never the global settings of matplotlib.
"""

from __future__ import annotations

from typing import Any

#: Blue, vermillion, bluish green, reddish purple, orange, sky blue, and a dark grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Limits, arrows and zero lines; what is less important; the grid.
INK, FAINT, GRID = "#000000", "#b3b3b3", "#cccccc"
#: Map of signed numbers: its brightness rises with the number, also in print without colours.
SIGNED = "cividis"
#: Width and height of a figure in inches.
SIZE = (4.8, 3.2)
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
    """Give axes a title and labels, a faint grid behind the data, and no frame above and on the right."""
    axes.set_title(title, fontsize=TITLE)
    axes.set_xlabel(xlabel, fontsize=LABEL)
    axes.set_ylabel(ylabel, fontsize=LABEL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=GRID, linewidth=0.5, alpha=0.7)


def legend(axes: Any, outside: bool = False, **options: Any) -> None:
    """Draw the legend; with `outside`, on the right of the data, because it would cover them."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0} if outside else {}
    axes.legend(fontsize=SMALL, framealpha=0.9, handlelength=2.6, **{**place, **options})
