"""Text in HTML pages."""

from __future__ import annotations

from html import escape


def text_of(text: str) -> str:
    """Return a text for HTML, also one that is no valid Unicode, such as the name of a file.

    Line breaks and other control characters, which HTML does not allow, are shown as escapes.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escape(shown.encode("utf-8", "backslashreplace").decode(), quote=True)
