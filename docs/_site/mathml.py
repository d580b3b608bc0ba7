"""Formulas as MathML, which browsers draw without a script and without a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def displayed(source: str) -> str:
    r"""Return a formula on lines of its own, with the number of its ``\tag`` on the right."""
    formula, tag, number = source.partition(r"\tag")
    shown = f'<span class="eqno">({number.strip("{} ")})</span>' if tag else ""
    return f'<div class="math">{convert(formula, display="block")}{shown}</div>\n'


def block(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed formula."""
    translator.body.append(displayed(node.astext()))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
