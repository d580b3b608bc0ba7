"""HTML for notebooks: the function that represents an object, and tables of bounded size.

Colours are those of the page, so that a table is readable in light and in dark themes; nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from html import escape

#: Number of rows of a table; the middle ones of more are left out.
ROWS = 14
#: Number of characters of a cell.
CHARACTERS = 80
#: Number of characters of a title and of a sentence.
TEXT = 500
_LINE = "1px solid color-mix(in srgb, currentColor 25%, transparent)"
_SIDES = {False: "text-align:left", True: "text-align:right;white-space:nowrap"}


@singledispatch
def html(thing: object) -> str:
    """Return an object as HTML; `equiprop.notebook` registers one function for each type."""
    return f"<pre>{escape(repr(thing))}</pre>"


def panel(title: str, *parts: str) -> str:
    """Return parts of HTML below a title, which is plain text."""
    heading = f"<div style='font-weight:bold'>{escape(_short(title, TEXT))}</div>"
    return f"<div style='color:inherit'>{heading}{''.join(parts)}</div>"


def lines(texts: Iterable[str]) -> str:
    """Return sentences as paragraphs."""
    return "".join(f"<p style='margin:.3em 0'>{escape(_short(text, TEXT))}</p>" for text in texts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table of texts; the columns `numbers` are set to the right.

    The middle rows of a long table are left out, and long cells end with three dots.
    """
    if len(rows) > ROWS:
        half = ROWS // 2
        left_out = [f"… {len(rows) - 2 * half} more", *[""] * (len(header) - 1)]
        rows = [*rows[:half], left_out, *rows[-half:]]
    right = set(numbers)
    sides = [_SIDES[k in right] for k in range(len(header))]
    head = _row("th", header, sides, f";border-bottom:{_LINE}")
    body = "".join(_row("td", row, sides) for row in rows)
    style = "border-collapse:collapse;border:none;margin:.5em 0;color:inherit;font-size:inherit"
    return f"<table style='{style}'><thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str], sides: Sequence[str], extra: str = "") -> str:
    shown = (
        f"<{tag} style='{side};padding:.15em .7em{extra}'>{escape(_short(cell))}</{tag}>"
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr style='background:transparent'>{''.join(shown)}</tr>"


def _short(text: str, most: int = CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
