"""JSON texts of files: values that are nested so little that recursive functions can read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

#: Most levels of lists and objects in a file. A function that calls itself three times for a level then stays
#: below the limit of Python, 1000 calls.
DEEPEST = 100


def parse(text: str | bytes, **hooks: Any) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text : str or bytes
    **hooks
        Options of ``json.loads``, such as ``object_pairs_hook``.

    Raises
    ------
    ValueError
        If the text is not JSON, or is nested too deeply; the error is a part of a sentence.
    """
    return not_too_deep(json.loads, text, **hooks)


def not_too_deep(read: Callable[..., Any], text: str | bytes, **hooks: Any) -> Any:
    """Return the value that a parser returns for a text; raise ValueError if it is nested too deeply."""
    try:
        value = read(text, **hooks)
    except RecursionError:
        raise _too_deep() from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [entry for node in level if isinstance(node, list | dict) for entry in _entries(node)]
        if not level:
            return value
    raise _too_deep()


def _entries(node: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return node if isinstance(node, list) else node.values()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested too deeply, in more than {DEEPEST} levels")
