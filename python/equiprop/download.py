"""Download of the files of MNIST, which can be resumed and is checked by SHA-256."""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError

from equiprop.files import with_text

__all__ = ["MNIST_MIRROR", "MNIST_SHA256", "fetch_mnist"]

#: Address from which :func:`fetch_mnist` downloads the four files.
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"

#: SHA-256 of the decompressed content of each file; mirrors may compress the same content differently.
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

_CHUNK = 2**20


def fetch_mnist(
    directory: str | os.PathLike[str], *, mirror: str = MNIST_MIRROR, timeout: float = 30.0
) -> Path:
    """Download the four gzip files of MNIST, 11 MB in total; files that exist already are kept.

    A download is written to a ``.part`` file, which gets its final name once the SHA-256 of its decompressed
    content is correct. If a download is interrupted, the next call continues it.

    Parameters
    ----------
    directory : path
        Directory of the files; it is created if it does not exist.
    mirror : str
        HTTP or HTTPS address of the directory with the files.
    timeout : float, seconds
        Longest time to wait for data from the server.

    Returns
    -------
    Path
        ``directory``, ready for :func:`equiprop.data.load_mnist`.

    Raises
    ------
    ConnectionError
        The server cannot be reached, reports an error, or closes the connection early. The data received so
        far is kept.
    ValueError
        The content of a file is wrong (the file is then removed), or ``mirror`` is not an HTTP address.

    Examples
    --------
    >>> fetch_mnist("mnist")  # doctest: +SKIP
    PosixPath('mnist')
    """
    if not mirror.startswith(("http://", "https://")):
        raise ValueError(f"[fetch_mnist] mirror starts with http:// or https://. Received {mirror!r}.")
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, digest in MNIST_SHA256.items():
        _fetch(f"{mirror.rstrip('/')}/{name}", target / name, digest, timeout)
    return target


def _fetch(url: str, target: Path, digest: str, timeout: float) -> None:
    if _content_digest(target) == digest:
        return
    part = target.with_name(f"{target.name}.part")
    if _content_digest(part) != digest:
        _download(url, part, timeout)
    received = _content_digest(part)
    if received != digest:
        part.unlink()
        raise ValueError(
            f"[fetch_mnist] The content of '{url}' is wrong: its SHA-256 is {received}, and should be "
            f"{digest}; the file was removed. Try again, or choose another mirror."
        )
    os.replace(part, target)


def _content_digest(path: Path) -> str:
    if not path.exists():
        return "no file"
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"damaged gzip data ({error!r})"
    return digest.hexdigest()


def _download(url: str, part: Path, timeout: float) -> None:
    start = _size(part)
    try:
        with _open(url, start, timeout) as response:
            _receive(response, part)
    except _NotStored as failure:
        text = (
            f"[fetch_mnist] cannot write '{part}': {failure.error.strerror}. {_size(part)} bytes are kept. "
            "Free space, and call fetch_mnist again."
        )
        raise with_text(failure.error, text) from failure.error
    except HTTPError as error:
        error.close()
        if error.code != 416 or start == 0:
            raise _stopped(url, part, error) from error
        # Status 416: the part file is as long as the file on the server, and its content is wrong.
        part.unlink()
        _download(url, part, timeout)
    except (OSError, HTTPException) as error:
        raise _stopped(url, part, error) from error


def _open(url: str, start: int, timeout: float) -> HTTPResponse:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    return cast(HTTPResponse, urllib.request.urlopen(request, timeout=timeout))


def _receive(response: HTTPResponse, part: Path) -> None:
    # Only status 206 continues the part file; a server that ignores Range sends the file from its start.
    received = 0
    stream = _stored(part.open, "ab" if response.status == 206 else "wb", buffering=0)
    with stream:
        while rest := response.read(_CHUNK):
            received += len(rest)
            while rest:
                rest = rest[_stored(stream.write, rest) :]
    # A read of bounded size does not report that the connection was closed early, so the bytes are counted.
    announced = int(response.headers.get("Content-Length", received))
    if received < announced:
        raise ConnectionError(f"the connection ended after {received} of {announced} bytes")


def _stopped(url: str, part: Path, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"[fetch_mnist] The download of '{url}' failed: {error!r}; {_size(part)} bytes are kept in '{part}'. "
        "Check the network, and call fetch_mnist again."
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
