"""Download of a file over HTTP, which can be interrupted and continued."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError

from equiprop.checks import check_type, real, require
from equiprop.files import with_text
from equiprop.progress import on_terminal, progress_bar

_CHUNK = 2**20
#: Longest time to wait for data, in seconds.
_DAY = 86400.0


def check_address(mirror: str, where: str) -> None:
    """Raise TypeError or ValueError if the address of a directory is not text of HTTP or HTTPS."""
    check_type(mirror, str, where, "mirror is text")
    if not mirror.startswith(("http://", "https://")):
        raise ValueError(f"[{where}] mirror starts with http:// or https://. Received {mirror!r}.")


def check_timeout(timeout: Any, where: str) -> float:
    """Return a time in seconds; raise TypeError or ValueError unless it is positive, at most one day."""
    seconds = real(timeout, where, "timeout")
    require(0 < seconds <= _DAY, where, "timeout is positive, at most one day", timeout)
    return seconds


def download(url: str, part: Path, timeout: float, where: str) -> None:
    """Write a file that a server sends to `part`; if `part` exists, continue it.

    Parameters
    ----------
    url : str
    part : Path
    timeout : float, seconds
        Longest time to wait for data.
    where : str
        Function, for errors.

    Raises
    ------
    ConnectionError
        The server cannot be reached, reports an error, or closes the connection early. `part` keeps what was
        received.
    OSError
        The disk does not take the data.
    """
    start = _size(part)
    try:
        with _open(url, start, timeout) as response:
            _receive(response, part, start)
    except _NotStored as failure:
        text = (
            f"[{where}] cannot write '{part}': {failure.error.strerror}. {_size(part)} bytes are kept. "
            f"Free space, and call {where} again."
        )
        raise with_text(failure.error, text) from failure.error
    except HTTPError as error:
        error.close()
        if error.code != 416 or start == 0:
            raise _stopped(url, part, error, where) from error
        # Status 416: the part file is as long as the file on the server, and its content is wrong.
        part.unlink()
        download(url, part, timeout, where)
    except (OSError, HTTPException) as error:
        raise _stopped(url, part, error, where) from error


def _open(url: str, start: int, timeout: float) -> HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    return cast(HTTPResponse, urllib.request.urlopen(request, timeout=timeout))


def _receive(response: HTTPResponse, part: Path, start: int) -> None:
    """Write what a server sends to `part`; on a terminal, show a bar after two seconds.

    `start` is the size of the part file.
    """
    # Only status 206 continues the part file; a server that ignores Range sends the file from its start.
    received, done = 0, start if response.status == 206 else 0
    announced = int(response.headers.get("Content-Length", 0))
    stream = _stored(part.open, "ab" if response.status == 206 else "wb", buffering=0)
    of_size: dict[str, Any] = {"unit": "B", "unit_scale": True, "initial": done}
    with stream, progress_bar(on_terminal(), done + announced or None, part.stem, **of_size) as bar:
        while rest := response.read(_CHUNK):
            received += len(rest)
            bar.advance(len(rest))
            while rest:
                rest = rest[_stored(stream.write, rest) :]
    # A read of bounded size does not report that the connection was closed early, so the bytes are counted.
    if received < announced:
        raise ConnectionError(f"the connection ended after {received} of {announced} bytes")


def _stopped(url: str, part: Path, error: Exception, where: str) -> ConnectionError:
    return ConnectionError(
        f"[{where}] The download of '{url}' failed: {error!r}; {_size(part)} bytes are kept in '{part}'. "
        f"Check the network, and call {where} again."
    )


class _NotStored(Exception):
    """The disk, not the network, has failed."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error: OSError = error


def _stored(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of the disk, and raise _NotStored if it fails."""
    try:
        return call(*arguments, **options)
    except OSError as error:
        raise _NotStored(error) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
