"""Comparison of texts with figures; figures are compared as numbers with the tolerance of their kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Kind:
    """A kind of figures, which the text around them determines, and the condition that two of them agree."""

    name: str
    before: str
    figure: str
    after: str
    agree: Callable[[float, float], bool]


def _equal(a: float, b: float) -> bool:
    return a == b


#: The kind of a figure is the first one that matches.
KINDS = (
    Kind("a stated tolerance", r"tolerance $", r".*", r"", _equal),
    Kind("a percentage, to 0.6 points", r"", r".*", r"\s?%", lambda a, b: abs(a - b) <= 0.6),
    Kind("a count or size", r"", r"\d+$", r"", _equal),
    # Rounding errors depend on the processor: at most ten times the figure shown, and at most 1e-12.
    Kind("a rounding error", r"", r".*e-1[3-9]$", r"", lambda a, b: b <= min(10 * a, 1e-12)),
    Kind("a measured number, to 5 %", r"", r".*", r"", lambda a, b: abs(a - b) <= 0.05 * abs(a)),
)


def kind_of(text: str, figure: re.Match[str]) -> Kind:
    """Return the kind of a figure in a text."""
    before, after = text[: figure.start()], text[figure.end() :]
    return next(
        kind
        for kind in KINDS
        if re.search(kind.before, before) and re.match(kind.figure, figure[0]) and re.match(kind.after, after)
    )


def agree(shown: str, printed: str) -> bool:
    """Return True if the texts are equal up to spaces, and each figure shown agrees with the printed one."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    pairs = zip(NUMBER.finditer(shown), NUMBER.finditer(printed), strict=True)
    return all(kind_of(shown, a).agree(float(a[0]), float(b[0])) for a, b in pairs)
