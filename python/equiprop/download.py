"""Fetching the files of MNIST, with resumption and checksums."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import urllib.request
import zlib
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError

__all__ = ["MNIST_MIRROR", "MNIST_SHA256", "fetch_mnist"]

#: Where :func:`fetch_mnist` looks for the four files.
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"

#: SHA-256 of the decompressed content of each file. Compression differs between mirrors, content does not.
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
    """Download the four gzip files of MNIST, 11 MB in all, unless they are there already.

    A file takes its name only after the SHA-256 of its decompressed content was found right. An interrupted
    download stays in a ``.part`` file, from which the next call goes on.

    Parameters
    ----------
    directory : path
        Where the files go; created if need be.
    mirror : str
        HTTP or HTTPS address of the directory to fetch from.
    timeout : float, seconds
        Longest wait for the server to say anything.

    Returns
    -------
    Path
        ``directory``, ready for :func:`equiprop.data.load_mnist`.

    Raises
    ------
    ConnectionError
        The server cannot be reached, refuses or breaks off; what has arrived is kept.
    ValueError
        A file came with the wrong content, and was removed, or ``mirror`` is no HTTP address.

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
        rule = f"[fetch_mnist] The decompressed content of '{url}' has SHA-256 {digest}"
        raise ValueError(f"{rule}; try again or another mirror. Received {received}; the file was removed.")
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
    except HTTPError as error:
        error.close()
        if error.code != 416 or start == 0:
            raise _stopped(url, part, error) from error
        # Nothing lies beyond the part file, and yet it is wrong: it cannot be continued.
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
    with part.open("ab" if response.status == 206 else "wb") as stream:
        before = stream.tell()
        shutil.copyfileobj(response, stream)
        received = stream.tell() - before
    # A read of bounded size does not report a connection that was cut, so count.
    announced = int(response.headers.get("Content-Length", received))
    if received < announced:
        raise ConnectionError(f"the connection ended after {received} of {announced} bytes")


def _stopped(url: str, part: Path, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"[fetch_mnist] The download of '{url}' runs to its end; check the network and call again. "
        f"Received {error!r}; {_size(part)} bytes are kept in '{part}'."
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
