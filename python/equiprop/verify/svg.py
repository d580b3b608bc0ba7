"""Pictures of checks as SVG in the colours of a page, with unique ids, captions and alternative texts."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from equiprop.verify.verdict import Picture


def figure(picture: Picture, prefix: str) -> str:
    """Return a picture with its caption as an HTML figure (extra ``plot``).

    Parameters
    ----------
    picture : Picture
    prefix : str
        Text in front of every id in the picture, so that it is unique in the page.
    """
    text = escape(f"{picture.title}. {picture.caption}", quote=True)
    svg = _svg(picture.draw, prefix).replace("<svg", f'<svg role="img" aria-label="{text}"', 1)
    caption = f"<strong>{escape(picture.title)}.</strong> {escape(picture.caption)}"
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _svg(draw: Any, prefix: str) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "[save] A .html certificate needs matplotlib, which is not installed. Install it with "
            "pip install 'equiprop[plot]', or save a .json certificate."
        ) from error
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "equiprop",
        "font.family": "sans-serif",
        "legend.framealpha": 0,
        "savefig.transparent": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
    }
    with mpl.rc_context(style):
        drawing = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = drawing.subplots()
        draw(axes)
        axes.set_title("")  # the caption has it
        stream = io.StringIO()
        drawing.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    for colour, variable in _variables().items():
        svg = svg.replace(colour, variable)
    return svg


def _variables() -> dict[str, str]:
    """Return the variable of the page for each colour of the plots."""
    from equiprop.plotting import style  # not at the top, because plots need analysis, which needs verify

    series = {colour: f"var(--series{k})" for k, colour in enumerate(style.COLOURS)}
    return {**series, style.INK: "var(--ink)", style.FAINT: "var(--faint)", style.GRID: "var(--faint)"}
