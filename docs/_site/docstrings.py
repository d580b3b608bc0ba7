"""Docstrings are plain text with formulas such as |s| and u^T; this makes them reStructuredText.

Members that a class inherits from another library are left to the reference of that library.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

#: Text in which a bar is no formula.
CODE = re.compile(r"(``[^`]*``|`[^`]*`)")


def escape(line: str) -> str:
    """Return a line in which bars do not start a substitution."""
    parts = CODE.split(line)
    return "".join(part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(parts))


def escape_bars(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Escape the bars of a docstring, except in code and in blocks of formulas."""
    block: int | None = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if line.lstrip().startswith((".. math::", ">>>")) or line.rstrip().endswith("::"):
            block = indent if block is None else block
        elif block is None:
            lines[i] = escape(line)


def is_foreign(thing: Any) -> bool:
    """Return whether a member was defined by another library or by Python."""
    function = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    owner = getattr(function, "__objclass__", None)
    home = getattr(function, "__module__", None) or getattr(owner, "__module__", None)
    if home is None:
        return callable(function)  # a function of Python's own types
    return isinstance(home, str) and home.partition(".")[0] != "equiprop"


def skip_foreign(_app: Sphinx, what: str, _name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    """Leave foreign members of a class out."""
    return True if what == "class" and is_foreign(thing) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the two functions; the first before numpydoc reads the docstring."""
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
    app.connect("autodoc-skip-member", skip_foreign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
