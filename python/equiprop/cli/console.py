"""Output of the commands, which goes on without a reader, such as ``head`` or a terminal that was closed."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from equiprop.progress import beside_bars

#: Escapes of control characters other than tabs and ends of lines.
_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\t\n"}

#: Failures to write to stdout, other than that nobody reads it.
_lost: list[OSError] = []


def say_json(command: str, content: Mapping[str, Any]) -> None:
    """Print the result of a command as one JSON object in a line; null stands for NaN and infinity."""
    say(json.dumps(_plain({"command": command, **content}), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str, *, error: bool = False) -> None:
    """Print a line to stdout, or to stderr; if nobody reads it any more, discard this and all later lines.

    Control characters, with which a file could command the terminal, are shown as escapes. Lines that a full
    disk does not take are discarded, too; see `lost_output`.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # as it is if the shell has closed it
        return
    encoding = stream.encoding or "utf-8"
    known = text.encode(encoding, "backslashreplace").decode(encoding)  # also a path that is no valid text
    try:
        with beside_bars():
            print(known.translate(_CONTROLS), file=stream, flush=True)
    except OSError as failure:
        if not error and failure.errno not in (errno.EPIPE, errno.EIO, errno.EINVAL):
            _lost.append(failure)
        _discard(stream.fileno())


def lost_output() -> OSError | None:
    """Return why lines on stdout were lost although somebody wants them, and forget it."""
    failure = _lost[-1] if _lost else None
    _lost.clear()
    return failure


def error_text(error: float, classification: bool) -> str:
    """Return a fraction of misclassified samples in percent, or a root mean squared error."""
    return f"{100 * error:.2f} %" if classification else f"{error:.4g} (root mean square)"


def _discard(descriptor: int) -> None:
    """Connect a descriptor to nothing, so that the flush at the end of the process does not fail."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)
