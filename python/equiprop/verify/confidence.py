"""How sure the cause in a sentence of advice is, which the end of the sentence says."""

from __future__ import annotations

#: Shares above this one are not told from all.
_NEARLY_ALL = 0.9999


def certain(sentence: str) -> str:
    """Return a sentence on a cause that was tested by itself: nothing else gives this result."""
    return f"{sentence} Confidence: certain."


def explaining(sentence: str, share: float) -> str:
    """Return a sentence on a cause that was fitted, with the share of the difference's square it explains."""
    return f"{sentence} Confidence: it explains {_percent(share)} of the difference."


def most_probable(sentence: str, probability: float) -> str:
    """Return a sentence on the cause that fits best, with its probability among those compared."""
    return f"{sentence} Confidence: {_percent(probability)} among the causes compared."


def _percent(share: float) -> str:
    return f"more than {100 * _NEARLY_ALL:g} %" if share > _NEARLY_ALL else f"{100 * share:.3g} %"
