"""Text in HTML pages and tables."""

from __future__ import annotations

from html import escape


def printable(text: str) -> str:
    """Return a text in one line, with escapes for ends of lines and other control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_of(text: str) -> str:
    """Return a text for HTML, also one that is no valid Unicode, such as the name of a file.

    Line breaks and other control characters, which HTML does not allow, are shown as escapes.
    """
    return escape(printable(text).encode("utf-8", "backslashreplace").decode(), quote=True)
