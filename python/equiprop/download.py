"""Downloads of public sets of images, which can be resumed and are checked by checksums."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from equiprop.paths import file_errors, in_home, path_of
from equiprop.resuming import check_address, check_timeout, download

__all__ = [
    "MNIST_MIRROR",
    "MNIST_SHA256",
    "SOURCES",
    "Source",
    "fetch_cifar10",
    "fetch_cifar100",
    "fetch_fashion_mnist",
    "fetch_kmnist",
    "fetch_mnist",
    "fetch_svhn",
]

#: Address from which :func:`fetch_mnist` downloads the four files.
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"

#: SHA-256 of the decompressed content of each file; mirrors may compress the same content differently.
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Source:
    """Published files of a set of images.

    Attributes
    ----------
    mirror : str
        Address of the directory with the files.
    md5 : mapping
        MD5 checksum of each file by its name.
    """

    mirror: str
    md5: Mapping[str, str]


#: Where the sets of images are published, except MNIST; docs/datasets.md says who published the checksums.
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "fashion_mnist": Source(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            {
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        "kmnist": Source(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            {
                "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
                "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
                "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
                "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
            },
        ),
        "cifar10": Source(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ),
        "cifar100": Source(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        ),
        "svhn": Source(
            "http://ufldl.stanford.edu/housenumbers/",
            {
                "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
                "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
            },
        ),
    }
)
_CHUNK = 2**20


def fetch_cifar10(
    directory: str | os.PathLike[str] | None = None, *, mirror: str | None = None, timeout: float = 30.0
) -> Path:
    """Download the archive of CIFAR-10, 170 MB; a file with the right checksum is kept.

    A download is written to a ``.part`` file, which gets its final name once its MD5 is correct. If a
    download is interrupted, the next call continues it. Needs pooch (extra ``data``).

    Parameters
    ----------
    directory : path, optional
        Directory of the files, which is created if it does not exist; by default a folder for this data set
        in ``pooch.os_cache("equiprop")``, the cache directory of the user.
    mirror : str, optional
        HTTP or HTTPS address of a directory with the files; by default that of `SOURCES`.
    timeout : float, seconds
        Longest time to wait for data from the server.

    Returns
    -------
    Path
        The directory, ready for :func:`equiprop.load_cifar10`.

    Raises
    ------
    ImportError
        pooch is not installed.
    ConnectionError
        The server cannot be reached, reports an error, or closes the connection early. The data received so
        far is kept.
    ValueError
        The content of a file is wrong (the file is then removed), or ``mirror`` is not an HTTP address.

    Examples
    --------
    >>> fetch_cifar10("cifar")  # doctest: +SKIP
    PosixPath('cifar')
    """
    return _fetch_set("cifar10", directory, mirror, timeout)


def fetch_cifar100(
    directory: str | os.PathLike[str] | None = None, *, mirror: str | None = None, timeout: float = 30.0
) -> Path:
    """Download the archive of CIFAR-100, 169 MB; see `fetch_cifar10` for arguments and errors."""
    return _fetch_set("cifar100", directory, mirror, timeout)


def fetch_fashion_mnist(
    directory: str | os.PathLike[str] | None = None, *, mirror: str | None = None, timeout: float = 30.0
) -> Path:
    """Download the four files of Fashion-MNIST, 31 MB; see `fetch_cifar10` for arguments and errors."""
    return _fetch_set("fashion_mnist", directory, mirror, timeout)


def fetch_kmnist(
    directory: str | os.PathLike[str] | None = None, *, mirror: str | None = None, timeout: float = 30.0
) -> Path:
    """Download the four files of Kuzushiji-MNIST, 21 MB; see `fetch_cifar10` for arguments and errors."""
    return _fetch_set("kmnist", directory, mirror, timeout)


def fetch_svhn(
    directory: str | os.PathLike[str] | None = None, *, mirror: str | None = None, timeout: float = 30.0
) -> Path:
    """Download the files of the cropped digits of SVHN, 246 MB; see `fetch_cifar10` for arguments and errors.

    The files with training and test images are downloaded, not that with the 531131 additional ones.
    """
    return _fetch_set("svhn", directory, mirror, timeout)


def _fetch_set(
    name: str, directory: str | os.PathLike[str] | None, mirror: str | None, timeout: float
) -> Path:
    where, source = f"fetch_{name}", SOURCES[name]
    address = source.mirror if mirror is None else mirror
    check_address(address, where)
    timeout = check_timeout(timeout, where)
    pooch = _pooch(where)
    folder = (
        pooch.os_cache("equiprop") / name
        if directory is None
        else in_home(path_of(directory, where, "directory"), where)
    )
    registry = {file: f"md5:{digest}" for file, digest in source.md5.items()}
    store = pooch.create(path=folder, base_url=f"{address.rstrip('/')}/", registry=registry)
    for file, digest in source.md5.items():
        part = folder / f"{file}.part"
        downloader = partial(_continue, part=part, digest=digest, timeout=timeout, where=where)
        try:
            with file_errors(folder, where, "write into"):
                store.fetch(file, downloader=downloader)
        except ValueError as error:
            raise ValueError(
                f"[{where}] The content of '{store.get_url(file)}' is wrong: its MD5 is not {digest}; "
                "the file was removed. Try again, or choose another mirror."
            ) from error
    return folder


def _continue(url: str, target: str, _: Any, *, part: Path, digest: str, timeout: float, where: str) -> None:
    """Download a file for pooch, which checks the content of `target`; a part file is continued."""
    if not part.exists() or _pooch(where).file_hash(part, alg="md5") != digest:
        download(url, part, timeout, where)
    os.replace(part, target)


def _pooch(where: str) -> Any:
    """Return the module pooch."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"[{where}] Downloads need pooch, which cannot be imported ({error}). Install it with "
            "pip install 'equiprop[data]'."
        ) from error
    return pooch


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
        ``directory``, ready for :func:`equiprop.load_mnist`.

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
    check_address(mirror, "fetch_mnist")
    timeout = check_timeout(timeout, "fetch_mnist")
    target = path_of(directory, "fetch_mnist", "directory")
    with file_errors(target, "fetch_mnist", "create"):
        target.mkdir(parents=True, exist_ok=True)
    for name, digest in MNIST_SHA256.items():
        _fetch(f"{mirror.rstrip('/')}/{name}", target / name, digest, timeout)
    return target


def _fetch(url: str, target: Path, digest: str, timeout: float) -> None:
    if _content_digest(target) == digest:
        return
    part = target.with_name(f"{target.name}.part")
    if _content_digest(part) != digest:
        download(url, part, timeout, "fetch_mnist")
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
